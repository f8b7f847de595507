"""The declared platform as the pack checks it: what a program registered under mocks, in the rules' own form.

Every stack of `CHOICES` can be had under any stack's name, since some rules are silent on the stacks of development.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Final

from policies.config import PackConfig
from policies.rules import RULES
from policies.rules.props import UNKNOWN, Path, plain
from policies.rules.rule import Resource, Rule, Stack
from policies.validation import Report
from policies.validation import validate as validate_stack
from tests.components.recorder import Recorder, Registered
from tests.components.stacks import built
from tests.policies.harness import pack_config


def resource(registered: Registered, stack: str) -> Resource:
    """A resource as rules get it."""
    props = plain(registered.inputs)
    assert isinstance(props, dict)
    return Resource(
        type=registered.type,
        name=registered.name,
        stack=stack,
        props=props,
        urn=f"urn:pulumi:{stack}::nexus::{registered.type}::{registered.name}",
        protect=registered.protect,
        sources=registered.sources,
    )


def stack_of(recorder: Recorder, name: str) -> Stack:
    """What a run registered, as the stack `name`."""
    return Stack(name=name, resources=tuple(resource(one, name) for one in recorder.resources))


@functools.cache
def declared(choice: str, *, name: str = "dev", preview: bool = False) -> Stack:
    """The platform by that choice of settings, as the stack `name`. Shared between tests: it is only read."""
    return stack_of(built(choice, preview=True) if preview else built(choice), name)


def changed(stack: Stack, resource: str, **props: object) -> Stack:
    """`stack` with other inputs of one resource; an input of None is taken away."""
    assert [one.name for one in stack.resources].count(resource) == 1, resource
    return dataclasses.replace(
        stack,
        resources=tuple(
            dataclasses.replace(
                one,
                props={
                    key: value
                    for key, value in (one.props | {k: plain(v) for k, v in props.items()}).items()
                    if value is not None
                },
            )
            if one.name == resource
            else one
            for one in stack.resources
        ),
    )


COMPUTED: Final = ("entrypoints", "command", "hostname", "healthcheck", "securityOpts", "runtime", "stopSignal")
"""Inputs of a container that the provider fills in where they are not given."""


def first_previewed(stack: Stack) -> Stack:
    """As rules of a whole stack see it in the preview of its first `up`: what is left to the image is not known."""
    return dataclasses.replace(
        stack,
        resources=tuple(
            dataclasses.replace(
                one, props={**one.props, **{key: UNKNOWN for key in COMPUTED if one.props.get(key) is None}}
            )
            if one.kind == "Container"
            else one
            for one in stack.resources
        ),
    )


def validated(stack: Stack, rules: Sequence[Rule] = RULES, config: PackConfig | None = None) -> Report:
    """What the pack, or these rules of it, say of a stack, under its own configuration or this one."""
    return validate_stack(stack, rules, config or pack_config(stack.name))


@functools.cache
def report(choice: str) -> Report:
    """What the whole pack says of a choice of settings, made once a session: on staging and production as such."""
    return validated(declared(choice, name=choice if choice in ("prod", "staging") else "dev"))


def places(report: Report) -> set[tuple[str, str, Path]]:
    """Rule, resource and property of everything that is refused, warned of or exempt."""
    found = (*report.violations, *report.warnings, *report.exempted)
    return {(one.rule, one.resource.name if one.resource else "", one.finding.path) for one in found}
