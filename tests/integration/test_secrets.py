"""No secret of the stack is anywhere but where it is meant to be: every value is looked for in everything that the
engine, the state, the host's process list and the checkout show."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

import docker.errors
import pytest

from components.secrets import ADMIN_USER
from tests.integration.edge import ask
from tests.integration.probes import container_removed, fetch, finish, image_of, launch
from tests.integration.stacks import ROOT, Stack, service_of

# The upload of test_edge.py takes its time meanwhile.
pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("slow_upload")]

SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
"""The key that marks a secret in a state (pulumi, sdk/go/common/resource)."""
PUBLIC_PARTS: Final = frozenset({"file", "permissions", "owner", "group"})
"""What lies beside the content of an uploaded file and is no secret, although the whole list is marked."""
SHORTEST: Final = 12

LISTING: Final = """
import json, os, sys
found = []
for folder, _, files in os.walk("/run/secrets"):
    for name in files:
        path = os.path.join(folder, name)
        status = os.stat(path)
        try:
            content = open(path).read()
        except PermissionError:
            content = None
        found.append({"path": path, "mode": oct(status.st_mode & 0o7777), "uid": status.st_uid, "content": content})
print(json.dumps(found))
"""


def leaves(value: object, skip: frozenset[str] = frozenset()) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if key not in skip:
                yield from leaves(item, skip)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, skip)


def marked(value: object) -> Iterator[str]:
    """Every text in a JSON value of an export with --show-secrets that is marked as a secret.

    One secret file marks the whole list of uploads: configuration files in it are none.
    """
    if isinstance(value, Mapping):
        if SIGNATURE in value:
            plain = json.loads(value["plaintext"])
            if isinstance(plain, list):
                plain = [item for item in plain if not is_configuration(item)]
            yield from leaves(plain, PUBLIC_PARTS)
        else:
            for item in value.values():
                yield from marked(item)
    elif isinstance(value, list):
        for item in value:
            yield from marked(item)


def is_configuration(item: object) -> bool:
    """Whether this is an uploaded file that lies elsewhere than among the secrets."""
    return isinstance(item, Mapping) and "content" in item and not str(item.get("file")).startswith("/run/secrets/")


def needles(values: Iterable[str], public: str) -> frozenset[str]:
    """What to look for: each value, line by line where it has several, and in the encodings that tools use.

    Lines that are in `public`, the repository's own templates, are no secret; nor is a certificate.
    """
    known = frozenset(line.strip() for line in public.splitlines())
    found: set[str] = set()
    for value in values:
        if value.startswith("-----BEGIN CERTIFICATE"):
            continue
        for line in (line.strip() for line in value.splitlines()):
            if len(line) >= SHORTEST and not line.startswith("-----") and line not in known:
                encoded = base64.b64encode(line.encode()).decode()
                found |= {line, encoded, quote(line, safe=""), json.dumps(line)[1:-1]}
    return frozenset(found)


def grep(wanted: frozenset[str], places: Mapping[str, str]) -> list[str]:
    """The places in which a wanted text is. Never says which."""
    return sorted(place for place, text in places.items() if any(needle in text for needle in wanted))


@pytest.fixture(scope="module")
def wanted(stack: Stack) -> frozenset[str]:
    """Everything to look for."""
    resources = stack.export(show_secrets=True)["resources"]
    assert isinstance(resources, list)
    config = json.loads(stack.read("config", "--show-secrets", "--json"))
    values = {
        *marked(resources),
        *(str(entry["value"]) for entry in config.values() if entry.get("secret")),
        (stack.state / "stacks" / stack.name / "passphrase").read_text(encoding="utf-8"),
    }
    template = (ROOT / "config" / "qbittorrent" / "qBittorrent.conf").read_text(encoding="utf-8")
    return needles(values, template.replace("$user", ADMIN_USER))


def engine_places(stack: Stack) -> dict[str, str]:
    """What the Docker Engine shows of the stack to whoever may ask it."""
    places: dict[str, str] = {}
    containers = [*stack.containers(), *stack.containers("seed")]
    for container in containers:
        name = f"{container.labels['nexus.role']} {service_of(container)}"
        places[f"docker inspect of {name}"] = json.dumps(container.attrs)
        places[f"docker logs of {name}"] = container.logs().decode(errors="replace")
        if container.attrs["State"]["Running"]:
            with suppress(docker.errors.APIError):
                places[f"docker top of {name}"] = json.dumps(container.top(ps_args="-eo pid,args"))
    for image in {str(container.attrs["Image"]) for container in containers}:
        places[f"docker image inspect of {image}"] = json.dumps(stack.client.images.get(image).attrs)
    for volume in stack.volumes():
        places[f"docker volume inspect of {volume.name}"] = json.dumps(volume.attrs)
    for network in stack.client.networks.list(names=[stack.physical("")]):
        network.reload()
        places[f"docker network inspect of {network.name}"] = json.dumps(network.attrs)
    return places


def file_places(stack: Stack) -> dict[str, str]:
    """The exported state, everything under the stack's state directory but the keys themselves, and the checkout."""
    places = {
        "exported state": json.dumps(stack.export()),
        "stack file": stack.file.read_text(encoding="utf-8"),
        "pulumi stack output": stack.read("stack", "output", "--json"),
    }
    keys = {"passphrase", "key.pem"}
    for path in stack.state.rglob("*"):
        if path.is_file() and path.name not in keys:
            places[str(path)] = path.read_text(encoding="utf-8", errors="replace")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    for name in listed.stdout.split("\0"):
        if name and (ROOT / name).is_file():
            places[f"checkout: {name}"] = (ROOT / name).read_text(encoding="utf-8", errors="replace")
    return places


def test_the_search_knows_the_secrets(stack: Stack, wanted: frozenset[str]) -> None:
    """An empty list of secrets would be found nowhere."""
    assert stack.output("admin-password") in wanted
    assert len(wanted) > 10
    for file in ("api_key", "wireguard_private_key", "users", "tls.key", "qBittorrent.conf"):
        owner = {"api_key": "sonarr", "wireguard_private_key": "vpn", "qBittorrent.conf": "qbittorrent"}
        content = delivered(stack, owner.get(file, "traefik"))[f"/run/secrets/{file}"]["content"]
        assert any(needle in str(content) for needle in wanted), f"the search does not know what is in {file}"


def browse(stack: Stack) -> None:
    """Opens what the apps' own pages and people's calendars open, with keys and passwords where they put them."""
    password = stack.output("admin-password")
    for app in ("sonarr", "radarr", "prowlarr"):
        key = str(delivered(stack, app)["/run/secrets/api_key"]["content"])
        for path in (
            f"/signalr/messages?access_token={key}",
            f"/feed/v3/calendar/{app}.ics?unmonitored=false&apikey={key}",
            f"/1/api?t=caps&apikey={key}",
            f"/api/v3/system/status?apiKey={key}",
        ):
            referer = f"https://{app}.{stack.domain}/calendar?apikey={key}"
            ask(stack, app, path, headers={"X-Api-Key": key, "Referer": referer}, password=password)
            ask(stack, app, path, scheme="http")
        # Before anybody has signed in, and to nobody's host.
        ask(stack, app, f"/feed?apikey={key}")
        ask(stack, "jellyfin", f"/socket?api_key={key}&deviceId=x", headers={"X-Emby-Token": key})
        ask(stack, "jellyfin", f"/Items?ApiKey={key}", headers={"Authorization": f'MediaBrowser Token="{key}"'})
        ask(stack, "grafana", f"/api/org?auth_token={key}", headers={"Authorization": f"Bearer {key}"})
    form = {"Content-Type": "application/x-www-form-urlencoded", "Referer": f"https://qbittorrent.{stack.domain}/"}
    body = f"username={ADMIN_USER}&password={quote(password, safe='')}"
    ask(stack, "qbittorrent", "/api/v2/auth/login", method="POST", body=body, headers=form)
    ask(stack, "grafana", "/api/org", password=password)
    login = json.dumps({"user": ADMIN_USER, "password": password})
    ask(stack, "grafana", "/login", method="POST", body=login, headers={"Content-Type": "application/json"})


def test_no_log_has_what_a_browser_sends(stack: Stack, wanted: frozenset[str]) -> None:
    counted = stack.container("traefik").logs().decode(errors="replace").count('"RouterName"')
    browse(stack)
    logs = {place: text for place, text in engine_places(stack).items() if place.startswith("docker logs")}
    assert logs["docker logs of service traefik"].count('"RouterName"') > counted + 20
    assert grep(wanted, logs) == []


def test_the_engine_shows_no_secret(stack: Stack, wanted: frozenset[str]) -> None:
    places = engine_places(stack)
    assert len([place for place in places if place.startswith("docker inspect")]) > 20
    assert grep(wanted, places) == []


def test_state_and_files_show_no_secret(stack: Stack, wanted: frozenset[str]) -> None:
    places = file_places(stack)
    assert any(place.endswith("Pulumi.yaml") for place in places)
    assert any("/backend/" in place for place in places)
    assert grep(wanted, places) == []


def test_command_lines_of_the_host_show_no_secret(wanted: frozenset[str]) -> None:
    places: dict[str, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                places[entry.name] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    assert len(places) > 20
    assert grep(wanted, places) == []


@pytest.mark.parametrize("how", ["environment", "label", "command", "log", "encoded"])
def test_a_planted_secret_is_found(stack: Stack, wanted: frozenset[str], how: str) -> None:
    secret = stack.output("admin-password")
    script = f"true {secret}; sleep 60" if how == "command" else "sleep 60; true"
    container = stack.client.containers.run(
        image_of(stack),
        entrypoint=["sh", "-c", script],
        environment={
            "environment": {"PASSWORD": secret},
            "encoded": {"AUTH": base64.b64encode(secret.encode()).decode()},
        }.get(how, {}),
        labels={"nexus.test": stack.name, **({"password": secret} if how == "label" else {})},
        network_mode="none",
        detach=True,
    )
    with container_removed(container):
        if how == "log":
            container.exec_run(["sh", "-c", f"echo {secret} >/proc/1/fd/1"])
        container.reload()
        places = {
            "inspect": json.dumps(container.attrs),
            "logs": container.logs().decode(),
            "top": json.dumps(container.top(ps_args="-eo pid,args")),
        }
        assert grep(wanted, places) == {
            "command": ["inspect", "top"],
            "log": ["logs"],
        }.get(how, ["inspect"])


def delivered(stack: Stack, service: str, user: str | None = None) -> dict[str, dict[str, object]]:
    """The files of a service's /run/secrets as `user` sees them (None: as the service's own user), by path."""
    container = stack.container(service)
    volume = next(mount["Name"] for mount in container.attrs["Mounts"] if mount["Destination"] == "/run/secrets")
    reader = launch(
        stack,
        LISTING,
        network_mode="none",
        volumes={volume: {"bind": "/run/secrets", "mode": "ro"}},
        user=user or container.attrs["Config"]["User"],
    )
    with container_removed(reader):
        found = finish(reader)
    assert isinstance(found, list)
    return {str(item["path"]): item for item in found}


def test_secret_files_are_for_their_service_alone(stack: Stack) -> None:
    holders = [
        item
        for item in stack.containers()
        if any(mount["Destination"] == "/run/secrets" for mount in item.attrs["Mounts"])
    ]
    services = {service_of(item) for item in holders}
    assert services >= {"sonarr", "radarr", "prowlarr", "vpn", "vpn-peer", "qbittorrent", "traefik", "grafana"}
    for holder in holders:
        service = service_of(holder)
        uid = int(holder.attrs["Config"]["User"].partition(":")[0])
        seen = delivered(stack, service)
        assert seen, f"{service} has no secret file"
        assert {(item["mode"], item["uid"]) for item in seen.values()} == {("0o400", uid)}, service
        assert all(item["content"] for item in seen.values()), f"{service} cannot read its own secret"
        strangers = delivered(stack, service, user="12345:12345")
        assert {item["content"] for item in strangers.values()} == {None}, f"others can read the secrets of {service}"


@pytest.mark.parametrize(("app", "port", "path"), [
    ("sonarr", 8989, "/api/v3/system/status"),
    ("radarr", 7878, "/api/v3/system/status"),
    ("prowlarr", 9696, "/api/v1/system/status"),
])  # fmt: skip
def test_the_api_takes_the_generated_key_and_no_other(stack: Stack, app: str, port: int, path: str) -> None:
    container = stack.container(app)
    key = str(delivered(stack, app)["/run/secrets/api_key"]["content"])
    assert len(key) == 32
    assert set(key) <= set("0123456789abcdef")
    url = f"http://127.0.0.1:{port}{path}"
    with_key, without, wrong = (
        fetch(stack, container, url, headers=headers)[0].status
        for headers in ({"X-Api-Key": key}, {}, {"X-Api-Key": "0" * 32})
    )
    assert (with_key, without, wrong) == (200, 401, 401)
