"""Family `hardening`: each way of breaking a good container, in every spelling; and what must pass."""

from __future__ import annotations

from typing import Final

import pytest

from policies.rules import hardening
from tests.components.stacks import CHOICES
from tests.policies.harness import (
    CONTAINER,
    SERVICE,
    UNKNOWN,
    VOLUME,
    Json,
    Props,
    container,
    each,
    judge,
    rules_of,
    volume,
)
from tests.policies.harness import service as swarm
from tests.policies.platform import declared, judged

RULES: Final = frozenset(rule.name for rule in hardening.RULES)


def bind(source: Json, **more: Json) -> Props:
    """One mount of a host path."""
    return {"mounts": [{"type": "bind", "source": source, "target": "/x", "readOnly": True, **more}]}


ONE_SHOT: Final[Props] = {
    "networkMode": "none",
    "networksAdvanced": None,
    "restart": "no",
    "mustRun": False,
    "healthcheck": None,
    "user": None,
    "readOnly": None,
    "ulimits": None,
}


def adding(adds: Json) -> Props:
    """Capabilities that are added."""
    return {"capabilities": {"drops": ["ALL"], "adds": adds}}


def device(path: str) -> Props:
    """One device of the host."""
    return {"devices": [{"hostPath": path, "containerPath": "/dev/x"}]}


def sized(flags: Json) -> Props:
    """One tmpfs."""
    return {"tmpfs": {"/tmp": flags}}


ADDED: Final[list[Json]] = [
    ["NET_ADMIN"], ["CAP_NET_ADMIN"], ["cap_sys_admin"], ["Sys_Admin"], ["ALL"], ["all"], [" SYS_PTRACE "], ["CHOWN"],
    ["CAP_CHOWN"], [UNKNOWN, "NET_RAW"], "SYS_MODULE",
]  # fmt: skip
BROKEN: Final[dict[str, list[Props]]] = {
    "no-privileged-container": each("privileged", True, "true", 1, "Yes"),
    "no-added-capability": [*map(adding, ADDED), *each("capabilities", [{"drops": ["ALL"], "adds": ["BPF"]}])],
    "drop-all-capabilities": each(
        "capabilities", None, {}, {"drops": []}, {"drops": ["NET_RAW"]}, {"adds": []}, {"drops": ["ALLL"]}, []
    ),
    "no-new-privileges": each("securityOpts",
            None, [], ["apparmor=docker-default"], ["no-new-privileges:false"], ["no-new-privileges=false"],
            ["no-new-privileges:true", "no-new-privileges:false"], ["no-new-privileges:0"], ["no-new-privileges:no"],
            ["nonewprivileges"]),
    "no-unconfined-profile": [
        {"securityOpts": ["no-new-privileges:true", value]}
        for value in (
            "seccomp=unconfined", "seccomp:unconfined", "SECCOMP=Unconfined", "apparmor=unconfined",
            "apparmor:unconfined", "label=disable", "label:disable", "systempaths=unconfined",
            " seccomp = unconfined", 'seccomp={"defaultAction":"SCMP_ACT_ALLOW"}', "seccomp={", "seccomp={}",
            "disable", "label=type:spc_t", "label:type:unconfined_t", "writable-cgroups", "writable-cgroups=true",
            "seccomp=", "systempaths=x", "apparmor=",
        )
    ],
    "read-only-root": each("readOnly", False, None, "true", 1, 0),
    "no-root-user": each("user",
            None, "", "0", "0:0", "0:1000", "root", "ROOT", "root:root", "00", "+0", "0x0", "-0", "jellyfin",
            "www-data:1000", ":1000", " 0", 0),
    "no-engine-extension": [],
    "no-root-group": each("user", "1000:root", "1000:docker", "1000: docker")
    + each("groupAdds", ["0"], ["root"], ["docker"], ["00"], [UNKNOWN, "video"], [0]),
    "no-host-network": [
        {"networkMode": "host"}, {"networkMode": "HOST"}, {"networkMode": " host "},
        {"networksAdvanced": [{"id": "host"}]},
        {"networksAdvanced": [{"name": "host"}]}, {"networksAdvanced": [{"name": UNKNOWN}, {"name": "Host"}]},
    ],
    "no-shared-namespace": [
        {"pidMode": "host"}, {"pidMode": "Host"}, {"pidMode": "container:web"}, {"ipcMode": "host"},
        {"ipcMode": "shareable"}, {"ipcMode": "container:" + "1f" * 32}, {"usernsMode": "host"},
        {"cgroupnsMode": "host"},
    ],
    "no-host-device": [
        device(path)
        for path in (
            "/dev/sda", "/dev/mem", "/dev/kmsg", "/dev/net/../sda", "//dev//sda", "/dev/net/tun/../../sda", "/dev",
            "/dev/dri", "/dev/dri/../mem", "/dev/fuse", "/proc/self/root/dev/sda",
        )
    ]
    + each("devices", ["/dev/sda:/dev/x"], [UNKNOWN, {"hostPath": "/dev/kvm"}])
    + each("deviceCgroupRules", ["c 1:1 rwm"])
    + each("deviceRequests", [{"driver": "cdi", "deviceIds": ["vendor.com/disk=sda"]}])
    + each("gpus", "driver=cdi,device=vendor.com/disk=sda"),
    "no-sensitive-host-path": [
        bind(path)
        for path in (
            "/etc", "/etc/", "//etc", "/etc/passwd", "/ETC/shadow", "/srv/../etc", "/usr/bin", "/boot",
            "/lib/modules",
            "/sys", "/sys/fs/cgroup", "/proc/sys", "/dev", "/var/lib/docker", "/var/lib/docker/volumes",
            "/var/lib/kubelet", "/var/lib/containerd", "/var/log", "/root/.ssh", "/srv/./../sbin",
            "/home/me/.ssh", "/home/me/.local/share/docker", "/home/me/x/../.ssh", "/run/media", "/run/media/disk",
            "/var/snap/docker/common/var-lib-docker", "/sysroot/etc", "/host_mnt/etc", "/var/roothome",
        )
    ]
    + [
        {"volumes": [{"hostPath": "/etc", "containerPath": "/x"}]},
        {"volumes": [{"volumeName": "/etc", "containerPath": "/x"}]},
        {"volumes": ["/etc:/x:ro"]},
        {"mounts": [UNKNOWN, {"type": "bind", "source": "/etc", "target": UNKNOWN}]},
        {"volumes": [{"hostPath": "/etc/localtime", "containerPath": "/etc/localtime"}]},
        {"mounts": [{"type": "bind", "source": "/etc/localtime/../shadow", "target": "/x", "readOnly": True}]},
    ],
    "no-shared-propagation": [
        bind("/srv/media", bindOptions={"propagation": value}) for value in ("shared", "rshared", "RShared", "rslave")
    ]
    + [{"volumes": ["/srv/media:/x:rw,rshared"]}],
    "no-unlisted-sysctl": [
        {"sysctls": {"kernel.core_pattern": "|/x"}}, {"sysctls": {"net/ipv4/tcp_syncookies": "0"}},
        {"sysctls": {"net.ipv4.ip_forward": "1", "kernel.shmmax": UNKNOWN}},
    ],
    "sized-tmpfs": [
        *map(sized, ("", "mode=1777", "size=0", "nosize=1", "xsize=5m")),
        *map(sized, ("size=64m,size=0", "size=900t", "size=100%", "size=9000g", "size=64x", "size=")),
        *each("tmpfs", {"/run": UNKNOWN, "/tmp": "noexec"}),
        *each("mounts",
                [{"type": "tmpfs", "target": "/x"}],
                [{"type": "TMPFS", "target": "/x", "tmpfsOptions": {"mode": 1023}}],
                [{"type": "tmpfs", "target": "/x", "tmpfsOptions": {"sizeBytes": 0}}],
                [{"type": "tmpfs", "target": "/x", "tmpfsOptions": {"sizeBytes": 1e15}}]),
    ],
    "read-only-configuration": [
        bind("v", type="volume", target=target, readOnly=value)
        for target, value in (
            ("/run/secrets", False), ("/run/secrets", None), ("/run/config/", "true"), ("//run/./secrets/x", False),
            ("/var/run/secrets", False), ("/run", False), ("/", None),
        )
    ]
    + each("mounts",
            [{"type": "volume", "source": "nexus-dev-secrets", "target": "/x", "readOnly": False}],
            [{"type": "volume", "source": "nexus-dev-sonarr-config-files", "target": "/x", "readOnly": False}],
            [{"type": "volume", "source": "sonarr-secrets-files", "target": "/x"}])
    + each("volumes",
            [{"volumeName": "nexus-dev-secrets", "containerPath": "/run/secrets", "readOnly": False}],
            [{"volumeName": "nexus-dev-secrets", "containerPath": "/run/secrets"}],
            ["nexus-dev-secrets:/run/secrets"], ["nexus-dev-secrets:/x:rw"]),
    "private-files": [
        {**ONE_SHOT, "uploads": [{"file": "/run/secrets/key", "content": "x", "permissions": mode}]}
        for mode in (None, "0444", "0644", "0440", "0404", "444", "0o644", "", "rw", 400)
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "changes"), [(rule, changes) for rule, cases in BROKEN.items() for changes in cases], ids=str
)
def test_each_way_of_breaking_is_refused(rule: str, changes: Props) -> None:
    assert rule in rules_of(judge(container(**changes)))


@pytest.mark.parametrize("kind", ["docker:index/plugin:Plugin", "docker:index/buildxBuilder:BuildxBuilder"])
def test_what_runs_beside_the_engine_is_refused(kind: str) -> None:
    assert "no-engine-extension" in rules_of(judge({"name": "docker.io/someone/plugin:1"}, kind))


def test_every_rule_is_broken() -> None:
    assert BROKEN.keys() == RULES
    assert [name for name, cases in BROKEN.items() if not cases] == ["no-engine-extension"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"privileged": False},
        {"privileged": "false"},
        {"capabilities": {"drops": ["ALL"], "adds": []}},
        {"capabilities": {"drops": ["all"]}},
        {"capabilities": {"drops": ["CAP_ALL"]}},
        {"capabilities": [{"drops": ["ALL"]}]},
        {"securityOpts": ["no-new-privileges"]},
        {"securityOpts": ["no-new-privileges=true", "apparmor=docker-default", "seccomp=/srv/profile.json"]},
        {"securityOpts": ["No-New-Privileges:True"]},
        {"securityOpts": ["no-new-privileges=1", "label=level:s0:c100,c200", "label:type:container_t"]},
        {"securityOpts": ["no-new-privileges", 'seccomp={"defaultAction":"SCMP_ACT_ERRNO","syscalls":[]}']},
        {
            "devices": [
                {"hostPath": "/dev/dri/by-path/pci-0000:00:02.0-render", "containerPath": "/dev/dri/renderD128"}
            ]
        },
        bind("/etc/localtime"),
        bind("/usr/share/zoneinfo/Europe/Berlin"),
        bind("/home/me/media"),
        bind("/run/media/disk/media"),
        {"volumes": ["/etc/timezone:/etc/timezone:ro"]},
        {"mounts": [{"type": "tmpfs", "target": "/x", "tmpfsOptions": {"sizeBytes": 67108864}}]},
        {"mounts": [{"type": "tmpfs", "target": "/x", "tmpfsOptions": UNKNOWN}]},
        {"volumes": ["nexus-dev-secrets:/run/secrets:ro"]},
        {"user": "1000"},
        {"user": "65534:65534"},
        {"user": "472:0"},
        {"groupAdds": ["993"]},
        {"devices": [{"hostPath": "/dev/net/tun", "containerPath": "/dev/net/tun"}]},
        {"devices": [{"hostPath": "/dev/dri/renderD128", "containerPath": "/dev/dri/renderD128"}]},
        {"devices": [{"hostPath": "/dev//net/./tun", "containerPath": "/dev/net/tun"}]},
        {"gpus": "all"},
        bind("/srv/media"),
        bind("/mnt/disk1/media"),
        bind("/opt/nexus/data", bindOptions={"propagation": "rprivate"}),
        bind("/etcetera"),
        {"volumes": [{"volumeName": "etc", "containerPath": "/x"}]},
        {"sysctls": {"net.ipv4.ip_forward": "1"}},
        {"tmpfs": {"/tmp": "mode=1777,size=64m"}},
        {"ipcMode": "private"},
        # What only an update will know is judged by the update.
        *({key: UNKNOWN} for key in ("privileged", "capabilities", "securityOpts", "user", "readOnly", "pidMode")),
        *({key: UNKNOWN} for key in ("devices", "mounts", "volumes", "sysctls", "tmpfs", "groupAdds")),
        {"capabilities": {"drops": UNKNOWN, "adds": UNKNOWN}},
        {"securityOpts": [UNKNOWN]},
    ],
    ids=str,
)
def test_what_is_in_order_passes(changes: Props) -> None:
    assert judge(container(**changes)) == []


def test_a_one_shot_may_be_root_and_hand_over_files() -> None:
    adds: Props = {"capabilities": {"drops": ["ALL"], "adds": ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"]}}
    files: Props = {"uploads": [{"file": "/run/secrets/key", "content": "x", "permissions": "0400"}]}
    assert judge(container(**ONE_SHOT, **adds, **files)) == []
    more: Props = {"capabilities": {"drops": ["ALL"], "adds": ["NET_ADMIN"]}}
    assert rules_of(judge(container(**ONE_SHOT, **more))) == {"no-added-capability"}


@pytest.mark.parametrize("changes", [{"restart": "always"}, {"mustRun": True}, {"networkMode": "bridge"}], ids=str)
def test_what_runs_on_or_has_a_network_is_no_one_shot(changes: Props) -> None:
    assert {"no-root-user", "read-only-root"} <= rules_of(judge(container(**(ONE_SHOT | changes))))


GOOD_SERVICE: Final[Props] = {"user": "1000:1000", "readOnly": True, "capDrops": ["ALL"]}


def test_a_swarm_service_is_judged_as_well() -> None:
    found = rules_of(judge(swarm(**GOOD_SERVICE), SERVICE)) & RULES
    assert found == set()
    cases: list[tuple[str, Props]] = [
        ("no-root-user", {"user": "root"}),
        ("read-only-root", {"readOnly": False}),
        ("drop-all-capabilities", {"capDrops": ["NET_RAW"]}),
        ("no-added-capability", {"capAdds": ["SYS_ADMIN"]}),
        ("no-sensitive-host-path", bind("/etc")),
        ("no-shared-propagation", bind("/srv/x", bindOptions={"propagation": "shared"})),
        ("no-unlisted-sysctl", {"sysctl": {"kernel.shmmax": "1"}}),
    ]
    for rule, changes in cases:
        assert rules_of(judge(swarm(**(GOOD_SERVICE | changes)), SERVICE)) & RULES == {rule}
    hosted = swarm(**GOOD_SERVICE)
    assert isinstance(hosted["taskSpec"], dict)
    for key in ("name", "id"):
        hosted["taskSpec"]["networksAdvanceds"] = [{key: "host"}]
        assert rules_of(judge(hosted, SERVICE)) & RULES == {"no-host-network"}
    contexts: list[Props] = [{"disable": True}, {"type": "spc_t"}]
    for context in contexts:
        loose = swarm(**GOOD_SERVICE, privileges={"seLinuxContext": context})
        assert rules_of(judge(loose, SERVICE)) & RULES == {"no-unconfined-profile"}


@pytest.mark.parametrize("device", ["/etc", "/var/lib/docker", "/srv/../boot", "etc", "./root/.ssh", ".", "~/../etc"])
def test_a_volume_that_binds_the_host_is_refused(device: str) -> None:
    bound = volume(driverOpts={"type": "none", "o": "bind", "device": device})
    assert {"no-sensitive-host-path", "no-engine-socket"} & rules_of(judge(bound, VOLUME, name="volume-data"))
    remote = volume(driverOpts={"type": "nfs", "o": "addr=192.0.2.1", "device": device})
    assert "no-sensitive-host-path" not in rules_of(judge(remote, VOLUME, name="volume-data"))


@pytest.mark.parametrize(
    "options",
    [
        {"type": "ext4", "device": "/dev/sda1", "o": "rw"},
        {"type": "proc", "device": "proc"},
        {"type": "Devtmpfs", "device": "x"},
        {"type": "overlay", "device": "overlay", "o": "lowerdir=/etc:/opt/empty"},
        {"type": "cgroup2", "device": "cgroup2"},
    ],
    ids=str,
)
def test_a_volume_that_mounts_the_hosts_devices_or_kernel_is_refused(options: Props) -> None:
    found = rules_of(judge(volume(driverOpts=options), VOLUME, name="volume-data"))
    assert "no-sensitive-host-path" in found


@pytest.mark.parametrize("flags", ["bind,rshared", "bind, shared", "RSLAVE,bind"])
def test_a_volume_that_passes_mounts_on_is_refused(flags: str) -> None:
    bound = volume(driverOpts={"type": "none", "o": flags, "device": "/srv/media"})
    assert "no-shared-propagation" in rules_of(judge(bound, VOLUME, name="volume-data"))


def test_an_exception_is_for_looking_only() -> None:
    entry: Props = {"resource": "sonarr", "value": "/sys", "reason": "it reads there", "until": "2999-01-01"}
    assert judge(container(**bind("/sys")), config={"exceptions": [entry]}) == []
    (left,) = judge(container(**bind("/sys", readOnly=False)), config={"exceptions": [entry]})
    assert "Its exception does not go that far" in left.message


KEYS: Final = (
    "privileged", "capabilities", "securityOpts", "readOnly", "user", "groupAdds", "networkMode", "networksAdvanced",
    "pidMode", "devices", "mounts", "volumes", "sysctls", "tmpfs", "uploads", "taskSpec",
)  # fmt: skip


@pytest.mark.parametrize(
    "junk", [None, 7, 1.5, True, "x", [], {}, [None], [[]], {"x": None}, [7, "y"], UNKNOWN], ids=str
)
def test_junk_raises_nothing(junk: Json) -> None:
    for key in KEYS:
        for kind in (CONTAINER, SERVICE, VOLUME):
            judge(container(**{key: junk}), kind, rules=hardening.RULES)


@pytest.mark.parametrize("choice", CHOICES)
def test_the_declared_platform_passes(choice: str) -> None:
    assert [one.message for one in judged(declared(choice), hardening.RULES).violations] == []


def test_an_exception_for_one_capability_is_none_for_another() -> None:
    entry: Props = {"resource": "vpn", "value": "NET_ADMIN", "reason": "it makes the tunnel", "until": "2999-01-01"}
    adds: Props = {"capabilities": {"drops": ["ALL"], "adds": ["CAP_NET_ADMIN"]}}
    more: Props = {"capabilities": {"drops": ["ALL"], "adds": ["CAP_NET_ADMIN", "SYS_ADMIN"]}}
    assert judge(container(**adds), name="vpn", config={"exceptions": [entry]}) == []
    (left,) = judge(container(**more), name="vpn", config={"exceptions": [entry]})
    assert "capabilities.adds[1]" in left.message
