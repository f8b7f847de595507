"""Every address has to answer over HTTPS with a certificate that is trusted, and in time."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scripts import certificate, engine, wire
from scripts.ci import smoke
from scripts.ci.__main__ import main
from scripts.console import UserError
from tests.ci import certificates


@dataclass
class Edge:
    """An HTTPS server that answers for some names, as Traefik does."""

    way: smoke.Way
    statuses: dict[str, list[int]] = field(default_factory=dict)
    """For each host the statuses to answer with, one after the other; the last one stays."""


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    authority, chain, key = certificates.make(tmp_path, "*.media.test")
    ours = Edge(way=smoke.Way())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = ours.statuses.get(self.headers["Host"].partition(":")[0], [404])
            self.send_response(known.pop(0) if len(known) > 1 else known[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that does not trust us hangs up."""

    with Server(("127.0.0.1", 0), Handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        ours.way = smoke.Way(authority=authority, connect=("127.0.0.1", server.server_port))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield ours
        server.shutdown()
        thread.join()


def test_a_name_below_localhost_is_this_host_whatever_the_resolver_says(edge: Edge) -> None:
    assert edge.way.connect
    way = smoke.Way(authority=edge.way.authority)
    one = smoke.ask("sonarr", f"https://sonarr.localhost:{edge.way.connect[1]}/", way)
    assert one.said.startswith("certificate not trusted: ")  # it is for other names, so it was reached


@pytest.mark.parametrize(
    ("status", "well"),
    [(200, True), (302, True), (401, True), (403, True), (404, False), (500, False), (502, False), (503, False)],
)
def test_what_counts_as_an_answer(edge: Edge, status: int, well: bool) -> None:
    edge.statuses["sonarr.media.test"] = [status]
    one = smoke.ask("sonarr", "https://sonarr.media.test/", edge.way)
    assert (one.said, one.well) == (str(status), well)


def test_a_certificate_that_is_not_trusted_or_for_another_name_is_no_answer(edge: Edge) -> None:
    edge.statuses["sonarr.media.test"] = [200]
    untrusted = smoke.ask("sonarr", "https://sonarr.media.test/", smoke.Way(connect=edge.way.connect))
    other_name = smoke.ask("sonarr", "https://sonarr.other.test/", edge.way)
    assert [one.well for one in (untrusted, other_name)] == [False, False]
    assert "certificate not trusted" in untrusted.said
    assert "certificate not trusted" in other_name.said


def test_what_is_not_https_or_not_there_is_no_answer(edge: Edge) -> None:
    assert not smoke.ask("a", "http://sonarr.media.test/", edge.way).well
    assert not smoke.ask("a", "nonsense", edge.way).well
    nobody = smoke.Way(authority=edge.way.authority, connect=("127.0.0.1", 1))
    assert "no answer" in smoke.ask("a", "https://sonarr.media.test/", nobody).said


def test_addresses_are_asked_until_they_are_well(edge: Edge) -> None:
    edge.statuses["sonarr.media.test"] = [404, 502, 200]
    edge.statuses["radarr.media.test"] = [200, 500]
    naps: list[float] = []
    urls = {"sonarr": "https://sonarr.media.test/", "radarr": "https://radarr.media.test/"}
    answers = smoke.check(urls, edge.way, sleep=naps.append)
    assert [(one.name, one.said) for one in answers] == [("radarr", "200"), ("sonarr", "200")]
    assert len(naps) == 2


def test_waiting_has_an_end(edge: Edge) -> None:
    answers = smoke.check({"sonarr": "https://sonarr.media.test/"}, edge.way, seconds=0, sleep=lambda _: None)
    assert [one.said for one in answers] == ["404"]


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.pem: cannot be read"):
        smoke.ask("a", "https://a.test/", smoke.Way(authority=tmp_path / "none.pem"))


def test_the_command_counts_and_its_status_tells(
    edge: Edge, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = {"sonarr": "https://sonarr.media.test/", "radarr": "https://radarr.media.test/"}
    monkeypatch.setattr(smoke, "addresses", lambda stack: (urls, edge.way.authority))
    assert edge.way.connect is not None
    words = ["smoke", "--stack", "prod", "--seconds", "0", "--connect", f"127.0.0.1:{edge.way.connect[1]}"]
    edge.statuses |= {"sonarr.media.test": [401], "radarr.media.test": [502]}
    assert main(words) == 1
    assert capsys.readouterr().out.splitlines() == [
        "FAILED  https://radarr.media.test/  502",
        "ok      https://sonarr.media.test/  401",
        "smoke: stack prod: 1 of 2 addresses answer",
    ]
    edge.statuses["radarr.media.test"] = [200]
    assert main(words) == 0


@pytest.mark.parametrize(
    ("outputs", "local"),
    [
        ({"urls": {"sonarr": "https://sonarr.localhost"}}, True),
        ({"urls": {"sonarr": "https://sonarr.media.example.org"}}, False),
    ],
)
def test_the_addresses_are_those_of_the_outputs(
    monkeypatch: pytest.MonkeyPatch, outputs: dict[str, object], local: bool
) -> None:
    stand_in(monkeypatch, outputs)
    urls, authority = smoke.addresses("prod")
    assert urls == outputs["urls"]
    assert (authority is not None and authority.name == "ca.pem") is local


@pytest.mark.parametrize("outputs", [{}, {"urls": {}}, {"urls": "x"}])
def test_a_stack_without_addresses_is_not_well(monkeypatch: pytest.MonkeyPatch, outputs: dict[str, object]) -> None:
    stand_in(monkeypatch, outputs)
    with pytest.raises(UserError, match="stack prod has no addresses"):
        smoke.addresses("prod")


def stand_in(monkeypatch: pytest.MonkeyPatch, outputs: dict[str, object]) -> None:
    class Opened:
        def state(self) -> engine.State:
            return engine.State(resources=(engine.Resource(urn="u", type=wire.STACK, id="", outputs=outputs),))

    monkeypatch.setattr(engine, "open_stack", lambda paths, stack: Opened())
    assert certificate.is_local("a.localhost")
