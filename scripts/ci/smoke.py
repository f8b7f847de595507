"""Whether every address of a stack answers over HTTPS: the last step of a deployment, and of use by hand.

An answer is a status below 500 that is not 404, within a certificate that is trusted: a page, a way to the sign-in,
or the demand for one. That an app behind the sign-in works is for its health check to say. What does not belong here:
how the addresses came to be.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from scripts.console import UserError

SECONDS: Final = 120.0
"""How long addresses may take to answer: Traefik knows of a container within seconds, an app takes longer."""

_TIMEOUT: Final = 10.0
_PAUSE: Final = 2.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one address said."""

    name: str
    url: str
    said: str
    """The status, or why there is none."""
    well: bool


@dataclass(frozen=True, kw_only=True)
class Way:
    """How addresses are reached."""

    authority: Path | None = None
    """A certificate to trust beside the system's."""
    connect: tuple[str, int] | None = None
    """Where to connect to instead of what the name resolves to; the name is still checked."""


def ask(name: str, url: str, way: Way) -> Answer:
    """Asks one address once, following nothing. Never raises for what the other side does.

    Raises UserError where the certificate of `way` cannot be read.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        return Answer(name=name, url=url, said="is not an HTTPS address", well=False)
    try:
        context = ssl.create_default_context(cafile=str(way.authority) if way.authority else None)
    except OSError as error:
        raise UserError(f"{way.authority}: cannot be read as a certificate ({error})") from error
    connection = _Connection(parts.hostname, parts.port or 443, context, way.connect)
    try:
        connection.request("GET", parts.path or "/", headers={"User-Agent": "nexus-smoke"})
        status = connection.getresponse().status
    except ssl.SSLCertVerificationError as error:
        return Answer(name=name, url=url, said=f"certificate not trusted: {error.verify_message}", well=False)
    except (OSError, http.client.HTTPException) as error:
        return Answer(name=name, url=url, said=f"no answer: {error or type(error).__name__}", well=False)
    finally:
        connection.close()
    return Answer(name=name, url=url, said=str(status), well=status < 500 and status != 404)


def check(
    urls: Mapping[str, str],
    way: Way,
    *,
    seconds: float = SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Answer, ...]:
    """Asks every address until it is well or `seconds` are over; the last answer of each. Raises as `ask` does."""
    end = time.monotonic() + seconds
    answers: dict[str, Answer] = {}
    while True:
        for name, url in sorted(urls.items()):
            if name not in answers or not answers[name].well:
                answers[name] = ask(name, url, way)
        if all(one.well for one in answers.values()) or time.monotonic() >= end:
            return tuple(answers.values())
        sleep(_PAUSE)


def addresses(stack: str) -> tuple[Mapping[str, str], Path | None]:
    """The addresses in the outputs of a stack, and the local authority where it is what signs them.

    Raises UserError where the stack has none.
    """
    # What talks to the engine needs packages that a bare Python does not have.
    from scripts import certificate
    from scripts.engine import open_stack
    from scripts.paths import find

    paths = find()
    urls = open_stack(paths, stack).state().outputs.get("urls")
    if not isinstance(urls, Mapping) or not urls:
        raise UserError(f"stack {stack} has no addresses: its output urls is empty; deploy it first")
    found = {str(name): str(url) for name, url in urls.items()}
    local = all(certificate.is_local(urlsplit(url).hostname or "") for url in found.values())
    return found, paths.ca / "ca.pem" if local else None


class _Connection(http.client.HTTPSConnection):
    """HTTPS to a name, at an address that may be given."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, connect: tuple[str, int] | None) -> None:
        super().__init__(host, port, timeout=_TIMEOUT, context=context)
        self._tls = context
        # RFC 6761: a name below localhost is this host, which not every resolver knows.
        here = host.casefold().rstrip(".").endswith(".localhost")
        self._where = connect or ("127.0.0.1" if here else host, port)

    def connect(self) -> None:
        raw = socket.create_connection(self._where, timeout=_TIMEOUT)
        try:
            self.sock = self._tls.wrap_socket(raw, server_hostname=self.host)
        except OSError:
            raw.close()
            raise
