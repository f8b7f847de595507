"""Image references, as the engine reads them. No rule is here."""

import re
from dataclasses import dataclass
from typing import Final

# Docker reserves the name sha256 for ids; a short id has twelve digits.
_ID: Final = re.compile(r"sha256:[\w-]+|[0-9a-f]{12}|[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """An image reference in its parts, each empty where it is not written; the registry as people know it."""

    registry: str
    repository: str
    tag: str
    digest: str

    def is_of(self, repository: str) -> bool:
        """Whether it is of that repository, which is written with its registry, or without to mean any."""
        wanted = parse(repository)
        return self.repository == wanted.repository and (
            self.registry == wanted.registry or not _names_registry(repository)
        )

    def ends_in(self, repository: str) -> bool:
        """Whether it is that repository, by itself or below the name of a mirror, on whichever registry."""
        return self.repository == repository or self.repository.endswith(f"/{repository}")


def parse(text: str) -> Reference:
    """The parts of a reference, as the engine reads it: no registry means Docker Hub, no path `library/`."""
    name, _, digest = text.strip().partition("@")
    slash = name.rfind("/")
    colon = name.find(":", slash + 1)
    tag = name[colon + 1 :] if colon >= 0 else ""
    path = name[:colon] if colon >= 0 else name
    first, _, rest = path.partition("/")
    if _names_registry(path):
        registry, repository = first.casefold(), rest
    else:
        registry, repository = "docker.io", path
    if registry in ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"):
        registry = "docker.io"
    if registry == "docker.io" and "/" not in repository:
        repository = f"library/{repository}"
    return Reference(registry=registry, repository=repository.casefold(), tag=tag, digest=digest)


def _names_registry(path: str) -> bool:
    first, slash, _ = path.partition("/")
    # As the distribution project's splitDockerDomain: capitals cannot stand in a repository.
    return bool(slash) and ("." in first or ":" in first or first == "localhost" or first != first.lower())


def is_id(text: str) -> bool:
    """Whether the image of a container is given by its id, which is content by itself."""
    return _ID.fullmatch(text.strip()) is not None
