"""The stacks the tests build: one for each choice that a setting offers, each run once under mocks and kept."""

from __future__ import annotations

import fcntl
import functools
import os
import pickle
import runpy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final
from unittest import mock

import yaml

from components import downloads, host, reach
from components.arguments import HealthCheck, Limits, ServiceArgs, User
from components.dockerhost import DockerHost, Socket
from components.images import PINS
from components.networks import APPS, EGRESS, Networks, OwnNetworks
from components.service import ImageStore, Service
from components.settings.load import filled
from components.settings.schema import EmbeddedVpn, Settings
from components.settings.secret import SECRET_KEYS
from components.storage import Storage
from tests.components.recorder import Json, Recorder, Registered, configuration, run
from tests.conftest import SHARED

ROOT: Final = Path(__file__).parent.parent.parent
SOCKET_GID: Final = 998
SOCKET_PROXY: Final = "cadvisor-socket-proxy"
EMBEDDED: Final[Mapping[str, Json]] = {"nexus:vpn": {"type": "embedded"}}


def given(*keys: str) -> dict[str, str]:
    """A secret setting for each of these keys and for the certificate: values that nothing else looks like."""
    sample = {one.key: one.sample for one in SECRET_KEYS}
    return {
        f"nexus:{key}": sample[key].format(f"given{key}9d1f60c2".replace("-", ""))
        for key in ("tls-certificate", "tls-key", *keys)
    }


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A stack's configuration: plain settings as parsed from the stack file, its secrets, and what the engine says of
    itself where it is asked."""

    config: Mapping[str, Json]
    secrets: Mapping[str, str] = field(default_factory=given)
    engine: host.Engine | None = None


def stack_file(stack: str) -> dict[str, Json]:
    """The settings in a stack file of the checkout, with examples in a template's open places."""
    return filled(yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"])


CHOICES: Final[Mapping[str, Choice]] = {
    "dev": Choice(config=stack_file("dev")),
    "prod": Choice(config=stack_file("prod"), secrets=given("wireguard-private-key", "alert-webhook-url")),
    "staging": Choice(config=stack_file("staging"), secrets=given("wireguard-private-key", "alert-webhook-url")),
    "dri": Choice(config={**EMBEDDED, "nexus:jellyfin": {"gpu": {"mode": "dri", "render-gid": 993}}}),
    "nvidia": Choice(config={**EMBEDDED, "nexus:jellyfin": {"gpu": {"mode": "nvidia", "gpus": "device=0,2"}}}),
    "wireguard-custom": Choice(
        config={
            "nexus:vpn": {
                "type": "wireguard",
                "provider": "custom",
                "addresses": "10.64.0.2/32",
                "endpoint-ip": "198.51.100.7",
                "endpoint-port": 51820,
                "health-target": "10.64.0.1:9998",
                "public-key": "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=",
            }
        },
        secrets=given("wireguard-private-key", "wireguard-preshared-key"),
    ),
    "wireguard-mullvad": Choice(
        config={
            "nexus:vpn": {
                "type": "wireguard",
                "provider": "mullvad",
                "addresses": "10.64.0.2/32",
                "countries": ["Sweden", "New Zealand"],
            },
            "nexus:monitoring": {"receiver": {"type": "webhook"}},
        },
        secrets=given("wireguard-private-key", "alert-webhook-url"),
    ),
    "openvpn": Choice(
        config={"nexus:vpn": {"type": "openvpn", "provider": "hidemyass", "countries": ["Japan"]}},
        secrets=given("openvpn-user", "openvpn-password"),
    ),
    "openvpn-custom": Choice(
        config={"nexus:vpn": {"type": "openvpn", "provider": "custom"}}, secrets=given("openvpn-config")
    ),
    "email": Choice(
        config={
            **EMBEDDED,
            "nexus:monitoring": {
                "receiver": {
                    "type": "email",
                    "to": "admin@example.org",
                    "sender": "nexus@example.org",
                    "smarthost": "smtp.example.org:587",
                    "username": "nexus",
                }
            },
        },
        secrets=given("smtp-password"),
    ),
    "bind-data": Choice(
        config={
            **EMBEDDED,
            "nexus:storage": {"data": "/srv/media"},
            "nexus:apps": {"uid": 1234, "gid": 4321, "timezone": "Europe/Berlin"},
        }
    ),
    "mirror": Choice(config={**EMBEDDED, "nexus:images": {"mirror": "registry.lan:5000/cache"}}),
    "containerd": Choice(
        config=EMBEDDED,
        engine=host.Engine(
            version="29.0.0",
            storage_driver="overlayfs",
            cgroup_version="2",
            root=Path("/var/lib/docker"),
            cpus=4,
            containerd_images=True,
        ),
    ),
    "rootless": Choice(
        config={**EMBEDDED, "nexus:docker": {"host": "unix:///run/user/1000/docker.sock", "socket-gid": 0}},
        engine=host.Engine(
            version="28.5.2",
            storage_driver="fuse-overlayfs",
            cgroup_version="2",
            root=Path("/home/nexus/.local/share/docker"),
            cpus=4,
            rootless=True,
        ),
    ),
    "remote": Choice(
        config={
            **EMBEDDED,
            "nexus:docker": {"host": "ssh://nexus@media.lan", "socket-gid": 121},
            "nexus:networks": {"pool": "10.77.0.0/16"},
            "nexus:edge": {
                "domain": "media.lan",
                "bind-address": "192.0.2.4",
                "http-port": 8081,
                "https-port": 8444,
            },
        }
    ),
}


def build(choice: Choice, *, stack: str = "test", preview: bool = False) -> Recorder:
    """Runs the project's own __main__.py with these settings, on a host about which nothing else is known."""
    unknown = host.HostFacts(stack=stack, local=False, engine=choice.engine)
    with (
        configuration(choice.config, choice.secrets),
        mock.patch.object(host, "gather", return_value=unknown),
        mock.patch.object(reach, "refusal", return_value=None),
        mock.patch.object(host, "socket_gid", side_effect=_socket_gid),
        # 100,000 rounds for the same password in each stack
        mock.patch.object(downloads, "qbittorrent_pbkdf2", _hash_once),
    ):
        return run(lambda: runpy.run_path(str(ROOT / "__main__.py")), stack=stack, preview=preview)


_read_gid = host.socket_gid
_hash_once = functools.cache(downloads.qbittorrent_pbkdf2)


def _socket_gid(settings: Settings, engine: host.Engine) -> int:
    """The setting, or a number where the real function would look at this machine's own socket."""
    return SOCKET_GID if settings.docker.socket_gid is None else _read_gid(settings, engine)


@functools.cache
def built(name: str, *, stack: str = "test", preview: bool = False) -> Recorder:
    """The stack of `CHOICES` by name. Shared between the tests of all workers: what it recorded is only read."""
    if SHARED not in os.environ:
        return build(CHOICES[name], stack=stack, preview=preview)
    file = _kept(name, stack=stack, preview=preview)
    assert file is not None
    made = pickle.loads(file.read_bytes())  # this run's own file, in a directory of mode 0700
    assert isinstance(made, Recorder)
    return made


def _kept(name: str, *, stack: str = "test", preview: bool = False, wait: bool = True) -> Path | None:
    """The file with that stack, made by this worker or another. Without `wait` None where one is about to make it."""
    file = Path(os.environ[SHARED]) / f"{name}-{stack}-{preview}"
    with file.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        if not file.exists():
            file.write_bytes(pickle.dumps(build(CHOICES[name], stack=stack, preview=preview)))
    return file


@functools.cache
def every() -> Mapping[str, Recorder]:
    """All the stacks of `CHOICES`."""
    if SHARED in os.environ:
        # First those that no other worker is about to make: else all workers make them one after the other.
        for name in CHOICES:
            _kept(name, wait=False)
    return {name: built(name) for name in CHOICES}


GOOD: Final = ServiceArgs(
    image="busybox",
    user=User(uid=1000, gid=1000),
    limits=Limits(memory=64, cpus=0.5),
    health=HealthCheck(test=("CMD", "true")),
    network=OwnNetworks(APPS, EGRESS),
)
"""A service that nothing is wrong with, which each test changes in one way."""


def declare(program: Callable[[DockerHost], object]) -> Recorder:
    """Runs a program that makes services by hand, with the default settings."""

    def whole() -> object:
        chosen = Settings(vpn=EmbeddedVpn(type="embedded"))
        return program(
            DockerHost(
                engine=host.ORDINARY,
                images=ImageStore(PINS),
                networks=Networks(chosen.networks.pool),
                # A path, so that there is no volume but those of the program.
                storage=Storage(chosen.storage.model_copy(update={"data": PurePosixPath("/srv/media")})),
                socket=Socket(path=PurePosixPath(reach.SOCKET), gid=SOCKET_GID),
                timezone=chosen.apps.timezone,
            )
        )

    return run(whole)


def service(name: str, args: ServiceArgs = GOOD) -> Registered:
    """The container of a service that was made by hand."""
    return declare(lambda host: Service(name, args, host)).service(name)
