"""Family `container`: a container has what it needs and no more, takes a bounded share of the host, says when it is
unhealthy, and is stopped gently.

Each rule is a few checks, one property each, for two shapes: a service, which runs for as long as the stack is up,
and an init container, which has no network, fills a service's volumes and ends. A value that only an update will know
is checked by `up`. What no check is about is not on the list of inputs (family `closed`). The provider has no pids
limit (docs/adr/0006-process-limit.md): RLIMIT_NPROC is asked for in its place. Not seen from here: an image's own
user, and whether a limit or a health check suits the app.
"""

import math
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from pulumi_policy import Severity

from policies.rules.containers import is_init, items, number, overlaps, table, text_of, texts
from policies.rules.data import FILLED
from policies.rules.props import UNKNOWN, Path, Value
from policies.rules.rule import Config, Finding, Resource, container_rule, fits, texts_setting

Good = Callable[[Value], bool]
"""Whether a property's value is good; None is one that is absent."""


def _unless(resource: Resource, place: str, good: Good, problem: str, advice: str = "") -> Iterator[Finding]:
    """A finding for each property at `place` whose value is not good: written with dots, where `*` is each member."""
    for path, value in _places(resource.props, (), place.split(".")):
        members = value.values() if isinstance(value, dict) else items(value)
        if UNKNOWN not in members and not good(value):  # in part is as good as whole, for what it has in all
            yield Finding(path, problem, advice, value=_capability(value))


def _places(value: Value, path: Path, parts: Sequence[str]) -> Iterator[tuple[Path, Value]]:
    if value is UNKNOWN:
        return
    if not parts:
        yield path, value
    elif parts[0] == "*":
        for key, member in value.items() if isinstance(value, dict) else enumerate(items(value)):
            yield from _places(member, (*path, key), parts[1:])
    else:
        yield from _places(table(value).get(parts[0]), (*path, parts[0]), parts[1:])


def _on(value: Value) -> bool:
    return value is True


def _matches(pattern: str) -> Good:
    return lambda value: re.fullmatch(pattern, text_of(value)) is not None


def _up_to(most: Value) -> Good:
    return lambda value: 0 < (number(value) or 0) <= (number(most) or 0)


def _among(*good: Value) -> Good:
    return lambda value: value in good


@container_rule("no-privileged-container", Severity.CRITICAL, "CIS 5.5, OWASP 3")
def _privileged(resource: Resource, _config: Config) -> Iterator[Finding]:
    """No container is privileged: it would be root on the host with one more command.

    Take it out, and add the one capability or device that is needed.
    """
    problem = "is on: the container has every capability and every device of the host"
    yield from _unless(resource, "privileged", lambda value: value is None or value is False, problem)


def _capability(value: Value) -> str:
    return text_of(value).removeprefix("CAP_")


@container_rule(
    "no-added-capability",
    Severity.HIGH,
    "CIS 5.4, OWASP 3",
    settings={
        "init-container": texts_setting(
            "Capabilities that an init container may add: it has no network, and ends.",
            ["CHOWN", "DAC_OVERRIDE", "FOWNER"],
        )
    },
)
def _capabilities(resource: Resource, config: Config) -> Iterator[Finding]:
    """Every container drops ALL capabilities and adds none back that no exemption names.

    Drop ALL and add back what is needed: drops ["ALL"].
    """
    yield from _unless(
        resource, "capabilities.drops", lambda value: "ALL" in items(value), "does not drop ALL capabilities"
    )
    place, allowed = "capabilities.adds.*", texts(config.get("init-container"))
    if is_init(resource.props):
        problem = "adds a capability that an init container does not need"
        advice = "Do without it, or add it to `init-container` in this rule's settings"
        yield from _unless(resource, place, lambda value: _capability(value) in allowed, problem, advice)
    else:
        advice = "Do without it, or make it an exemption in policies/config.yaml"
        yield from _unless(resource, place, lambda _: False, "adds a capability of the host's root", advice)


@container_rule("no-new-privileges", Severity.CRITICAL, "CIS 5.2, CIS 5.3, CIS 5.22, CIS 5.26, OWASP 4, OWASP 6")
def _new_privileges(resource: Resource, _config: Config) -> Iterator[Finding]:
    """No process of a container gains privileges by a setuid file, and the engine's seccomp, AppArmor and SELinux
    profiles are in force: `no-new-privileges:true` is the one security option.

    Give no-new-privileges:true, and no other option.
    """
    problem = "is not no-new-privileges:true alone: a process may gain privileges or is less confined"
    yield from _unless(resource, "securityOpts", lambda value: value == ["no-new-privileges:true"], problem)


@container_rule("read-only-root", Severity.HIGH, "CIS 5.13, OWASP 8")
def _root(resource: Resource, _config: Config) -> Iterator[Finding]:
    """A service's root file system is read-only, so that an intruder cannot persist there.

    Set it, and give a volume or a sized tmpfs for what has to be written.
    """
    if not is_init(resource.props):
        yield from _unless(resource, "readOnly", _on, "is not on: the container can change its own programs")


@container_rule("no-root-user", Severity.HIGH, "CIS 4.1, OWASP 2")
def _user(resource: Resource, _config: Config) -> Iterator[Finding]:
    """A service's processes have a numeric user that is not 0, and no container joins root's group: names mean what
    the image says.

    Give a numeric user that is not 0, and a numeric group, such as 1000:1000; in groupAdds the numeric group that
    owns the device or file on the host.
    """
    if not is_init(resource.props):
        problem = "is root, or not the numbers of a user and a group"
        yield from _unless(resource, "user", _matches(r"[1-9]\d*:\d+"), problem)
    yield from _unless(resource, "groupAdds.*", _matches(r"[1-9]\d*"), "is root's group, or no number")


@container_rule("no-host-network", Severity.CRITICAL, "CIS 5.10, OWASP 5")
def _host_network(resource: Resource, _config: Config) -> Iterator[Finding]:
    """No container has the host's own network: it would reach and bind whatever the host can.

    Give it its own network and let the others reach it there.
    """
    if text_of(resource.props.get("networkMode")).strip().casefold() == "host":
        yield Finding(("networkMode",), "is the host's own network")


@container_rule(
    "no-host-device",
    Severity.HIGH,
    "CIS 5.18",
    settings={
        "allowed": texts_setting(
            "Devices that a container may have, as shell patterns.",
            ["/dev/net/tun", "/dev/dri/renderD[0-9]*", "/dev/dri/card[0-9]*", "/dev/dri/by-path/*", "/dev/kfd"],
        )
    },
)
def _devices(resource: Resource, config: Config) -> Iterator[Finding]:
    """No container gets a device of the host but a GPU's render node and the tunnel.

    Take it out, or add it to `allowed` in this rule's settings.
    """

    def good(value: Value) -> bool:
        path = text_of(table(value).get("hostPath"))
        return ".." not in path and path == table(value).get("containerPath") and fits(path, config.get("allowed"))

    problem = "is not on the list of devices, or has another name in the container"
    yield from _unless(resource, "devices.*", good, problem)
    if resource.props.get("gpus") is not None:
        advice = "Write all, a number, or device= and the GPUs"
        yield from _unless(resource, "gpus", _matches(r"all|\d+|device=[\w,-]+"), "asks for more than GPUs", advice)


_GIVEN: Final = ("/run/config", "/run/secrets")
"""Where a service finds its files, which its init container writes to the volumes of data.FILLED."""


@container_rule("private-files", Severity.HIGH, "OWASP 8, OWASP 12")
def _files(resource: Resource, _config: Config) -> Iterator[Finding]:
    """A file for a service is for its own user to read, and the service cannot change it.

    Give 0400, with the app's user as owner, and mount it read-only; its init container alone writes there.
    """
    problem = "lets others than the app's own user read the file; without it the provider gives 0644"
    advice = "Give 0400, with the app's user as owner"
    yield from _unless(resource, "uploads.*.permissions", _matches("0[4-7]00"), problem, advice)
    for index, mount in enumerate(map(table, items(resource.props.get("mounts")))):
        target = text_of(mount.get("target"))
        real = posixpath.normpath("/" + target.lstrip("/")).replace("/var/run", "/run", 1)  # that is a link
        given = bool(target) and any(overlaps(real, one) for one in _GIVEN)
        given = given or text_of(mount.get("source")).endswith(FILLED)
        if given and mount.get("readOnly") not in (True, UNKNOWN) and not is_init(resource.props):
            problem = "lets the app change the configuration or the secrets that it was given"
            advice = "Mount it read-only; its init container alone writes there"
            yield Finding(("mounts", index, "readOnly"), problem, advice)


def _bytes(text: Value) -> float:
    found = re.fullmatch(r"(\d+)([kmg]?)", text_of(text).casefold())
    return float(found[1]) * 1024 ** " kmg".index(found[2] or " ") if found else 0


_MOST_TMPFS: Final = 16 * 1024**3
_MOST_LOGS: Final = 1024**3
_MOST_PROCESSES: Final = 8192
_SLOWEST: Final = 900.0
"""Seconds that an interval, a timeout or a start period of a health check may take."""
_LEAST_GRACE: Final = 10
"""Seconds between SIGTERM and SIGKILL."""
INITS: Final = ("/init", "/usr/bin/catatonit")
"""Entry points that are an init themselves."""


def _sized(value: Value) -> bool:
    sizes = re.findall(r"(?:^|,)size=([^,]*)", text_of(value))
    return len(sizes) == 1 and 0 < _bytes(sizes[0]) <= _MOST_TMPFS


@container_rule("memory-limit", Severity.HIGH, "CIS 5.11, OWASP 7")
def _memory(resource: Resource, _config: Config) -> Iterator[Finding]:
    """Every container has a memory limit, no swap beyond it, and a size for each tmpfs, of 16 GiB at most.

    Give memory, in megabytes, the same as memorySwap, and each tmpfs one size, such as size=64m.
    """
    memory, limited = resource.props.get("memory"), _up_to(math.inf)
    yield from _unless(resource, "memory", limited, "is no limit: one app can take all of the host's memory")
    if limited(memory):
        problem = "is not the memory limit: the engine gives as much swap again, or no end of it"
        yield from _unless(resource, "memorySwap", lambda value: number(value) == number(memory), problem)
    problem = "has no size, or one without end: it may take half of the host's memory"
    yield from _unless(resource, "tmpfs.*", _sized, problem)


def _processes(value: Value) -> bool:
    found = [one.get("hard") for one in map(table, items(value)) if text_of(one.get("name")).casefold() == "nproc"]
    return len(found) == 1 and (found[0] is UNKNOWN or _up_to(_MOST_PROCESSES)(found[0]))


@container_rule("cpu-and-process-limit", Severity.MEDIUM, "CIS 5.12, CIS 5.29, OWASP 7")
def _share(resource: Resource, _config: Config) -> Iterator[Finding]:
    """Every container has a limit of processors, and every service one of processes: nproc, of 8192 at most.

    Give cpus, such as "1.0", and among ulimits nproc once, hard and soft.
    """
    yield from _unless(resource, "cpus", _up_to(math.inf), "is no limit: one app can take every processor")
    if not is_init(resource.props):
        problem = "has no limit of processes (nproc), or one without end"
        yield from _unless(resource, "ulimits", _processes, problem)


def _rotated(value: Value) -> bool:
    whole = _bytes(table(value).get("max-size")) * (number(table(value).get("max-file")) or 0)
    return 0 < whole <= _MOST_LOGS


@container_rule("log-rotation", Severity.MEDIUM, "CIS 2.13")
def _logs(resource: Resource, _config: Config) -> Iterator[Finding]:
    """A container's log is kept and rotated, at 1 GiB in all at most: it neither fills the disk nor is lost.

    Give json-file, with max-size and max-file, such as 10m and 3.
    """
    problem = "is not a log driver that keeps logs and rotates them"
    yield from _unless(resource, "logDriver", _among("json-file", "local"), problem)
    yield from _unless(resource, "logOpts", _rotated, "lets a log grow until the disk is full")


# Ends well whatever the app does: the last command of a script, or the one program of a check.
_IDLE: Final = re.compile(
    r"(?:.*(?:\|\||;|\n|&)\s*)?(?:true|:|exit(?:\s+0)?|return\s+0|(?:echo|printf|sleep)\b[^|&;]*)[\s;)]*", re.DOTALL
)


def _can_fail(value: Value) -> bool:
    words = [text_of(one) for one in items(value)]
    if len(words) < 2 or words[0] not in ("CMD", "CMD-SHELL"):
        return False
    shell = words[0] == "CMD-SHELL" or re.fullmatch(r"(?:.*/)?(?:ba|da|a)?sh", words[1])
    script = words[1] if words[0] == "CMD-SHELL" else words[-1] if shell else words[1].rpartition("/")[2]
    script = re.sub(r"(?:^|(?<=\s))#.*", "", script).strip()
    return not _IDLE.fullmatch(script) and script not in ("cat", "ls", "env")


_UNITS: Final = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def _seconds(text: str) -> float:
    """The seconds of a duration such as 1m30s; 0 where it is none."""
    if not re.fullmatch(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+", text):
        return 0
    return math.fsum(float(amount) * _UNITS[unit] for amount, unit in re.findall(r"([\d.]+)(ms|s|m|h)", text))


def _bounded(value: Value) -> bool:
    return 0 < _seconds(text_of(value)) <= _SLOWEST


@container_rule("health-check", Severity.MEDIUM, "CIS 4.6, CIS 5.27")
def _health(resource: Resource, _config: Config) -> Iterator[Finding]:
    """A service has a health check that can fail, in 15 minutes at most, `up` waits until it is healthy, and it comes
    back after it ended and after the host was started anew.

    Give CMD or CMD-SHELL and what asks the app itself, and let the answer count; times as 30s or 1m30s; retries, such
    as 3; wait and mustRun; and restart unless-stopped.
    """
    if is_init(resource.props):
        return
    problem = "is no health check that can fail: nobody learns that the app is unhealthy"
    advice = "Give CMD or CMD-SHELL and what asks the app itself, and let the answer count"
    yield from _unless(resource, "healthcheck.tests", _can_fail, problem, advice)
    for key in ("interval", "timeout", "startPeriod"):
        problem, place = "is not given, or longer than anybody waits", f"healthcheck.{key}"
        yield from _unless(resource, place, _bounded, problem, "Write it as 30s or 1m30s")
    problem = "is not given, or never ends"
    yield from _unless(resource, "healthcheck.retries", _up_to(100), problem, "Give it, such as 3")
    for key in ("wait", "mustRun"):
        problem = "is not on: `up` ends well although the app never became healthy"
        yield from _unless(resource, key, _on, problem, "Set it")
    problem = "does not bring the app back after it ended or the host was started anew"
    yield from _unless(resource, "restart", _among("unless-stopped", "always"), problem, "Give unless-stopped")


@container_rule("clean-stop", Severity.HIGH)
def _stop(resource: Resource, _config: Config) -> Iterator[Finding]:
    """A service has time to end, 10 seconds at least, and every container an init that hands on signals and reaps
    zombies.

    Give stopTimeout and destroyGraceSeconds the seconds that the app needs, and set init.
    """
    for key in ("stopTimeout", "destroyGraceSeconds") if not is_init(resource.props) else ():
        problem = "gives the app no time to write what it has in memory, which breaks SQLite"
        advice = "Give the seconds that it needs; the provider's default is none"
        yield from _unless(resource, key, lambda value: (number(value) or 0) >= _LEAST_GRACE, problem, advice)
    entry = resource.props.get("entrypoints")
    first = items(entry)[:1]
    if UNKNOWN not in (entry, *first) and not any(one in INITS for one in first):
        problem = "is not on: ended processes stay in the process table, and signals may not arrive"
        advice = "Set it, or start with an init of the image's own, one of INITS in policies/rules/container.py"
        yield from _unless(resource, "init", _on, problem, advice)


RULES: Final = (
    *(_privileged, _capabilities, _new_privileges, _root, _user, _host_network, _devices),
    *(_files, _memory, _share, _logs, _health, _stop),
)
