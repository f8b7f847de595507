"""Family `container`: each check is broken once, for the shape of container that it is about."""

from __future__ import annotations

from typing import Any, Final

import pytest

from policies.rules.container import RULES
from tests.policies.harness import UNKNOWN, Json, Props, declared_inputs, places

SERVICE: Final = "sonarr-container"
INIT: Final = "sonarr-seed"
MOUNT: Final[Props] = {"type": "volume", "source": "nexus-test-sonarr-config", "target": "/config", "readOnly": False}
UPLOAD: Final[Props] = {"file": "/run/config/a", "content": "a", "owner": "1000", "group": "1000"}


def nproc(*hard: Json) -> Json:
    return [{"name": "nproc", "soft": one, "hard": one} for one in hard]


def health(**changes: Any) -> Json:  # noqa: ANN401 - any value, good or not
    times: Props = {"interval": "10s", "timeout": "5s", "startPeriod": "1m0s", "retries": 3.0}
    return {"tests": ["CMD", "curl", "-fsS", "http://127.0.0.1/"], **times, **changes}


BROKEN: Final[tuple[tuple[str, str, dict[str, Any], str], ...]] = (
    # rule, resource, what is changed, where that is said
    ("no-privileged-container", SERVICE, {"privileged": True}, "privileged"),
    ("no-privileged-container", INIT, {"privileged": "true"}, "privileged"),
    ("no-added-capability", SERVICE, {"capabilities": None}, "capabilities.drops"),
    ("no-added-capability", SERVICE, {"capabilities": {"drops": ["CAP_NET_RAW"]}}, "capabilities.drops"),
    ("no-added-capability", SERVICE, {"capabilities": {"drops": ["ALL"], "adds": ["CHOWN"]}}, "capabilities.adds[0]"),
    ("no-added-capability", INIT, {"capabilities": {"drops": ["ALL"], "adds": ["SETUID"]}}, "capabilities.adds[0]"),
    ("no-new-privileges", SERVICE, {"securityOpts": None}, "securityOpts"),
    ("no-new-privileges", SERVICE, {"securityOpts": ["no-new-privileges:false"]}, "securityOpts"),
    ("no-new-privileges", INIT, {"securityOpts": ["no-new-privileges:true", "seccomp=unconfined"]}, "securityOpts"),
    ("read-only-root", SERVICE, {"readOnly": None}, "readOnly"),
    ("read-only-root", SERVICE, {"readOnly": "true"}, "readOnly"),
    *(("no-root-user", SERVICE, {"user": user}, "user") for user in (None, "root", "0:0", "00:1", "1000", "1000:x")),
    ("no-root-user", SERVICE, {"groupAdds": ["993", "0"]}, "groupAdds[1]"),
    ("no-root-user", INIT, {"groupAdds": ["video"]}, "groupAdds[0]"),
    ("no-host-network", SERVICE, {"networkMode": " Host"}, "networkMode"),
    ("no-host-device", SERVICE, {"devices": [{"hostPath": "/dev/sda", "containerPath": "/dev/sda"}]}, "devices[0]"),
    ("no-host-device", SERVICE, {"devices": [{"hostPath": "/dev/kfd", "containerPath": "/dev/sda"}]}, "devices[0]"),
    (
        "no-host-device",
        SERVICE,
        {"devices": [{"hostPath": "/dev/dri/card0/../../sda", "containerPath": "/dev/dri/card0/../../sda"}]},
        "devices[0]",
    ),
    ("no-host-device", SERVICE, {"gpus": "driver=cdi,device=x"}, "gpus"),
    *(
        ("private-files", INIT, {"uploads": [{**UPLOAD, "permissions": mode}]}, "uploads[0].permissions")
        for mode in (None, "0440", "0004", "400", "u=r")
    ),
    ("private-files", SERVICE, {"mounts": [{**MOUNT, "target": "/run/secrets"}]}, "mounts[0].readOnly"),
    ("private-files", SERVICE, {"mounts": [{**MOUNT, "source": "x-secrets-files"}]}, "mounts[0].readOnly"),
    *(("memory-limit", SERVICE, {"memory": size}, "memory") for size in (None, 0.0, -1.0, "x")),
    *(("memory-limit", INIT, {"memorySwap": size}, "memorySwap") for size in (None, -1.0, 65.0)),
    *(
        ("memory-limit", SERVICE, {"tmpfs": {"/tmp": options}}, "tmpfs./tmp")
        for options in ("", "mode=1777", "size=0", "size=50%", "size=1g,size=99g", "size=999g")
    ),
    *(("cpu-and-process-limit", INIT, {"cpus": cpus}, "cpus") for cpus in (None, "0", "x")),
    *(
        ("cpu-and-process-limit", SERVICE, {"ulimits": limits}, "ulimits")
        for limits in ([], nproc(-1.0), nproc(9e6), nproc(9.0, 9.0))
    ),
    *(("log-rotation", SERVICE, {"logDriver": driver}, "logDriver") for driver in (None, "none", "syslog")),
    *(
        ("log-rotation", INIT, {"logOpts": options}, "logOpts")
        for options in (None, {"max-size": "10m"}, {"max-file": "3"}, {"max-size": "9g", "max-file": "9"})
    ),
    *(
        ("health-check", SERVICE, {"healthcheck": health(tests=tests)}, "healthcheck.tests")
        for tests in (
            None,
            ["NONE"],
            ["CMD"],
            ["CMD", "/bin/true"],
            ["CMD-SHELL", "curl http://127.0.0.1/ || exit 0"],
            ["CMD-SHELL", "curl http://127.0.0.1/; echo done"],
            ["CMD", "sh", "-c", "check & true"],
        )
    ),
    ("health-check", SERVICE, {"healthcheck": health(interval="0s")}, "healthcheck.interval"),
    ("health-check", SERVICE, {"healthcheck": health(timeout="30")}, "healthcheck.timeout"),
    ("health-check", SERVICE, {"healthcheck": health(startPeriod="2h")}, "healthcheck.startPeriod"),
    ("health-check", SERVICE, {"healthcheck": health(retries=None)}, "healthcheck.retries"),
    ("health-check", SERVICE, {"wait": False}, "wait"),
    ("health-check", SERVICE, {"mustRun": None}, "mustRun"),
    ("health-check", SERVICE, {"restart": "on-failure"}, "restart"),
    ("clean-stop", SERVICE, {"stopTimeout": None}, "stopTimeout"),
    ("clean-stop", SERVICE, {"destroyGraceSeconds": 1.0}, "destroyGraceSeconds"),
    ("clean-stop", SERVICE, {"entrypoints": ["/bin/sh"]}, "init"),
    ("clean-stop", INIT, {"init": None}, "init"),
)  # fmt: skip


@pytest.mark.parametrize(("rule", "name", "changes", "place"), BROKEN)
def test_what_is_broken_is_refused_where_it_stands(rule: str, name: str, changes: Props, place: str) -> None:
    assert places(declared_inputs(name, **changes), name=name, rules=RULES).get(rule) == [place]


@pytest.mark.parametrize("name", [SERVICE, INIT])
def test_what_only_an_update_knows_is_no_violation(name: str) -> None:
    for _, resource, changes, _ in BROKEN:
        if resource == name:
            unknown = dict.fromkeys(changes, UNKNOWN)
            assert places(declared_inputs(name, **unknown), name=name, rules=RULES) == {}, changes


@pytest.mark.parametrize(
    "changes",
    [
        {"devices": [{"hostPath": "/dev/dri/renderD128", "containerPath": "/dev/dri/renderD128"}], "gpus": "all"},
        {"capabilities": {"drops": ["ALL"], "adds": []}, "privileged": False},
        {"mounts": [UNKNOWN, {**MOUNT, "target": "/run/config", "readOnly": UNKNOWN}]},
        {"uploads": [UNKNOWN, {**UPLOAD, "permissions": UNKNOWN}, {**UPLOAD, "permissions": "0500"}]},
        {"groupAdds": ["993", UNKNOWN], "tmpfs": {"/tmp": "size=1g,mode=1777"}, "init": UNKNOWN},
        {"ulimits": nproc(UNKNOWN), "logOpts": {"max-size": UNKNOWN}},
        {"healthcheck": health(tests=[UNKNOWN], interval="1m30s", timeout="1.5s", startPeriod="15m", retries=1.0)},
        {"healthcheck": health(tests=["CMD-SHELL", "curl http://x || exit 1"]), "memory": UNKNOWN},
    ],
)
def test_what_is_good_passes(changes: Props) -> None:
    assert places(declared_inputs(SERVICE, **changes), name=SERVICE, rules=RULES) == {}


def test_an_exemption_names_one_capability_and_one_group() -> None:
    entry: Json = {"resource": SERVICE, "value": "CHOWN", "reason": "for this test", "until": "2999-01-01"}
    added = declared_inputs(SERVICE, capabilities={"drops": ["ALL"], "adds": ["CAP_CHOWN", "CAP_KILL"]})
    told = places(added, name=SERVICE, rules=RULES[1:2], config={"exemptions": [entry], "init-container": []})
    assert told == {"no-added-capability": ["capabilities.adds[1]"]}
