"""A Pulumi program of the product's own services, in which every input that the product sets is changed once.

Each row of `ROWS` has a service of its own. Where CHANGED is set in the environment, one input of one of its
resources has another value; where two never change alone, both have. What does not belong here: running it and
looking at the engine (test_changes.py).
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pulumi
import pulumi_docker as docker

from components import images, reach
from components.arguments import HealthCheck, Limits, Port, Privileges, Process, ServiceArgs, SharesNetworkOf, User
from components.dockerhost import DockerHost, Socket
from components.host import ORDINARY
from components.job import one_shot
from components.names import physical
from components.networks import Network, Networks, OwnNetworks
from components.service import ImageStore, Service
from components.settings.schema import Storage as StorageSettings
from components.storage import Storage, VolumeMount
from tests.services import changed

CHANGED: Final = "NEXUS_TEST_CHANGED"
"""In the program's environment: set where the inputs are to be changed."""
LOCK: Final = "NEXUS_TEST_LOCK"
"""In the program's environment: a lock file of image references; empty for the pins."""
POOL: Final = ipaddress.IPv4Network("172.31.192.0/20")
BESIDE_POOL: Final = ipaddress.IPv4Network("172.31.160.0/20")
"""Of `failing`, while `program` is up."""
ELSEWHERE: Final = ipaddress.IPv4Network("172.31.176.0/24")
"""For a network that moves."""
BESIDE: Final = "beside"
"""A service whose network others share."""

TREE: Final = "NEXUS_TEST_TREE"
"""In the environment of `failing`: the path of the data tree."""
KEEPER: Final = "keeper"
"""A service with a volume of its own, whose user is changed."""
WRITES: Final = (
    "mkdir -p /kept/deep/er && echo once >>/kept/deep/er/file && chmod -R go= /kept/deep && exec sleep 3600"
)
"""What it does at each start: files that no other user may touch."""
OTHER: Final = User(uid=1001, gid=1002)

Props = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One change. `keys` are the inputs as Pulumi names them, such as healthcheck.interval."""

    kind: str
    """service, seed, network or volume."""
    keys: tuple[str, ...]
    change: Callable[[Props, ImageStore], None] | None = None
    """Changes what the provider is given, in place."""
    args: Mapping[str, Any] = field(default_factory=dict)
    """In what the service differs from `BASE`."""
    to: Mapping[str, Any] = field(default_factory=dict)
    """In what it differs as well when it is changed."""
    note: str = ""
    """Part of the service's name, where one input has two rows."""

    @property
    def service(self) -> str:
        """The name of its service."""
        return "-".join(filter(None, (self.kind, snake(self.keys[0]).replace("_", "-").replace(".", "-"), self.note)))

    @property
    def resource(self) -> str:
        """The logical name of the resource that is changed."""
        match self.kind:
            case "network":
                return f"network-{self.service}"
            case "volume":
                return f"{self.service}-config-files"
            case "seed":
                return f"{self.service}-seed"
            case _:
                return f"{self.service}-container"


def snake(name: str) -> str:
    """Pulumi's name of an input, as Python has it."""
    return re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name)


def given(key: str, value: object) -> Callable[[Props, ImageStore], None]:
    """Gives an input, or a field of its one object or of the first of its objects, another value: this one, or what
    a function makes of the images and the old one."""
    name, _, part = snake(key).partition(".")

    def change(props: Props, store: ImageStore) -> None:
        inside = props[name][0] if part and isinstance(props[name], list) else props[name]
        old = getattr(inside, part) if part else inside
        new = value(store, old) if callable(value) else value
        if part:
            setattr(inside, part, new)
        else:
            props[name] = new

    return change


def rows(kind: str, changes: Mapping[str, object], note: str = "", **args: object) -> tuple[Row, ...]:
    """A row for each input and its new value."""
    return tuple(
        Row(kind=kind, keys=(key,), change=given(key, value), args=args, note=note) for key, value in changes.items()
    )


def several(*changes: Callable[[Props, ImageStore], None]) -> Callable[[Props, ImageStore], None]:
    """All of these at once."""

    def change(props: Props, store: ImageStore) -> None:
        for one in changes:
            one(props, store)

    return change


def other_image(store: ImageStore, _: object) -> pulumi.Output[str]:
    """Another image whose user is root and that has a `sleep`."""
    return store.id_of("traefik")


def other_volume(*_: object) -> str:
    """A volume that is nobody's."""
    return physical("other")


def renamed(_: ImageStore, old: str) -> str:
    """Another name."""
    return f"{old}-renamed"


NEEDS: Final = Privileges(
    why="this test takes them away", capabilities=("CAP_CHOWN",), tun=True, sysctls={"net.ipv4.ip_forward": "1"}
)
FILES: Final = {"a/one.conf": "one", "two.conf": "two"}
SHARED: Final = object()
"""In place of the network of `BESIDE`, which is not made yet when the table is."""

ALL: Final = Network(name="all", slot=0, internal=False, why="this test")
SPARE: Final = Network(name="spare", slot=1, internal=False, why="to move to")

BASE: Final = ServiceArgs(
    image="busybox",
    user=User(uid=1000, gid=1000),
    limits=Limits(memory=16, cpus=0.5),
    health=HealthCheck(test=("CMD", "true"), interval=600),
    network=OwnNetworks(ALL),
    process=Process(entrypoint=("sleep", "3600"), stop_grace=1),
)

ROWS: Final = (
    *rows(
        "service",
        {
            "capabilities.drops": ["CAP_KILL"],
            "cpus": "0.4",
            "destroyGraceSeconds": 2,
            "entrypoints": ["sleep", "3601"],
            "envs": ["TZ=Etc/UTC", "MORE=1"],
            "healthcheck.interval": "2s",
            "healthcheck.retries": 4,
            "healthcheck.startPeriod": "2s",
            "healthcheck.tests": ["CMD", "test", "-d", "/"],
            "healthcheck.timeout": "4s",
            "hostname": "changed",
            "image": other_image,
            "init": False,
            "labels.label": "nexus.changed",
            "labels.value": "changed",
            "logDriver": "local",
            "logOpts": {"max-file": "2", "max-size": "10m"},
            "memory": 15,
            "memorySwap": 20,
            "mustRun": False,
            "name": renamed,
            "networksAdvanced.aliases": ["changed"],
            "networksAdvanced.ipv4Address": str(POOL[200]),
            "networksAdvanced.name": lambda *_: physical("spare"),
            "readOnly": False,
            "restart": "on-failure",
            "securityOpts": ["no-new-privileges:false"],
            "stopTimeout": 2,
            "tmpfs": {"/tmp": "size=1m"},
            "ulimits.hard": 5000,
            "ulimits.name": "nofile",
            "ulimits.soft": 4000,
            "user": "1001:1002",
            "waitTimeout": 50,
        },
    ),
    *rows("service", {"wait": True}, health=HealthCheck(test=("CMD", "true"), interval=1)),
    *rows("service", {"tmpfs": None}, "gone"),
    Row(
        kind="service",
        keys=("entrypoints",),
        args={"entrypoint": ("env",), "command": ("sleep", "3600")},
        to={"entrypoint": None},
        note="gone",
    ),
    *rows("service", {"command": ["two"]}, entrypoint=("sh", "-c", "sleep 3600"), command=("one",)),
    Row(
        kind="service",
        keys=("command",),
        args={"entrypoint": ("sh", "-c", "sleep 3600"), "command": ("one",)},
        to={"command": ()},
        note="gone",
    ),
    *rows(
        "service",
        {
            "capabilities.adds": ["CAP_KILL"],
            "devices.containerPath": "/dev/changed",
            "devices.hostPath": "/dev/zero",
            "devices.permissions": "r",
            "sysctls": {"net.ipv4.ip_forward": "0"},
        },
        privileges=NEEDS,
    ),
    *rows("service", {"capabilities.adds": None, "devices": None, "sysctls": None}, "gone", privileges=NEEDS),
    *rows("service", {"groupAdds": ["12"]}, groups=(11,)),
    *rows("service", {"groupAdds": None}, "gone", groups=(11,)),
    *(
        Row(
            kind="service",
            keys=(key,),
            change=given(key, value),
            args={"ports": (Port(address="127.0.0.1", external=42900 + number, internal=8000),)},
            note=note,
        )
        for number, (key, value, note) in enumerate(
            (
                ("ports.external", 42999, ""),
                ("ports.internal", 8001, ""),
                ("ports.ip", "127.0.0.2", ""),
                ("ports.protocol", "udp", ""),
                ("ports", None, "gone"),
            )
        )
    ),
    *rows(
        "service",
        {"mounts.readOnly": False, "mounts.source": other_volume, "mounts.target": "/changed"},
        config=FILES,
    ),
    Row(
        kind="service",
        keys=("mounts.type", "mounts.source"),
        change=several(given("mounts.type", "bind"), given("mounts.source", "/etc")),
        args={"config": FILES},
    ),
    Row(kind="service", keys=("networkMode", "networksAdvanced", "hostname"), to={"network": SHARED}),
    Row(
        kind="service",
        keys=("networkMode", "networksAdvanced", "hostname"),
        args={"network": SHARED},
        to={"network": BASE.network},
        note="gone",
    ),
    *rows(
        "seed",
        {
            "attach": False,
            "capabilities.adds": ["CAP_CHOWN"],
            "capabilities.drops": ["CAP_KILL"],
            "command": ["sh", "-ec", "true"],
            "cpus": "0.4",
            "init": False,
            "labels.label": "nexus.changed",
            "labels.value": "changed",
            "logOpts": {"max-file": "2", "max-size": "10m"},
            "logs": False,
            "memory": 32,
            "memorySwap": 80,
            "mounts.source": other_volume,
            "mounts.target": "/run/changed",
            "name": renamed,
            "networkMode": "bridge",
            "restart": "on-failure",
            "securityOpts": ["no-new-privileges:false"],
            "uploads.permissions": "0440",
        },
        config=FILES,
    ),
    Row(
        kind="seed",
        keys=("image",),
        change=several(given("image", other_image), given("entrypoints", ["/usr/bin/env"])),
        args={"config": FILES},
    ),
    Row(
        kind="seed",
        keys=("logDriver", "logOpts"),
        # This driver wants two files.
        change=several(given("logDriver", "local"), given("logOpts", {"max-file": "2", "max-size": "1m"})),
        args={"config": FILES},
    ),
    Row(kind="seed", keys=("uploads.content",), args={"config": FILES}, to={"config": {**FILES, "two.conf": "2"}}),
    Row(
        kind="seed",
        keys=("uploads.file",),
        args={"config": FILES},
        to={"config": {"b/one.conf": "one", "two.conf": "two"}},
    ),
    Row(
        kind="seed",
        keys=("uploads.owner", "uploads.group"),
        args={"config": FILES},
        to={"user": OTHER},
    ),
    Row(kind="seed", keys=("uploads.file",), args={"config": FILES}, to={"config": {"two.conf": "two"}}, note="gone"),
    Row(
        kind="seed",
        keys=("uploads.file",),
        args={"config": FILES, "secrets": {"key": "k", "gone": "g"}},
        to={"secrets": {"key": "k"}},
        note="secret-gone",
    ),
    *rows(
        "network",
        {
            "internal": True,
            "ipamConfigs.gateway": lambda _, old: str(ipaddress.IPv4Address(old) + 99),
            "labels.label": "nexus.changed",
            "labels.value": "changed",
            "name": renamed,
            "options": lambda _, old: {**old, "com.docker.network.bridge.enable_icc": "false"},
        },
    ),
    Row(
        kind="network",
        keys=("ipamConfigs.subnet", "ipamConfigs.gateway"),
        change=several(given("ipamConfigs.subnet", str(ELSEWHERE)), given("ipamConfigs.gateway", str(ELSEWHERE[1]))),
    ),
    *rows("volume", {"name": renamed}, config=FILES),
)

UNTRIED: Final[Mapping[tuple[str, str], str]] = {
    ("service", "gpus"): "takes an NVIDIA GPU",
    ("service", "healthcheck.startInterval"): "takes Docker 25",
    ("seed", "mounts.readOnly"): "the engine refuses an upload into what is read-only",
    ("seed", "mounts.type"): "the script removes what is not declared from a path of this host",
    ("seed", "mustRun"): "the provider would start an ended container again at each refresh",
    ("network", "driver"): "no other driver of this engine makes such a network",
    ("network", "ipv6"): "takes an engine and a kernel with IPv6",
}
"""Inputs that the product sets and the program does not change, and why."""


def failing() -> None:
    """What Pulumi runs to see a one-shot fail: the data tree on TREE, and a service that waits for it."""
    opts, store = _stands_on()
    host = _docker_host(store, Networks(BESIDE_POOL, opts, [ALL]), os.environ[TREE], opts)
    storage = host.storage
    tree = one_shot("data", host, mounts=[storage.data()], script=storage.prepared("1000:1000"), opts=opts)
    soon = HealthCheck(test=("CMD", "true"), interval=1)
    Service(BESIDE, replace(BASE, after=(tree,), health=soon), host, opts)


def _stands_on() -> tuple[pulumi.ResourceOptions, ImageStore]:
    """The provider, as options, and the images."""
    lock = os.environ.get(LOCK)
    opts = pulumi.ResourceOptions(providers=[docker.Provider("docker", host=os.environ["DOCKER_HOST"])])
    return opts, ImageStore(images.resolve(Path(lock) if lock else None, None), opts)


def _docker_host(store: ImageStore, networks: Networks, tree: str, opts: pulumi.ResourceOptions) -> DockerHost:
    """The engine of the tests, with its data tree at the path `tree`."""
    return DockerHost(
        engine=ORDINARY,
        images=store,
        networks=networks,
        storage=Storage(StorageSettings(data=PurePosixPath(tree)), opts),
        socket=Socket(path=PurePosixPath(reach.SOCKET), gid=0),
        timezone="Etc/UTC",
    )


def program() -> None:
    """What Pulumi runs to have each input changed."""
    is_changed = bool(os.environ.get(CHANGED))
    services = [row.service for row in ROWS if row.kind == "network"]
    own = {
        name: Network(name=name, slot=slot, internal=False, why="this test") for slot, name in enumerate(services, 2)
    }
    opts, store = _stands_on()

    def transformed(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        props = dict(vars(args.props)) if not isinstance(args.props, dict) else dict(args.props)
        if props.get("wait"):
            # A health check each second, of so many containers, takes longer than all else.
            props["wait"] = False
        row = by_resource.get(args.name)
        if is_changed and row is not None and row.change is not None:
            row.change(props, store)
        return pulumi.ResourceTransformationResult(props=props, opts=args.opts)

    by_resource = {row.resource: row for row in ROWS}
    opts.transformations = [transformed]
    host = _docker_host(store, Networks(POOL, opts, [ALL, SPARE, *own.values()]), "/nonexistent/tree", opts)
    docker.Volume("other", name=physical("other"), opts=opts)
    beside = Service(BESIDE, BASE, host, opts)
    keeps = VolumeMount(volume=docker.Volume("kept", name=physical("kept"), opts=opts), target="/kept")
    user = OTHER if is_changed else BASE.user
    keeper = changed(BASE, entrypoint=("sh", "-c", WRITES), mounts=(keeps,), user=user)
    Service(KEEPER, keeper, host, opts)
    for row in ROWS:
        different = {**row.args, **(row.to if is_changed else {})}
        if different.get("network") is SHARED:
            different["network"] = SharesNetworkOf(service=beside)
        if "secrets" in different:
            different["secrets"] = {key: pulumi.Output.secret(text) for key, text in different["secrets"].items()}
        if row.service in own:
            different["network"] = OwnNetworks(own[row.service])
        Service(row.service, changed(BASE, **different), host, opts)
