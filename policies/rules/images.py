"""Family `images`: what runs is what was reviewed, from a registry that somebody chose, and has an upstream.

Checked are references: `docker.RemoteImage`, and the `image` of containers where it is written as a reference and not
as an id, which is content by itself. Not seen from here: what is in an image.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from pulumi_policy import Severity

from policies.rules.containers import table, texts
from policies.rules.props import UNKNOWN, Path, Value
from policies.rules.references import Reference, is_id, parse
from policies.rules.rule import (
    DEVELOPMENT,
    EXEMPT,
    Config,
    Finding,
    Resource,
    ResourceValidation,
    Rule,
    Stack,
    in_development,
    texts_setting,
)

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_LOOPBACK: Final = re.compile(r"(?:localhost|127(?:\.\d+){3}|\[::1\])(?::\d+)?")


# A version has a digit; `latest` anywhere in a tag moves.
_MOVING: Final = re.compile(r"\D*|(?:.*[._-])?(?:latest|nightly|edge|develop|unstable|lts)(?:[._-].*)?")


def references(resource: Resource) -> Iterator[tuple[Path, Reference]]:
    """The references that a resource names, with where they stand."""
    for kind, key in (("RemoteImage", "name"), ("Container", "image")):
        text = resource.props.get(key)
        if resource.kind == kind and isinstance(text, str) and not (kind == "Container" and is_id(text)):
            yield (key,), parse(text)


def _each(check: Callable[[Reference, Resource, Config], Iterator[tuple[str, str]]]) -> ResourceValidation:
    def validate(resource: Resource, config: Config) -> Iterator[Finding]:
        for path, reference in references(resource):
            for problem, advice in check(reference, resource, config):
                yield Finding(path=path, problem=problem, advice=advice)

    return validate


def _pinned(reference: Reference, _resource: Resource, _config: Config) -> Iterator[tuple[str, str]]:
    if not _DIGEST.fullmatch(reference.digest):
        yield "is not pinned by digest: what it means can change overnight", "Write tag and digest, name:tag@sha256:…"
    elif _MOVING.fullmatch(reference.tag.casefold()):
        yield "has no tag that tells its version", "Write the version's tag beside the digest: people read the tag"


def _registry(reference: Reference, resource: Resource, config: Config) -> Iterator[tuple[str, str]]:
    for repository, why in table(config.get("retired")).items():
        if reference.ends_in(repository):
            yield "has no upstream any more", f"Take another one: it is {why}"
            return
    if reference.registry in map(str.casefold, texts(config.get("registries"))):
        return
    # The lab serves its images on loopback.
    if _LOOPBACK.fullmatch(reference.registry):
        if not in_development(resource.stack, config):
            yield (
                "is of the lab, whose images are for stacks of development alone",
                "Take nexus:images.lock out of the stack file (`scripts/run images --images registry` does)",
            )
    else:
        yield (
            "comes from a registry that is not on the list",
            "Use one that is, or add your mirror under settings.image-registry.registries in policies/config.yaml",
        )


def _exempt(stack: Stack, config: Config) -> Iterator[Finding]:
    """Containers with an exemption for one image that run another.

    An image's id names no repository, so a rule of one resource cannot tell; what the property is made from does.
    """
    pulled = {one.name: one.props.get("name") for one in stack.of("RemoteImage")}
    wanted = table(config.get(EXEMPT))
    for one in stack.of("Container"):
        allowed = texts(wanted.get(one.name))
        if not allowed:
            continue
        image = one.props.get("image")
        named: list[Value] = [image] if isinstance(image, str) and not is_id(image) else []
        named += [pulled.get(source) for source in one.sources.get("image", frozenset()) if source in pulled]
        unknown = UNKNOWN in named or (image is UNKNOWN and not named)
        right = named and all(isinstance(text, str) and _one_of(parse(text), allowed) for text in named)
        if not right and not unknown:
            yield Finding(
                path=("image",),
                problem="is not the image that its exemptions in policies/config.yaml are for, or cannot be told",
                advice="Take the image by a RemoteImage of that repository, or write exemptions for this one",
                resource=one,
            )


def _one_of(reference: Reference, repositories: Iterable[str]) -> bool:
    return any(reference.is_of(one) or reference.ends_in(one) for one in repositories)


_RETIRED: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": {"type": "string", "minLength": 10},
    "default": {},
    "description": "Repositories, on whichever registry, whose upstream has ended, and what is known of that.",
}

RULES: Final = (
    Rule(
        name="image-digest",
        description=(
            "Every image is pinned by digest, so that what runs is what was reviewed, and has the tag of a version "
            "beside it, since a reviewer cannot read a digest."
        ),
        remediation="Write the reference as name:tag@sha256:…; Renovate raises both.",
        severity=Severity.HIGH,
        validate=_each(_pinned),
        benchmarks=("CIS 5.28", "OWASP 13"),
    ),
    Rule(
        name="image-registry",
        description=(
            "Images come from the registries on a list, from this host on stacks of development alone, since those "
            "are the lab's, and none has an upstream that has ended: nobody repairs what is found in it."
        ),
        remediation="Use the app's own registry, or add your mirror to `registries` in this rule's settings.",
        severity=Severity.CRITICAL,
        validate=_each(_registry),
        settings={
            "registries": texts_setting(
                "Registries that images may come from; add the host of `nexus:images.mirror` here.",
                ["docker.io", "ghcr.io", "lscr.io"],
            ),
            "retired": _RETIRED,
            DEVELOPMENT: texts_setting("Stacks that may run images of a registry on loopback."),
        },
        benchmarks=("CIS 4.2", "CIS 4.4", "OWASP 9", "OWASP 13"),
    ),
    Rule(
        name="image-of-an-exemption",
        description="A container with exemptions for one image runs that image: only that was looked at.",
        remediation="Run the image that the exemption names, or have an exemption for this one reviewed.",
        severity=Severity.HIGH,
        validate_stack=_exempt,
        settings={
            EXEMPT: {
                "type": "object",
                "additionalProperties": {"type": "array", "items": {"type": "string"}},
                "default": {},
                "description": "Of each container the repositories that its exemptions name: from those of the file.",
            }
        },
    ),
)
