"""The edge as a browser on this machine meets it: by name, over HTTPS, with the local authority's certificate."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from components.secrets import ADMIN_USER
from tests.integration.probes import Answer
from tests.integration.stacks import Stack

ADDRESS: Final = "127.0.0.1"
TIMEOUT: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class Reply(Answer):
    """An HTTP answer with its headers, whose names are in lower case."""

    headers: Mapping[str, str]


class _Named(http.client.HTTPSConnection):
    """A connection to this machine under another name: `*.localhost` is not in every resolver."""

    def __init__(self, port: int, name: str, context: ssl.SSLContext) -> None:
        super().__init__(ADDRESS, port, timeout=TIMEOUT, context=context)
        self._name = name
        self._tls = context

    def connect(self) -> None:
        self.sock = self._tls.wrap_socket(
            socket.create_connection((ADDRESS, self.port), timeout=TIMEOUT), server_hostname=self._name
        )


def trusting(stack: Stack) -> ssl.SSLContext:
    """A TLS context that trusts the stack's local authority and nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(stack.state / "ca" / "ca.pem")
    return context


def ask(
    stack: Stack,
    app: str,
    path: str = "/",
    *,
    method: str = "GET",
    body: str | None = None,
    headers: Mapping[str, str] | None = None,
    password: str | None = None,
    scheme: str = "https",
    context: ssl.SSLContext | None = None,
) -> Reply:
    """Asks `app` at its own name; with `password` as the admin by basic authentication. Follows no redirect."""
    name = f"{app}.{stack.domain}"
    connection: http.client.HTTPConnection
    if scheme == "https":
        port = stack.https_port
        connection = _Named(port, name, context or trusting(stack))
    else:
        port = stack.http_port
        connection = http.client.HTTPConnection(ADDRESS, port, timeout=TIMEOUT)
    sent = {"Host": f"{name}:{port}", **(headers or {})}
    if password is not None:
        sent["Authorization"] = "Basic " + base64.b64encode(f"{ADMIN_USER}:{password}".encode()).decode()
    try:
        connection.request(method, path, body=body, headers=sent)
        answer = connection.getresponse()
        return Reply(
            status=answer.status,
            body=answer.read().decode(errors="replace"),
            headers={key.lower(): value for key, value in answer.getheaders()},
        )
    finally:
        connection.close()


class SlowUpload:
    """A file of 1 kB/s on its way to the downloader for `seconds`, beside whatever else happens."""

    def __init__(self, stack: Stack, seconds: int) -> None:
        self._seconds = seconds
        self._stack = stack
        self._status = 0
        self._took = 0.0
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def wait(self) -> tuple[int, float]:
        """The status of the answer, 0 where none came, and the seconds it took."""
        self._thread.join(2 * self._seconds)
        return self._status, self._took

    def _body(self) -> Iterator[bytes]:
        for _ in range(self._seconds):
            time.sleep(1)
            yield b"x" * 1024

    def _send(self) -> None:
        began = time.monotonic()
        name = f"qbittorrent.{self._stack.domain}"
        connection = _Named(self._stack.https_port, name, trusting(self._stack))
        try:
            connection.request(
                "POST",
                "/api/v2/torrents/add",
                body=self._body(),
                headers={
                    "Host": f"{name}:{self._stack.https_port}",
                    "Content-Length": str(1024 * self._seconds),
                    "Content-Type": "application/x-www-form-urlencoded",
                },
            )
            self._status = connection.getresponse().status
        except OSError as error:
            print(f"the slow upload ended: {error}")
        finally:
            self._took = time.monotonic() - began
            connection.close()
