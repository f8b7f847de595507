"""Family `images`: what runs is what was reviewed, from a registry that somebody chose, and has an upstream.

Checked are references: `docker.RemoteImage`, and the `image` of containers where it is written as a reference and not
as an id, which is content by itself. Not seen from here: what is in an image.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from pulumi_policy import Severity

from policies.rules.containers import table, texts
from policies.rules.props import UNKNOWN, Path, Value
from policies.rules.references import Reference, is_id, parse
from policies.rules.rule import (
    DEVELOPMENT,
    EXEMPT,
    REASON,
    TEXTS,
    Config,
    Finding,
    Resource,
    Stack,
    in_development,
    rule,
    stack_rule,
    table_setting,
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


@rule("image-digest", Severity.HIGH, "CIS 5.28, OWASP 13")
def _pinned(resource: Resource, _config: Config) -> Iterator[Finding]:
    """Every image is pinned by digest, so that what runs is what was reviewed, and has the tag of a version beside
    it, since a reviewer cannot read a digest.

    Write the reference as name:tag@sha256:…; Renovate raises both.
    """
    for path, reference in references(resource):
        if not _DIGEST.fullmatch(reference.digest):
            yield Finding(path, "is not pinned by digest: what it means can change overnight")
        elif _MOVING.fullmatch(reference.tag.casefold()):
            advice = "Write the version's tag beside the digest: people read the tag"
            yield Finding(path, "has no tag that tells its version", advice)


@rule(
    "image-registry",
    Severity.CRITICAL,
    "CIS 4.2, CIS 4.4, OWASP 9, OWASP 13",
    settings={
        "registries": texts_setting(
            "Registries that images may come from; add the host of `nexus:images.mirror` here.",
            ["docker.io", "ghcr.io", "lscr.io"],
        ),
        "retired": table_setting(
            "Repositories, on whichever registry, whose upstream has ended, and what is known of that.", REASON
        ),
        DEVELOPMENT: texts_setting("Stacks that may run images of a registry on loopback."),
    },
)
def _registry(resource: Resource, config: Config) -> Iterator[Finding]:
    """Images come from the registries on a list, from this host on stacks of development alone, since those are the
    lab's, and none has an upstream that has ended: nobody repairs what is found in it.

    Use one that is, such as the app's own, or add your mirror under settings.image-registry.registries in
    policies/config.yaml.
    """
    for path, reference in references(resource):
        ended = [why for one, why in table(config.get("retired")).items() if reference.ends_in(one)]
        if ended:
            yield Finding(path, "has no upstream any more", f"Take another one: it is {ended[0]}")
        elif _LOOPBACK.fullmatch(reference.registry):  # the lab serves its images there
            if not in_development(resource.stack, config):
                problem = "is of the lab, whose images are for stacks of development alone"
                advice = "Take nexus:images.lock out of the stack file (`scripts/run images --images registry` does)"
                yield Finding(path, problem, advice)
        elif reference.registry not in map(str.casefold, texts(config.get("registries"))):
            yield Finding(path, "comes from a registry that is not on the list")


@stack_rule(
    "image-of-an-exemption",
    Severity.HIGH,
    settings={
        EXEMPT: table_setting(
            "Of each container the repositories that its exemptions name: from those of the file.", TEXTS
        )
    },
)
def _exempt(stack: Stack, config: Config) -> Iterator[Finding]:
    """A container with exemptions for one image runs that image: only that was looked at.

    Run the image that the exemption names, or have an exemption for this one reviewed.
    """
    # An image's id names no repository, so a rule of one resource cannot tell; what the property is made from does.
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
            problem = "is not the image that its exemptions in policies/config.yaml are for, or cannot be told"
            advice = "Take the image by a RemoteImage of that repository, or write exemptions for this one"
            yield Finding(("image",), problem, advice, resource=one)


def _one_of(reference: Reference, repositories: Iterable[str]) -> bool:
    return any(reference.is_of(one) or reference.ends_in(one) for one in repositories)


RULES: Final = (_pinned, _registry, _exempt)
