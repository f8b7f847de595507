"""The edge: each app at its own name over HTTPS, sign-in where it is due, and nothing else."""

from __future__ import annotations

import http.client
import socket
import ssl
import warnings

import pytest

from tests.integration.edge import ADDRESS, TIMEOUT, Reply, SlowUpload, ask, trusting
from tests.integration.probes import fetch
from tests.integration.stacks import Stack

pytestmark = pytest.mark.integration

# An address of each app that only it answers, and a part of the answer.
OWN_SIGN_IN = [
    ("jellyfin", "/System/Info/Public", "Jellyfin Server"),
    ("qbittorrent", "/", "qBittorrent"),
    ("grafana", "/api/health", '"database"'),
]
SIGN_IN_AT_THE_EDGE = [("sonarr", "Sonarr"), ("radarr", "Radarr"), ("prowlarr", "Prowlarr")]


# What an app may take for /metrics. Traefik takes what is not plain out of a path before it compares.
SPELLINGS = (
    *("/metrics", "/metrics/", "/metrics?x=1", "/metrics/x", "/Metrics", "/METRICS", "/mEtRiCs/"),
    *("/%6detrics", "/%4DETRICS", "//metrics", "/./metrics", "/x/../Metrics", "/metrics;x", "/metrics%2F"),
)
BELOW = ("/emby/metrics", "/Emby/Metrics", "/mediabrowser/METRICS", "/emby//metrics")


def refused(reply: Reply) -> bool:
    """Whether this is Traefik's own answer, and not that of an app which has no such page: what comes from an app
    carries the security headers."""
    return reply.status == 404 and "strict-transport-security" not in reply.headers


@pytest.fixture(scope="module")
def password(stack: Stack) -> str:
    return stack.output("admin-password")


@pytest.mark.parametrize(("app", "path", "part"), OWN_SIGN_IN, ids=[app for app, *_ in OWN_SIGN_IN])
def test_apps_with_their_own_sign_in_answer_at_their_names(stack: Stack, app: str, path: str, part: str) -> None:
    reply = ask(stack, app, path)
    assert reply.status == 200
    assert part in reply.body


@pytest.mark.parametrize(("app", "part"), SIGN_IN_AT_THE_EDGE, ids=[app for app, _ in SIGN_IN_AT_THE_EDGE])
def test_the_edge_signs_in_for_the_others(stack: Stack, password: str, app: str, part: str) -> None:
    assert ask(stack, app).status == 401
    assert ask(stack, app, "/ping").status == 401
    assert ask(stack, app, "/api/v3/system/status").status == 401
    assert ask(stack, app, password=password[::-1]).status == 401
    reply = ask(stack, app, password=password)
    assert reply.status == 200
    assert part in reply.body


def test_grafana_takes_the_generated_password_and_no_other(stack: Stack, password: str) -> None:
    assert ask(stack, "grafana", "/api/org").status == 401
    assert ask(stack, "grafana", "/api/org", password=password[::-1]).status == 401
    assert ask(stack, "grafana", "/api/org", password=password).status == 200


@pytest.mark.parametrize("app", ["jellyfin", "sonarr", "nobody"])
def test_http_only_redirects(stack: Stack, app: str) -> None:
    reply = ask(stack, app, "/some/page?q=1", scheme="http")
    assert reply.status in (301, 302, 307, 308)
    assert reply.headers["location"] == f"https://{app}.{stack.domain}:{stack.https_port}/some/page?q=1"


@pytest.mark.parametrize(("app", "port", "below"), [("jellyfin", 8096, BELOW), ("grafana", 3000, ())])
def test_metrics_are_for_prometheus_only(stack: Stack, app: str, port: int, below: tuple[str, ...]) -> None:
    inside = fetch(stack, stack.container("prometheus"), f"http://{app}:{port}/metrics")[0]
    assert inside.status == 200
    assert "# TYPE" in inside.body
    for path in (*SPELLINGS, *below):
        assert refused(ask(stack, app, path)), path


@pytest.mark.parametrize("path", ["/health", "/Health", "/emby/health", "/MEDIABROWSER/HEALTH"])
def test_jellyfins_health_is_for_its_own_container_only(stack: Stack, path: str) -> None:
    assert refused(ask(stack, "jellyfin", path))


def test_what_is_not_hidden_is_there_in_any_spelling(stack: Stack) -> None:
    for path in ("/System/Info/Public", "/metrics/../System/Info/Public"):
        assert ask(stack, "jellyfin", path).status == 200, path
    assert not refused(ask(stack, "jellyfin", "/no-such-page"))


@pytest.mark.parametrize("app", ["nobody", "prometheus", "alertmanager", "vpn", "traefik"])
def test_an_unknown_name_is_not_found(stack: Stack, app: str) -> None:
    context = trusting(stack)
    context.check_hostname = False
    assert ask(stack, app, context=context).status == 404


def test_answers_carry_the_security_headers(stack: Stack) -> None:
    headers = ask(stack, "jellyfin", "/System/Info/Public").headers
    assert int(headers["strict-transport-security"].partition("=")[2].split(";")[0]) >= 31536000
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert "server" not in headers


def test_the_certificate_is_the_local_authoritys(stack: Stack) -> None:
    """Trusted through the stack's own authority, for this name, and by nobody else."""
    with pytest.raises(ssl.SSLCertVerificationError, match=r"self.signed|local issuer"):
        ask(stack, "jellyfin", context=ssl.create_default_context())
    with pytest.raises(ssl.SSLCertVerificationError, match=r"[Hh]ostname mismatch"):
        handshake(stack, trusting(stack), name="jellyfin.example.org")
    assert handshake(stack, trusting(stack)).startswith("TLSv1.")


def handshake(stack: Stack, context: ssl.SSLContext, name: str | None = None) -> str:
    """The TLS version that the edge agrees to."""
    with (
        socket.create_connection((ADDRESS, stack.https_port), timeout=TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname=name or f"jellyfin.{stack.domain}") as secured,
    ):
        return str(secured.version())


@pytest.mark.parametrize(
    ("version", "agreed"),
    [(ssl.TLSVersion.TLSv1_1, None), (ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")],
    ids=["1.1", "1.2", "1.3"],
)
def test_tls_is_1_2_or_newer(stack: Stack, version: ssl.TLSVersion, agreed: str | None) -> None:
    context = trusting(stack)
    # This machine's own OpenSSL would refuse 1.1 before the edge could.
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = version
        context.maximum_version = version
    if agreed is not None:
        assert handshake(stack, context) == agreed
        return
    with pytest.raises(ssl.SSLError, match=r"(?i)alert.protocol.version"):
        handshake(stack, context)


def test_plain_http_on_the_https_port_gives_nothing_away(stack: Stack) -> None:
    connection = http.client.HTTPConnection(ADDRESS, stack.https_port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/", headers={"Host": f"sonarr.{stack.domain}"})
        answer = connection.getresponse()
        assert answer.status in (400, 404)
        assert b"Sonarr" not in answer.read()
    finally:
        connection.close()


def test_a_long_upload_is_let_finish(slow_upload: SlowUpload) -> None:
    """Longer than the 60 s after which Traefik by itself ends a request; it began with the first of these tests."""
    status, seconds = slow_upload.wait()
    assert seconds > 60
    assert status == 403, "the downloader has read it to its end, and asks who that was"
