"""Family `resources`: a container takes a bounded share of the host, says when it is ill, and is stopped gently.

Judged are `docker.Container` and, where the property exists there, Swarm services. The docker provider has no pids
limit (docs/adr/0006-process-limit.md): what is demanded in its place is RLIMIT_NPROC. One-shots (containers.py) end
by themselves: they need limits and log rotation, but no health check and no restart policy. Not seen from here:
whether a limit suits the app, and whether a health check notices what ails it.
"""

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pulumi_policy import Severity

from policies.rules.configuration import texts
from policies.rules.containers import items, known, number, on, one_shot, specs, table
from policies.rules.props import UNKNOWN, Path, Value
from policies.rules.rule import Config, Finding, Judge, Resource, Rule, texts_setting


def _containers(judge: Callable[[Resource, Config], Iterator[Finding]], *, short: bool) -> Judge:
    """`judge` for containers; for one-shots too where `short` says so."""

    def judged(resource: Resource, config: Config) -> Iterator[Finding]:
        if resource.kind == "Container" and (short or not one_shot(resource.props)):
            yield from judge(resource, config)

    return judged


def _positive(value: Value) -> bool:
    found = number(value)
    return not known(value) or (found is not None and found > 0)


def _limits(resource: Resource) -> Value:
    return table(table(resource.props.get("taskSpec")).get("resources")).get("limits")


def _memory(resource: Resource, _config: Config) -> Iterator[Finding]:
    remedy = "Give it, in megabytes, and the same as memorySwap"
    if resource.kind == "Service":
        limits = _limits(resource)
        if known(limits) and not _positive(table(limits).get("memoryBytes")):
            yield Finding(
                path=("taskSpec", "resources", "limits", "memoryBytes"), problem="is no limit", remedy="Give one"
            )
    if resource.kind != "Container":
        return
    memory, swap = resource.props.get("memory"), resource.props.get("memorySwap")
    if not _positive(memory):
        yield Finding(
            path=("memory",), problem="is no limit: one app can take all of the host's memory", remedy=remedy
        )
    elif known(memory) and known(swap) and number(swap) != number(memory):
        yield Finding(
            path=("memorySwap",),
            problem="is not the memory limit: the engine gives as much swap again, or no end of it",
            remedy=remedy,
        )


def _cpu(resource: Resource, _config: Config) -> Iterator[Finding]:
    if resource.kind == "Service":
        limits = _limits(resource)
        if known(limits) and not _positive(table(limits).get("nanoCpus")):
            yield Finding(
                path=("taskSpec", "resources", "limits", "nanoCpus"), problem="is no limit", remedy="Give one"
            )
    if resource.kind != "Container":
        return
    quota = resource.props.get("cpuQuota")
    period = resource.props.get("cpuPeriod")
    by_quota = quota not in (None, UNKNOWN) and _positive(quota) and (period is None or _positive(period))
    if not by_quota and not _positive(resource.props.get("cpus")):
        yield Finding(
            path=("cpus",), problem="is no limit: one app can take every processor", remedy='Give it, such as "1.0"'
        )


def _processes(resource: Resource, config: Config) -> Iterator[Finding]:
    given = resource.props.get("ulimits")
    most = number(config.get("most")) or 0
    if not known(given) or UNKNOWN in items(given):
        return
    entries = [table(item) for item in items(given)]
    found = [one.get("hard") for one in entries if str(one.get("name")).strip().casefold() == "nproc"]
    if not found or not all(not known(hard) or 0 < (number(hard) or 0) <= most for hard in found):
        yield Finding(
            path=("ulimits",),
            problem="has no limit of processes (nproc), or one without end",
            remedy="Give nproc, as components/service.py does",
        )


_ROTATION: Final[Mapping[str, str]] = {"max-size": "10m", "max-file": "3"}
"""Options of a log driver that keeps logs."""
_BY_ITSELF: Final = "local"
"""The driver that rotates also without options (20m, 5 files)."""


def _amount(value: Value, driver: str) -> float:
    """A size in bytes or a number of files; 0 where it is none."""
    if value is None and driver == _BY_ITSELF:
        return 1
    text = f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else value
    found = re.fullmatch(r"(\d+)([kmg]?)b?", text.strip().casefold()) if isinstance(text, str) else None
    return float(found[1]) * 1024 ** " kmg".index(found[2] or " ") if found else 0


def _rotated(driver: Value, options: Value, config: Config, path: Path) -> Iterator[Finding]:
    names = texts(config.get("drivers"))
    name = driver.strip().casefold() if isinstance(driver, str) else ""
    if known(driver) and name not in names:
        yield Finding(
            path=(*path, "logDriver" if not path else "name"),
            problem="is not a log driver that keeps logs and rotates them",
            remedy="Give json-file or local",
        )
        return
    if not known(options):
        return
    given = table(options)
    amounts = [_amount(given.get(key), name) for key in _ROTATION if known(given.get(key))]
    whole = math.prod(amounts) if len(amounts) == len(_ROTATION) else min(amounts, default=1)
    if not 0 < whole <= (number(config.get("most")) or 0) * 1024**2:
        yield Finding(
            path=(*path, "logOpts" if not path else "options"),
            problem="lets a log grow until the disk is full",
            remedy="Give max-size and max-file, such as 10m and 3",
        )


def _logs(resource: Resource, config: Config) -> Iterator[Finding]:
    if resource.kind == "Container":
        yield from _rotated(resource.props.get("logDriver"), resource.props.get("logOpts"), config, ())
    elif resource.kind == "Service" and any(specs(resource)):
        driver = table(resource.props.get("taskSpec")).get("logDriver")
        if known(driver):
            yield from _rotated(
                table(driver).get("name"),
                table(driver).get("options"),
                config,
                ("taskSpec", "logDriver"),
            )


def _restart(resource: Resource, config: Config) -> Iterator[Finding]:
    value = resource.props.get("restart")
    allowed = texts(config.get("allowed"))
    if known(value) and value not in allowed:
        yield Finding(
            path=("restart",),
            problem="does not bring the app back after it ended or the host was started anew",
            remedy="Give unless-stopped",
        )


# A command that always ends well, and a script whose last one does.
_IDLE: Final = re.compile(
    r"(?:.*(?:\|\||;|\n|\()\s*)?(?:[\w/]*/)?"
    r"(?:true|:|exit(?:\s+0)?|return\s+0|echo\b[^|&;]*|printf\b[^|&;]*|sleep\s+\S+)[\s;)]*",
    re.DOTALL,
)
_SWALLOWED: Final = re.compile(r".*[^|]\|\s*(?:cat|tee\b.*|true|head\b.*|tail\b.*|wc\b.*|sort\b.*)\s*", re.DOTALL)
_SHELLS: Final = frozenset({"sh", "ash", "bash", "dash", "zsh"})
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+")
_SECONDS_OF: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def _cannot_fail(words: list[str]) -> bool:
    """Whether a check, without its first word, ends well whatever the app does."""
    name = words[0].rpartition("/")[2]
    if name == "env":
        rest = [word for word in words[1:] if "=" not in word]
        return bool(rest) and _cannot_fail(rest)
    if name in _SHELLS:
        scripts = [word for option, word in itertools.pairwise(words) if re.fullmatch(r"-\w*c", option)]
        return bool(scripts) and _script_cannot_fail(scripts[0])
    return name in ("true", ":", "echo", "printf", "sleep", "cat", "ls")


def _script_cannot_fail(script: str) -> bool:
    text = re.sub(r"(?:^|(?<=\s))#.*", "", script).strip()
    if re.search(r"\b(?:exit|return)\s+[1-9]|\bset\s+-\w*e", text):
        return False
    return bool(_IDLE.fullmatch(text) or _SWALLOWED.fullmatch(text))


def _seconds(value: Value) -> float:
    """A duration in Go's form; 0 where it is none."""
    text = value.strip() if isinstance(value, str) else ""
    if not _DURATION.fullmatch(text):
        return 0
    return sum(float(amount) * _SECONDS_OF[unit] for amount, unit in re.findall(r"([\d.]+)([a-zµ]+)", text))


def _health(resource: Resource, config: Config) -> Iterator[Finding]:
    holder = next((spec for spec in specs(resource)), None)
    if holder is None or holder.short:
        return
    name = "healthCheck" if "healthCheck" in holder.props else "healthcheck"
    path: Path = (*holder.path, name)
    check = holder.props.get(name)
    if not known(check) or (holder.swarm and check is None):  # the image of a service may have one
        return
    given = table(check)
    tests = given.get("tests")
    if not known(tests) or UNKNOWN in items(tests):
        return
    words = [one for one in items(tests) if isinstance(one, str)]
    first = words[0].strip().upper() if words else ""
    if first not in ("CMD", "CMD-SHELL") or len(words) < 2:
        yield Finding(
            path=(*path, "tests"),
            problem="is no health check: nobody learns that the app is ill",
            remedy="Give CMD or CMD-SHELL and what asks the app itself",
        )
        return
    # Of CMD-SHELL only the first word is the script; what follows are its parameters.
    if _script_cannot_fail(words[1]) if first == "CMD-SHELL" else _cannot_fail(words[1:]):
        yield Finding(
            path=(*path, "tests"),
            problem="cannot fail",
            remedy="Ask the app itself, and let the answer count",
        )
    if holder.swarm:
        return
    most = number(config.get("slowest")) or 0
    for key in ("interval", "timeout", "startPeriod"):
        value = given.get(key)
        if known(value) and not 0 < _seconds(value) <= most:
            yield Finding(
                path=(*path, key),
                problem="is not given, or longer than anybody waits",
                remedy="Give it in Go's form, such as 1m30s",
            )
    retries = given.get("retries")
    if known(retries) and not 0 < (number(retries) or 0) <= _RETRIES:
        yield Finding(path=(*path, "retries"), problem="is not given, or never ends", remedy="Give it, such as 3")


_RETRIES: Final = 100
"""Failures in a row after which an app counts as ill, at most."""


def _awaited(resource: Resource, _config: Config) -> Iterator[Finding]:
    for key in ("wait", "mustRun", "start"):
        value = resource.props.get(key)
        if key == "start" and value is None:
            continue  # the provider's default is to start it
        if known(value) and not on(value):
            yield Finding(
                path=(key,),
                problem="is not on: `up` ends well although the app never became healthy",
                remedy="Set it",
            )


def _grace(resource: Resource, config: Config) -> Iterator[Finding]:
    least = number(config.get("least")) or 0
    signal = resource.props.get("stopSignal")
    if isinstance(signal, str) and signal.strip().upper().removeprefix("SIG") in ("KILL", "9"):
        yield Finding(path=("stopSignal",), problem="ends the app at once: databases break", remedy="Take it out")
    for key in ("stopTimeout", "destroyGraceSeconds"):
        value = resource.props.get(key)
        if known(value) and (number(value) or 0) < least:
            yield Finding(
                path=(key,),
                problem="gives the app no time to write what it has in memory: databases break",
                remedy="Give the seconds that it needs; the provider's own default is none",
            )


_INITS: Final = re.compile(r"(?:.*/)?(?:init|catatonit|tini|dumb-init|s6-svscan|docker-init)")


def _init(resource: Resource, _config: Config) -> Iterator[Finding]:
    value, given = resource.props.get("init"), resource.props.get("entrypoints")
    first = next(iter(items(given)), "")
    brings_its_own = given is UNKNOWN or first is UNKNOWN or (isinstance(first, str) and _INITS.fullmatch(first))
    if known(value) and not on(value) and not brings_its_own:
        yield Finding(
            path=("init",),
            problem="is not on: what ended stays in the process table, and signals may not arrive",
            remedy="Set it, or write the entry point where it is an init itself, such as /init",
        )


_SECONDS: Final[dict[str, Any]] = {
    "type": "number",
    "default": 10,
    "description": "Seconds between SIGTERM and SIGKILL, at least.",
}

RULES: Final = (
    Rule(
        name="memory-limit",
        description="Every container has a memory limit and no swap beyond it, so that one app cannot stop the host.",
        remediation="Set `memory`, in megabytes, and `memorySwap` to the same.",
        severity=Severity.HIGH,
        judge=_memory,
        benchmarks=("CIS 5.11", "OWASP 7"),
    ),
    Rule(
        name="cpu-limit",
        description="Every container has a limit of processors, so that one app cannot starve the others.",
        remediation='Set `cpus`, such as "1.0".',
        severity=Severity.MEDIUM,
        judge=_cpu,
        benchmarks=("CIS 5.12", "OWASP 7"),
    ),
    Rule(
        name="process-limit",
        description="Every long-running container has a limit of processes: nproc, since there is no pids limit.",
        remediation="Set `ulimits` with nproc, hard and soft.",
        severity=Severity.MEDIUM,
        judge=_containers(_processes, short=False),
        settings={
            "most": {"type": "number", "default": 8192, "description": "The most processes that a limit may allow."}
        },
        benchmarks=("CIS 5.29", "OWASP 7"),
    ),
    Rule(
        name="log-rotation",
        description="A container's log is kept and rotated: it neither fills the disk nor is lost.",
        remediation="Set `logDriver` to json-file or local, and `logOpts` with max-size and max-file.",
        severity=Severity.MEDIUM,
        judge=_logs,
        settings={
            "drivers": texts_setting("Log drivers that a container may have.", ["json-file", "local"]),
            "most": {"type": "number", "default": 1024, "description": "Mebibytes of one container's logs, at most."},
        },
        benchmarks=("CIS 2.13",),
    ),
    Rule(
        name="restart-policy",
        description="A long-running container comes back after it ended and after the host was started anew.",
        remediation="Set `restart` to unless-stopped.",
        severity=Severity.MEDIUM,
        judge=_containers(_restart, short=False),
        settings={
            "allowed": texts_setting(
                "Restart policies that a long-running container may have.", ["unless-stopped", "always"]
            )
        },
    ),
    Rule(
        name="health-check",
        description="Every long-running container has a health check that can fail, with its times written down.",
        remediation="Set `healthcheck` with tests, interval, timeout, startPeriod and retries.",
        severity=Severity.MEDIUM,
        judge=_health,
        settings={
            "slowest": {
                "type": "number",
                "default": 900,
                "description": "Seconds that an interval, a timeout or a start period may take, at most.",
            }
        },
        benchmarks=("CIS 4.6", "CIS 5.27"),
    ),
    Rule(
        name="health-is-awaited",
        description="`up` waits until a long-running container is healthy, and fails where it never is.",
        remediation="Set `wait` and `mustRun`.",
        severity=Severity.MEDIUM,
        judge=_containers(_awaited, short=False),
    ),
    Rule(
        name="stop-grace",
        description="A long-running container has time to end: the provider's default of none breaks SQLite.",
        remediation="Set `stopTimeout` and `destroyGraceSeconds`.",
        severity=Severity.HIGH,
        judge=_containers(_grace, short=False),
        settings={"least": _SECONDS},
    ),
    Rule(
        name="init-process",
        description="Each container has an init as its first process: it hands on signals and buries what ended.",
        remediation="Set `init`, unless the entry point is one, such as catatonit.",
        severity=Severity.LOW,
        judge=_containers(_init, short=True),
    ),
)
