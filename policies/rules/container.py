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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from pulumi_policy import Severity

from policies.rules.configuration import texts
from policies.rules.containers import is_init, items, number, table, text_of
from policies.rules.props import UNKNOWN, Path, Value
from policies.rules.rule import Config, Finding, Resource, ResourceValidation, Rule, texts_setting

Props = Mapping[str, Value]
Predicate = Callable[[Value, Props, Config], bool]

SERVICE: Final = frozenset({"service"})
INIT: Final = frozenset({"init container"})
BOTH: Final = SERVICE | INIT


@dataclass(frozen=True)
class Check:
    """One property of a container, written with dots: `ok` says whether its value is good, also where it is absent.

    With `each`, `ok` is asked for each member of the list or object there; `at` is the part of the member that a
    finding names. `value` is what an exemption may be narrowed to.
    """

    property: str
    ok: Predicate
    problem: str
    advice: str
    shapes: frozenset[str] = BOTH
    each: bool = False
    at: str = ""
    value: Callable[[Value], str] = lambda _: ""


def _places(check: Check, props: Props) -> Iterator[tuple[Path, Value]]:
    path: Path = tuple(check.property.split("."))
    value: Value = dict(props)
    for key in path:
        if value is UNKNOWN:
            return
        value = table(value).get(str(key))
    if not check.each:
        yield path, value
    elif isinstance(value, dict):
        yield from (((*path, key), member) for key, member in value.items())
    else:
        yield from (((*path, index), member) for index, member in enumerate(items(value)))


def _all_of(*checks: Check) -> ResourceValidation:
    """A check of containers by these checks."""

    def validate(resource: Resource, config: Config) -> Iterator[Finding]:
        if resource.kind != "Container":
            return
        shape = INIT if is_init(resource.props) else SERVICE
        for check in checks:
            if not shape <= check.shapes:
                continue
            for path, value in _places(check, resource.props):
                if not _unsure(value) and not check.ok(value, resource.props, config):
                    where = (*path, check.at) if check.at else path
                    yield Finding(path=where, problem=check.problem, advice=check.advice, value=check.value(value))

    return validate


def _unsure(value: Value) -> bool:
    """Whether an update has to say what it is: in part is as good as whole, for what a list has in all."""
    return value is UNKNOWN or (isinstance(value, list) and UNKNOWN in value)


def _capability(value: Value) -> str:
    return text_of(value).removeprefix("CAP_")


def _is(*wanted: Value) -> Predicate:
    return lambda value, _props, _config: any(value == one and type(value) is type(one) for one in wanted)


def _matches(pattern: str) -> Predicate:
    return lambda value, _props, _config: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _listed(setting: str) -> Predicate:
    return lambda value, _props, config: value in texts(config.get(setting))


def _between(least: float, most: str | float) -> Predicate:
    """A number that is more than `least` and at most `most`, which may be a setting's name."""

    def ok(value: Value, _props: Props, config: Config) -> bool:
        limit = number(config.get(most)) or 0 if isinstance(most, str) else most
        return least < (number(value) or 0) <= limit

    return ok


def _swap(value: Value, props: Props, _config: Config) -> bool:
    """The same as the memory limit. Where that is none, it is that which is said."""
    memory = props.get("memory")
    return memory is UNKNOWN or (number(memory) or 0) <= 0 or number(value) == number(memory)


def _bytes(text: str) -> float:
    found = re.fullmatch(r"(\d+)([kmg]?)", text.casefold())
    return float(found[1]) * 1024 ** " kmg".index(found[2] or " ") if found else 0


def _tmpfs(value: Value, _props: Props, config: Config) -> bool:
    sizes = re.findall(r"(?:^|,)size=([^,]*)", text_of(value))
    return len(sizes) == 1 and 0 < _bytes(sizes[0]) <= (number(config.get("most-tmpfs")) or 0) * 1024**2


def _processes(value: Value, _props: Props, config: Config) -> bool:
    found = [one.get("hard") for one in map(table, items(value)) if text_of(one.get("name")).casefold() == "nproc"]
    most = number(config.get("most-processes")) or 0
    return len(found) == 1 and (found[0] is UNKNOWN or 0 < (number(found[0]) or 0) <= most)


def _rotated(value: Value, _props: Props, config: Config) -> bool:
    given = table(value)
    if UNKNOWN in given.values():
        return True
    files = number(given.get("max-file")) or 0
    whole = _bytes(text_of(given.get("max-size"))) * files
    return 0 < whole <= (number(config.get("most")) or 0) * 1024**2


def _device(value: Value, _props: Props, config: Config) -> bool:
    given = table(value)
    path = given.get("hostPath")
    if UNKNOWN in (path, given.get("containerPath")):
        return True
    plain = isinstance(path, str) and ".." not in path and path == given.get("containerPath")
    return plain and any(fnmatchcase(str(path), pattern) for pattern in texts(config.get("allowed")))


# Ends well whatever the app does: the last command of a script, or the one program of a check.
_IDLE: Final = re.compile(
    r"(?:.*(?:\|\||;|\n|&)\s*)?(?:true|:|exit(?:\s+0)?|return\s+0|(?:echo|printf|sleep)\b[^|&;]*)[\s;)]*", re.DOTALL
)


def _can_fail(value: Value, _props: Props, _config: Config) -> bool:
    words = [text_of(one) for one in items(value)]
    if len(words) < 2 or words[0] not in ("CMD", "CMD-SHELL"):
        return False
    shell = words[0] == "CMD-SHELL" or re.fullmatch(r"(?:.*/)?(?:ba|da|a)?sh", words[1])
    script = words[1] if words[0] == "CMD-SHELL" else words[-1] if shell else words[1].rpartition("/")[2]
    script = re.sub(r"(?:^|(?<=\s))#.*", "", script).strip()
    return not _IDLE.fullmatch(script) and script not in ("cat", "ls", "env")


_UNITS: Final = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def _duration(value: Value, _props: Props, config: Config) -> bool:
    text = text_of(value)
    if not re.fullmatch(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+", text):
        return False
    seconds = math.fsum(float(amount) * _UNITS[unit] for amount, unit in re.findall(r"([\d.]+)(ms|s|m|h)", text))
    return 0 < seconds <= (number(config.get("slowest")) or 0)


def _seconds(value: Value, _props: Props, config: Config) -> bool:
    return (number(value) or 0) >= (number(config.get("least")) or 0)


def _reaps(value: Value, props: Props, config: Config) -> bool:
    entry = props.get("entrypoints")
    first = items(entry)[:1]
    return value is True or UNKNOWN in (entry, *first) or any(one in texts(config.get("inits")) for one in first)


def _read_only_files(value: Value, _props: Props, config: Config) -> bool:
    mount = table(value)
    target, source = text_of(mount.get("target")), text_of(mount.get("source"))
    plain = posixpath.normpath("/" + target.lstrip("/")).replace("/var/run", "/run", 1)  # that is a link
    given = bool(target) and any(
        f"{one}/".startswith(f"{plain.rstrip('/')}/") or plain.startswith(f"{one}/")
        for one in texts(config.get("targets"))
    )
    given = given or any(fnmatchcase(source, pattern) for pattern in texts(config.get("volumes")))
    return not given or mount.get("readOnly") in (True, UNKNOWN)


_TIMES: Final = tuple(
    Check(
        f"healthcheck.{key}",
        _duration,
        "is not given, or longer than anybody waits",
        "Write it as 30s or 1m30s",
        shapes=SERVICE,
    )
    for key in ("interval", "timeout", "startPeriod")
)
_AWAITED: Final = tuple(
    Check(key, _is(True), "is not on: `up` ends well although the app never became healthy", "Set it", shapes=SERVICE)
    for key in ("wait", "mustRun")
)
_GRACE: Final = tuple(
    Check(
        key,
        _seconds,
        "gives the app no time to write what it has in memory, which breaks SQLite",
        "Give the seconds that it needs; the provider's default is none",
        shapes=SERVICE,
    )
    for key in ("stopTimeout", "destroyGraceSeconds")
)


def _amount(description: str, default: float) -> dict[str, Any]:
    return {"type": "number", "default": default, "description": description}


def _rule(
    name: str,
    severity: Severity,
    description: str,
    *checks: Check,
    benchmarks: tuple[str, ...] = (),
    settings: Mapping[str, dict[str, Any]] | None = None,
) -> Rule:
    """A rule of these checks. What to do about it is what they say."""
    return Rule(
        name=name,
        description=description,
        remediation=" ".join(f"{advice}." for advice in dict.fromkeys(one.advice for one in checks)),
        severity=severity,
        validate=_all_of(*checks),
        settings=settings or {},
        benchmarks=benchmarks,
    )


RULES: Final = (
    _rule(
        "no-privileged-container",
        Severity.CRITICAL,
        "No container is privileged: it would be root on the host with one more command.",
        Check(
            "privileged",
            _is(None, False),
            "is on: the container has every capability and every device of the host",
            "Take it out, and add the one capability or device that is needed",
        ),
        benchmarks=("CIS 5.5", "OWASP 3"),
    ),
    _rule(
        "no-added-capability",
        Severity.HIGH,
        "Every container drops ALL capabilities and adds none back that no exemption names.",
        Check(
            "capabilities.drops",
            lambda value, _props, _config: "ALL" in items(value),
            "does not drop ALL capabilities",
            'Drop ALL and add back what is needed: drops ["ALL"]',
        ),
        Check(
            "capabilities.adds",
            lambda *_: False,
            "adds a capability of the host's root",
            "Do without it, or make it an exemption in policies/config.yaml",
            each=True,
            value=_capability,
            shapes=SERVICE,
        ),
        Check(
            "capabilities.adds",
            lambda value, _props, config: _capability(value) in texts(config.get("init-container")),
            "adds a capability that an init container does not need",
            "Do without it, or add it to `init-container` in this rule's settings",
            each=True,
            value=_capability,
            shapes=INIT,
        ),
        settings={
            "init-container": texts_setting(
                "Capabilities that an init container may add: it has no network, and ends.",
                ["CHOWN", "DAC_OVERRIDE", "FOWNER"],
            )
        },
        benchmarks=("CIS 5.4", "OWASP 3"),
    ),
    _rule(
        "no-new-privileges",
        Severity.CRITICAL,
        (
            "No process of a container gains privileges by a setuid file, and the engine's seccomp, "
            "AppArmor and SELinux profiles are in force: `no-new-privileges:true` is the one security "
            "option."
        ),
        Check(
            "securityOpts",
            lambda value, _props, _config: value == ["no-new-privileges:true"],
            "is not no-new-privileges:true alone: a process may gain privileges or is less confined",
            "Give no-new-privileges:true, and no other option",
        ),
        benchmarks=("CIS 5.2", "CIS 5.3", "CIS 5.22", "CIS 5.26", "OWASP 4", "OWASP 6"),
    ),
    _rule(
        "read-only-root",
        Severity.HIGH,
        "A service's root file system is read-only, so that an intruder cannot persist there.",
        Check(
            "readOnly",
            _is(True),
            "is not on: the container can change its own programs",
            "Set it, and give a volume or a sized tmpfs for what has to be written",
            shapes=SERVICE,
        ),
        benchmarks=("CIS 5.13", "OWASP 8"),
    ),
    _rule(
        "no-root-user",
        Severity.HIGH,
        (
            "A service's processes have a numeric user that is not 0, and no container joins root's "
            "group: names mean what the image says."
        ),
        Check(
            "user",
            _matches("[1-9]\\d*:\\d+"),
            "is root, or not the numbers of a user and a group",
            "Give a numeric user that is not 0, and a numeric group, such as 1000:1000",
            shapes=SERVICE,
        ),
        Check(
            "groupAdds",
            _matches("[1-9]\\d*"),
            "is root's group, or no number",
            "Give the numeric group that owns the device or file on the host",
            each=True,
            value=text_of,
        ),
        benchmarks=("CIS 4.1", "OWASP 2"),
    ),
    _rule(
        "no-host-network",
        Severity.CRITICAL,
        "No container has the host's own network: it would reach and bind whatever the host can.",
        Check(
            "networkMode",
            lambda value, _props, _config: text_of(value).strip().casefold() != "host",
            "is the host's own network",
            "Give it its own network and let the others reach it there",
        ),
        benchmarks=("CIS 5.10", "OWASP 5"),
    ),
    _rule(
        "no-host-device",
        Severity.HIGH,
        "No container gets a device of the host but a GPU's render node and the tunnel.",
        Check(
            "devices",
            _device,
            "is not on the list of devices, or has another name in the container",
            "Take it out, or add it to `allowed` in this rule's settings",
            each=True,
        ),
        Check(
            "gpus",
            lambda value, *rest: value is None or _matches("all|\\d+|device=[\\w,-]+")(value, *rest),
            "asks for more than GPUs",
            "Write all, a number, or device= and the GPUs",
        ),
        settings={
            "allowed": texts_setting(
                "Devices that a container may have, as shell patterns.",
                ["/dev/net/tun", "/dev/dri/renderD[0-9]*", "/dev/dri/card[0-9]*", "/dev/dri/by-path/*", "/dev/kfd"],
            )
        },
        benchmarks=("CIS 5.18",),
    ),
    _rule(
        "private-files",
        Severity.HIGH,
        "A file for a service is for its own user to read, and the service cannot change it.",
        Check(
            "uploads",
            lambda value, *rest: (
                table(value).get("permissions") is UNKNOWN
                or _matches("0[4-7]00")(table(value).get("permissions"), *rest)
            ),
            "lets others than the app's own user read the file; without it the provider gives 0644",
            "Give 0400, with the app's user as owner",
            each=True,
            at="permissions",
        ),
        Check(
            "mounts",
            _read_only_files,
            "lets the app change the configuration or the secrets that it was given",
            "Mount it read-only; its init container alone writes there",
            each=True,
            at="readOnly",
            shapes=SERVICE,
        ),
        settings={
            "targets": texts_setting("Where a service finds its files.", ["/run/config", "/run/secrets"]),
            "volumes": texts_setting(
                "Names of the volumes that init containers fill, as shell patterns.",
                ["*-config-files", "*-secrets-files"],
            ),
        },
        benchmarks=("OWASP 8", "OWASP 12"),
    ),
    _rule(
        "memory-limit",
        Severity.HIGH,
        "Every container has a memory limit, no swap beyond it, and a size for each tmpfs.",
        Check(
            "memory",
            _between(0, math.inf),
            "is no limit: one app can take all of the host's memory",
            "Give it, in megabytes, and the same as memorySwap",
        ),
        Check(
            "memorySwap",
            _swap,
            "is not the memory limit: the engine gives as much swap again, or no end of it",
            "Give the same as memory",
        ),
        Check(
            "tmpfs",
            _tmpfs,
            "has no size, or one without end: it may take half of the host's memory",
            "Give one size, such as size=64m",
            each=True,
        ),
        settings={"most-tmpfs": _amount("Mebibytes that one tmpfs may have, at most.", 16384)},
        benchmarks=("CIS 5.11", "OWASP 7"),
    ),
    _rule(
        "cpu-and-process-limit",
        Severity.MEDIUM,
        "Every container has a limit of processors, and every service one of processes: nproc.",
        Check(
            "cpus", _between(0, math.inf), "is no limit: one app can take every processor", 'Give it, such as "1.0"'
        ),
        Check(
            "ulimits",
            _processes,
            "has no limit of processes (nproc), or one without end",
            "Give nproc once, hard and soft",
            shapes=SERVICE,
        ),
        settings={"most-processes": _amount("The most processes that a limit may allow.", 8192)},
        benchmarks=("CIS 5.12", "CIS 5.29", "OWASP 7"),
    ),
    _rule(
        "log-rotation",
        Severity.MEDIUM,
        "A container's log is kept and rotated: it neither fills the disk nor is lost.",
        Check(
            "logDriver", _listed("drivers"), "is not a log driver that keeps logs and rotates them", "Give json-file"
        ),
        Check(
            "logOpts",
            _rotated,
            "lets a log grow until the disk is full",
            "Give max-size and max-file, such as 10m and 3",
        ),
        settings={
            "drivers": texts_setting("Log drivers that a container may have.", ["json-file", "local"]),
            "most": _amount("Mebibytes of one container's logs, at most.", 1024),
        },
        benchmarks=("CIS 2.13",),
    ),
    _rule(
        "health-check",
        Severity.MEDIUM,
        (
            "A service has a health check that can fail, `up` waits until it is healthy, and it comes "
            "back after it ended and after the host was started anew."
        ),
        Check(
            "healthcheck.tests",
            _can_fail,
            "is no health check that can fail: nobody learns that the app is unhealthy",
            "Give CMD or CMD-SHELL and what asks the app itself, and let the answer count",
            shapes=SERVICE,
        ),
        *_TIMES,
        Check(
            "healthcheck.retries",
            _between(0, 100),
            "is not given, or never ends",
            "Give it, such as 3",
            shapes=SERVICE,
        ),
        *_AWAITED,
        Check(
            "restart",
            _listed("restart"),
            "does not bring the app back after it ended or the host was started anew",
            "Give unless-stopped",
            shapes=SERVICE,
        ),
        settings={
            "slowest": _amount("Seconds that an interval, a timeout or a start period may take, at most.", 900),
            "restart": texts_setting("Restart policies that a service may have.", ["unless-stopped", "always"]),
        },
        benchmarks=("CIS 4.6", "CIS 5.27"),
    ),
    _rule(
        "clean-stop",
        Severity.HIGH,
        ("A service has time to end, and every container an init that hands on signals and reaps zombies."),
        *_GRACE,
        Check(
            "init",
            _reaps,
            "is not on: ended processes stay in the process table, and signals may not arrive",
            "Set it, or start with an init of the image's own, one of `inits` in this rule's settings",
        ),
        settings={
            "least": _amount("Seconds between SIGTERM and SIGKILL, at least.", 10),
            "inits": texts_setting("Entry points that are an init themselves.", ["/init", "/usr/bin/catatonit"]),
        },
    ),
)
