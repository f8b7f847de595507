"""Mutations: each hardening field of a container, for each shape of one, each row of the network table and each
protection is broken, one at a time, and at least one rule must object.

What is changed are the recorded inputs of the declared platform, which takes milliseconds where a run of the program
takes half a second; `test_a_mutation_is_what_the_source_would_make` shows that both are the same. A mutant that no
rule objects to is in SURVIVORS with the reason, or this fails; one that is there and is objected to fails as well.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pulumi_docker as docker
import pytest

from components.arguments import ServiceArgs
from components.networks import APPS, EXPORTERS, SCRAPE_JELLYFIN, OwnNetworks
from components.service import Service
from policies.config import configure, read
from policies.rules import RULES
from policies.rules.containers import is_init
from policies.rules.props import Value
from policies.rules.rule import Resource, Stack
from policies.validation import validate
from tests import matrix
from tests.components.stacks import CHOICES, build
from tests.policies.platform import declared, stack_of

STACK: Final = "dev"
CONFIG: Final = configure(read(), RULES, STACK)
BY_RESOURCE: Final = tuple(rule for rule in RULES if rule.validate is not None)
BY_STACK: Final = tuple(rule for rule in RULES if rule.validate_stack is not None)

Props = dict[str, Value]
Change = Callable[[Resource], Resource | None]
"""A mutation of one resource; None where the resource has nothing to break in this way."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One stack that differs from the declared one in one way. `changed` are the resources that do."""

    mutation: str
    resource: str
    stack: Stack
    changed: tuple[Resource, ...]

    def objections(self) -> set[str]:
        """The rules that refuse it. Those of a whole stack are asked last: they take longest."""
        alone = Stack(name=STACK, resources=self.changed)
        found = validate(alone, BY_RESOURCE, CONFIG).violations or validate(self.stack, BY_STACK, CONFIG).violations
        return {one.rule for one in found}


def setting(key: str, value: Value) -> Change:
    """An input set to a value; None takes it away. None of it where it is so already."""

    def change(one: Resource) -> Resource | None:
        props: Props = {name: known for name, known in one.props.items() if name != key}
        if value is not None:
            props[key] = value
        return None if props == one.props else dataclasses.replace(one, props=props)

    return change


def within(key: str, change: Callable[[Value], Value]) -> Change:
    """An input that is there, changed by a function on it."""

    def changed(one: Resource) -> Resource | None:
        if key not in one.props:
            return None
        value = change(one.props[key])
        return None if value == one.props[key] else dataclasses.replace(one, props={**one.props, key: value})

    return changed


def added(key: str, *items: Value) -> Change:
    """A list with more in it, also where it was not there."""

    def change(one: Resource) -> Resource | None:
        known = one.props.get(key) or []
        assert isinstance(known, list)
        return dataclasses.replace(one, props={**one.props, key: [*known, *items]})

    return change


def each(**values: Value) -> Callable[[Value], Value]:
    """Every object of a list with these members."""

    def change(items: Value) -> Value:
        assert isinstance(items, list)
        return [{**item, **values} if isinstance(item, dict) else item for item in items]

    return change


def merged(**values: Value) -> Callable[[Value], Value]:
    """An object with these members."""
    return lambda known: {**known, **values} if isinstance(known, dict) else known


def entries(**values: str) -> Change:
    """A way out of the tunnel's container with these entries in its environment, in place of its own."""

    def change(one: Resource) -> Resource | None:
        known = one.props.get("envs")
        if not isinstance(known, list) or not any(str(entry).startswith("VPN_SERVICE_PROVIDER=") for entry in known):
            return None
        kept = [entry for entry in known if str(entry).partition("=")[0] not in values]
        given = [f"{name}={value}" for name, value in values.items() if value]
        return dataclasses.replace(one, props={**one.props, "envs": [*kept, *given]})

    return change


def lines(name: str, text: str) -> Change:
    """A file of that name with other content."""

    def change(one: Resource) -> Resource | None:
        known = one.props.get("uploads")
        found = [
            {**item, "content": text} if isinstance(item, dict) and str(item.get("file")).endswith(name) else item
            for item in (known if isinstance(known, list) else [])
        ]
        return (
            None if not found or found == known else dataclasses.replace(one, props={**one.props, "uploads": found})
        )

    return change


def _writable(target: str) -> Callable[[Value], Value]:
    def change(mounts: Value) -> Value:
        assert isinstance(mounts, list)
        return [
            {**one, "readOnly": False} if isinstance(one, dict) and one.get("target") == target else one
            for one in mounts
        ]

    return change


UNLISTED: Final[Mapping[str, Value]] = {
    "runtime": "evil", "cgroupParent": "/", "dns": ["192.0.2.66"], "dnsSearches": ["example.org"],
    "hosts": [{"host": "api.themoviedb.org", "ip": "192.0.2.66"}], "storageOpts": {"size": "120G"}, "shmSize": 64,
    "workingDir": "/tmp", "domainname": "example.org", "stdinOpen": True, "tty": True, "rm": True, "cpuShares": 2,
    "maxRetryCount": 3, "whatComesNextYear": "x", "start": False, "removeVolumes": False,
}  # fmt: skip
"""Inputs that this program does not write; `known-inputs` alone knows that of them."""

ANY: Final[Mapping[str, Change]] = {
    "capabilities: not given": setting("capabilities", None),
    "capabilities: nothing dropped": within("capabilities", merged(drops=[])),
    "capabilities: one dropped": within("capabilities", merged(drops=["CAP_NET_RAW"])),
    "capabilities: SYS_ADMIN": within("capabilities", merged(adds=["CAP_SYS_ADMIN"])),
    "capabilities: ALL added": within("capabilities", merged(adds=["ALL"])),
    "security_opts: not given": setting("securityOpts", None),
    "security_opts: off": setting("securityOpts", ["no-new-privileges:false"]),
    "security_opts: seccomp unconfined": added("securityOpts", "seccomp=unconfined"),
    "security_opts: AppArmor unconfined": added("securityOpts", "apparmor=unconfined"),
    "privileged": setting("privileged", True),
    "pid_mode: host": setting("pidMode", "host"),
    "ipc_mode: host": setting("ipcMode", "host"),
    "userns_mode: host": setting("usernsMode", "host"),
    "network_mode: host": setting("networkMode", "host"),
    "network_mode: default bridge": setting("networkMode", "bridge"),
    "devices: a disk": added("devices", {"hostPath": "/dev/sda", "containerPath": "/dev/sda", "permissions": "rwm"}),
    "mounts: the host": added("mounts", {"type": "bind", "source": "/", "target": "/host", "readOnly": True}),
    "mounts: the engine's socket": added(
        "mounts", {"type": "bind", "source": "/var/run/docker.sock", "target": "/s", "readOnly": True}
    ),
    "ports: one more": added("ports", {"ip": "127.0.0.1", "internal": 1, "external": 8000, "protocol": "tcp"}),
    "publish_all_ports": setting("publishAllPorts", True),
    "memory: not given": setting("memory", None),
    "memory: none": setting("memory", 0),
    "memory_swap: not given": setting("memorySwap", None),
    "memory_swap: no end": setting("memorySwap", -1),
    "cpus: not given": setting("cpus", None),
    "cpus: none": setting("cpus", "0"),
    "log_driver: not given": setting("logDriver", None),
    "log_driver: none": setting("logDriver", "none"),
    "log_opts: not given": setting("logOpts", None),
    "log_opts: no size": within("logOpts", lambda _: {"max-file": "3"}),
    "log_opts: no number": within("logOpts", lambda _: {"max-size": "10m"}),
    "image: by tag": setting("image", "docker.io/library/busybox:1.37"),
    "image: latest": setting("image", "docker.io/library/busybox:latest"),
    "name: another": setting("name", "another"),
    "labels: not given": setting("labels", None),
    **{f"{key}: given": setting(key, value) for key, value in UNLISTED.items()},
}
SERVICE: Final[Mapping[str, Change]] = {
    **ANY,
    "user: not given": setting("user", None),
    "user: root": setting("user", "root"),
    "user: 0": setting("user", "0:0"),
    "read_only: off": setting("readOnly", False),
    "read_only: not given": setting("readOnly", None),
    "ulimits: not given": setting("ulimits", None),
    "ulimits: no end": setting("ulimits", [{"name": "nproc", "soft": -1, "hard": -1}]),
    "restart: not given": setting("restart", None),
    "restart: no": setting("restart", "no"),
    "restart: on-failure": setting("restart", "on-failure"),
    "healthcheck: not given": setting("healthcheck", None),
    "healthcheck: NONE": within("healthcheck", merged(tests=["NONE"])),
    "healthcheck: empty": within("healthcheck", merged(tests=[])),
    "init: off": setting("init", False),
    "wait: off": setting("wait", False),
    "must_run: off": setting("mustRun", False),
    "stop_timeout: not given": setting("stopTimeout", None),
    "destroy_grace_seconds: not given": setting("destroyGraceSeconds", None),
    "tmpfs: not given": within("tmpfs", lambda _: {}),
    "tmpfs: no size": within(
        "tmpfs", lambda known: dict.fromkeys(known, "mode=1777") if isinstance(known, dict) else known
    ),
    "mounts: configuration writable": within("mounts", _writable("/run/config")),
    "mounts: secrets writable": within("mounts", _writable("/run/secrets")),
    "hostname: not given": setting("hostname", None),
    "hostname: another": within("hostname", lambda _: "another"),
    "ports: every address": within("ports", each(ip="")),
    "ports: another number": within("ports", each(external=8443)),
    "sysctls: forwarding": setting("sysctls", {"net.ipv4.ip_forward": "1", "kernel.core_pattern": "|/x"}),
    "group_adds: root's": added("groupAdds", "0"),
    "vpn: no firewall": entries(FIREWALL_ENABLED_DISABLING_IT_SHOOTS_YOU_IN_YOUR_FOOT="off"),
    "vpn: past the tunnel": entries(FIREWALL_OUTBOUND_SUBNETS="0.0.0.0/1,128.0.0.0/1"),
    "vpn: another port": entries(FIREWALL_INPUT_PORTS="8080,8000"),
    "vpn: another interface": entries(VPN_INTERFACE="eth0"),
    "vpn: some addresses": entries(WIREGUARD_ALLOWED_IPS="10.0.0.0/8"),
    "vpn: the host's resolver": entries(DNS_KEEP_NAMESERVER="on"),
    "vpn: a resolver nearby": entries(DNS_ADDRESS="192.168.1.1"),
    "vpn: a proxy": entries(HTTPPROXY="on"),
    "vpn: another proxy": entries(SHADOWSOCKS="on"),
    "vpn: an open control server": entries(HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE='{"auth":"none"}'),
    "vpn: no role": entries(HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE_SECRETFILE=""),
    "networks: none named": within("networksAdvanced", lambda _: []),
}
SEED: Final[Mapping[str, Change]] = {
    **ANY,
    "network_mode: not given": setting("networkMode", None),
    "restart: always": setting("restart", "always"),
    "must_run: on": setting("mustRun", True),
    "vpn: a line for the firewall": lines("post-rules.txt", "iptables -I OUTPUT 1 -j ACCEPT"),
    "vpn: a role without a key": lines("control_role", '{"auth": "none"}'),
    "uploads: readable by all": within("uploads", each(permissions="0444")),
    "init: off": setting("init", False),
}
IMAGE: Final[Mapping[str, Change]] = {
    "image: no digest": within("name", lambda name: str(name).partition("@")[0]),
    "image: latest": within("name", lambda name: f"{str(name).partition('@')[0].rpartition(':')[0]}:latest"),
    "image: another registry": within("name", lambda name: f"registry.invalid/{str(name).partition('/')[2]}"),
    "keep_locally: off": setting("keepLocally", False),
}
NETWORK: Final[Mapping[str, Change]] = {
    "internal: flipped": within("internal", lambda internal: not internal),
    "driver: host": setting("driver", "host"),
    "driver: macvlan": setting("driver", "macvlan"),
    "ipv6: on": setting("ipv6", True),
    "attachable": setting("attachable", True),
    "ipam: left to the engine": setting("ipamConfigs", None),
    "options: not given": within("options", lambda _: None),
}


def _unprotected(one: Resource) -> Resource | None:
    return dataclasses.replace(one, protect=False) if one.protect else None


VOLUME: Final[Mapping[str, Change]] = {
    "protect: off": _unprotected,
    "driver: of the network": setting("driverOpts", {"type": "nfs", "o": "addr=192.0.2.1", "device": ":/x"}),
}


def _table(one: Resource) -> Mapping[str, Change]:
    match one.kind if one.type.startswith("docker:") else "":
        case "Container":
            return SEED if is_init(one.props) else SERVICE
        case "RemoteImage":
            return IMAGE
        case "Network":
            return NETWORK
        case "Volume":
            return VOLUME
    return {}


SHAPES: Final = (
    *("sonarr-container", "vpn-container", "guard-socket-proxy-container", "traefik-container", "vpn-seed"),
    "image-sonarr",
)
"""One constructor makes every container: a plain one, one with privileges, one with a path of the host, one with
ports, and an init container stand for the others."""


def fields(stack: Stack) -> Iterator[Mutant]:
    """Each resource, broken in each way of its kind."""
    for place, one in enumerate(stack.resources):
        if one.kind in ("Container", "RemoteImage") and one.name not in SHAPES:
            continue
        for mutation, change in _table(one).items():
            if (broken := change(one)) is not None:
                whole = (*stack.resources[:place], broken, *stack.resources[place + 1 :])
                yield Mutant(
                    mutation=mutation,
                    resource=one.name,
                    stack=dataclasses.replace(stack, resources=whole),
                    changed=(broken,),
                )


def rows(stack: Stack) -> Iterator[Mutant]:
    """Each row of the table without each of its members, with each service that is none, and not there at all."""
    names = {row.name: f"nexus-test-{row.name}" for row in matrix.TABLE}
    there = {one.name.removesuffix("-container"): one for one in stack.of("Container") if not is_init(one.props)}
    for row in matrix.TABLE:
        for name, one in there.items():
            without = _off(one, names[row.name])
            if name in row.members:
                yield _replaced(stack, f"{row.name}: a member removed", name, without)
            else:
                added_to = added("networksAdvanced", {"name": names[row.name], "aliases": [name]})(one)
                assert added_to is not None
                yield _replaced(stack, f"{row.name}: a member added", name, added_to)
        left = tuple(_off(one, names[row.name]) for one in stack.resources if one.name != f"network-{row.name}")
        yield Mutant(
            mutation="a row removed",
            resource=f"network-{row.name}",
            stack=dataclasses.replace(stack, resources=left),
            changed=tuple(one for one in left if one not in stack.resources),
        )


def _off(one: Resource, network: str) -> Resource:
    """A resource that is not on that network."""
    attached = one.props.get("networksAdvanced")
    if not isinstance(attached, list):
        return one
    left = [item for item in attached if not (isinstance(item, dict) and item.get("name") == network)]
    return one if left == attached else dataclasses.replace(one, props={**one.props, "networksAdvanced": left})


def _replaced(stack: Stack, mutation: str, name: str, broken: Resource) -> Mutant:
    whole = tuple(broken if one.name == broken.name else one for one in stack.resources)
    return Mutant(
        mutation=mutation, resource=name, stack=dataclasses.replace(stack, resources=whole), changed=(broken,)
    )


EVERY: Final = "*"
SURVIVORS: Final[Mapping[tuple[str, str], str]] = {
    ("name: another", "vpn-seed"): "a name of what ends protects nothing",
    ("labels: not given", EVERY): "labels are for finding containers; no rule trusts one",
    ("hostname: not given", EVERY): "an app's own name for itself",
    ("user: not given", "vpn-container"): "is root anyway, by a named exemption",
    ("user: root", "vpn-container"): "is root anyway, by a named exemption",
    ("read_only: not given", "vpn-container"): "has a writable root anyway, by a named exemption",
    **{
        ("network_mode: default bridge", f"{name}-container"): "the provider takes it off again: it has its networks"
        for name in ("sonarr", "vpn", "guard-socket-proxy", "traefik")
    },
    ("keep_locally: off", EVERY): "whether an image stays on the host after `destroy`",
    ("tmpfs: not given", EVERY): "less room to write: the app fails, and its health check says so",
    ("ports: another number", "traefik-container"): "a stack of development may publish any port from 1024 on",
    **{("a row removed", f"network-{row.name}"): "nobody is on it yet" for row in matrix.TABLE if not row.members},
    ("options: not given", "network-edge"): "they say what the engine does anyway",
    ("options: not given", "network-tunnel"): "they say what the engine does anyway",
    ("mounts: the engine's socket", "guard-socket-proxy-container"): "has it anyway, by a named exemption",
    ("group_adds: root's", "guard-socket-proxy-container"): "the socket may be group 0's, by a named exemption",
}


def _explained(mutant: Mutant) -> tuple[str, str] | None:
    keys = ((mutant.mutation, mutant.resource), (mutant.mutation, EVERY))
    return next((key for key in keys if key in SURVIVORS), None)


def test_the_platform_itself_is_refused_by_nothing() -> None:
    stack = declared("dev", name=STACK)
    assert [one.message for one in validate(stack, RULES, CONFIG).violations] == []


def test_every_mutant_is_refused_or_explained(capsys: pytest.CaptureFixture[str]) -> None:
    stack = declared("dev", name=STACK)
    mutants = [*fields(stack), *rows(stack)]
    survived = [mutant for mutant in mutants if not mutant.objections()]
    with capsys.disabled():
        print(f"\nmutants {len(mutants)}, killed {len(mutants) - len(survived)}, survived {len(survived)}:")
        for key, reason in SURVIVORS.items():
            count = sum(_explained(mutant) == key for mutant in survived)
            print(f"  {count} of {key[0]} ({key[1]}): {reason}")
    unexplained: dict[str, list[str]] = {}
    for mutant in survived:
        if not _explained(mutant):
            unexplained.setdefault(mutant.mutation, []).append(mutant.resource)
    lines = "\n".join(f"{mutation}: {', '.join(names)}" for mutation, names in unexplained.items())
    assert not unexplained, f"no rule objects to\n{lines}"
    explained = {(mutant.mutation, mutant.resource) for mutant in survived}
    killed = [
        (mutant.mutation, mutant.resource)
        for mutant in mutants
        if _explained(mutant) and (mutant.mutation, mutant.resource) not in explained
    ]
    assert not killed, f"explained as survivors, but a rule objects; take them out of SURVIVORS: {killed}"
    unused = [key for key in SURVIVORS if key not in {_explained(mutant) for mutant in survived}]
    assert not unused, f"explained as survivors, but no mutant is one: {unused}"


SOURCES: Final[Mapping[str, Mapping[str, object]]] = {
    "read_only: off": {"read_only": False},
    "user: root": {"user": "root"},
}


@pytest.mark.parametrize("mutation", SOURCES)
def test_a_mutation_is_what_the_source_would_make(mutation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program itself with another argument to docker.Container registers what the mutation makes of a record."""
    whole: Callable[..., docker.Container] = docker.Container

    def other(resource_name: str, **arguments: object) -> docker.Container:
        changed = SOURCES[mutation] if resource_name == "sonarr-container" else {}
        return whole(resource_name, **{**arguments, **changed})

    monkeypatch.setattr(docker, "Container", other)
    at_source = stack_of(build(CHOICES["dev"]), STACK)
    (mutant,) = [
        one
        for one in fields(declared("dev", name=STACK))
        if (one.mutation, one.resource) == (mutation, "sonarr-container")
    ]
    _same(at_source, mutant.stack)


@pytest.mark.parametrize(
    ("mutation", "name", "network"),
    [
        ("apps: a member added", "node-exporter", OwnNetworks(APPS, EXPORTERS)),
        ("egress: a member removed", "jellyfin", OwnNetworks(APPS, SCRAPE_JELLYFIN)),
    ],
)
def test_a_mutated_row_is_what_the_services_would_make(
    mutation: str, name: str, network: OwnNetworks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program itself with one service on other networks registers what the mutation makes of a record."""
    stack = declared("dev", name=STACK)
    (mutant,) = [one for one in (*fields(stack), *rows(stack)) if (one.mutation, one.resource) == (mutation, name)]
    whole = Service.__init__

    def other(self: Service, called: str, args: ServiceArgs, *rest: Any) -> None:  # noqa: ANN401 - handed on
        whole(self, called, dataclasses.replace(args, network=network) if called == name else args, *rest)

    monkeypatch.setattr(Service, "__init__", other)
    _same(stack_of(build(CHOICES["dev"]), STACK), mutant.stack)


def _same(one: Stack, other: Stack) -> None:
    """Order is no difference: not that of resources, nor that of a container's networks."""

    def facts(stack: Stack) -> dict[str, Props]:
        return {known.name: {**known.props, "networksAdvanced": _sorted(known.props)} for known in stack.resources}

    assert facts(one) == facts(other)


def _sorted(props: Props) -> list[Value]:
    attached = props.get("networksAdvanced") or []
    assert isinstance(attached, list)
    return sorted(attached, key=lambda one: str(one.get("name")) if isinstance(one, dict) else "")
