"""Family `hardening`: a container has what it needs and no more.

Judged are `docker.Container` and, where the property exists there, the container of a Swarm service. One-shots
(containers.py) have no network and end by themselves: they may be root with a writable root and hand over files.
Not seen from here: what an image's own user is (so the user must be written), what a seccomp or AppArmor profile
given by name contains, and a symbolic link of the host's own making.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Final

from pulumi_policy import Severity

from policies.rules.configuration import texts
from policies.rules.containers import Spec, items, known, mounts, number, on, specs, table
from policies.rules.paths import NETWORKED, clean
from policies.rules.props import UNKNOWN, Path, Value
from policies.rules.rule import Config, Finding, Judge, Resource, Rule, texts_setting
from policies.rules.sockets import reach

_OWN_ONLY: Final = "Give it its own network and let the others reach it there"


def _each(judge: Callable[[Spec, Config], Iterator[Finding]]) -> Judge:
    """`judge` for whatever container a resource declares."""

    def judged(resource: Resource, config: Config) -> Iterator[Finding]:
        for spec in specs(resource):
            yield from judge(spec, config)

    return judged


def _names(value: Value) -> frozenset[str]:
    return frozenset(_capability(one) for one in items(value) if isinstance(one, str))


def _capability(text: str) -> str:
    return text.strip().upper().removeprefix("CAP_")


def _privileged(spec: Spec, _config: Config) -> Iterator[Finding]:
    if on(spec.props.get("privileged")):
        yield Finding(
            path=(*spec.path, "privileged"),
            problem="is on: the container has every capability and every device of the host",
            remedy="Take it out and add the one capability or device that is needed",
        )


def _capabilities(spec: Spec, key: str, swarm_key: str) -> tuple[Path, Value]:
    """Where a container's capabilities of one kind are, and what is there."""
    if spec.swarm:
        return (*spec.path, swarm_key), spec.props.get(swarm_key)
    holder = spec.props.get("capabilities")
    if holder is UNKNOWN:
        return ("capabilities",), UNKNOWN
    return ("capabilities", key), table(holder).get(key)


def _added(spec: Spec, config: Config) -> Iterator[Finding]:
    allowed = _names(config.get("allowed-one-shot" if spec.short else "allowed"))
    path, value = _capabilities(spec, "adds", "capAdds")
    for index, one in enumerate(items(value)):
        if isinstance(one, str) and _capability(one) not in allowed:
            yield Finding(
                path=(*path, index),
                problem="adds a capability that is not on the short list",
                value=_capability(one),
                remedy="Do without it, or make it an exception with a reason in policies/config.yaml",
            )


def _dropped(spec: Spec, _config: Config) -> Iterator[Finding]:
    path, value = _capabilities(spec, "drops", "capDrops")
    if known(value) and "ALL" not in _names(value) and UNKNOWN not in items(value):
        yield Finding(
            path=path,
            problem="does not drop ALL capabilities",
            remedy='Drop ALL and add back what is needed: drops ["ALL"]',
        )


def _options(spec: Spec) -> Iterator[tuple[Path, str]]:
    for index, one in enumerate(items(spec.props.get("securityOpts"))):
        if isinstance(one, str):
            yield (*spec.path, "securityOpts", index), _option(one)


def _option(text: str) -> str:
    """One spelling for `no-new-privileges:true` and ` No-New-Privileges=true`."""
    return re.sub(r"^([\w-]+):", r"\1=", re.sub(r"\s", "", text).casefold())


def _new_privileges(spec: Spec, _config: Config) -> Iterator[Finding]:
    given = spec.props.get("securityOpts")
    if spec.swarm or not known(given) or UNKNOWN in items(given):
        return
    found = [text for _, text in _options(spec) if text.partition("=")[0] == "no-new-privileges"]
    # The engine takes the last one it reads; one that is off beside one that is on is a contradiction.
    if not found or any(text.partition("=")[2] not in ("", "true", "1", "t") for text in found):
        yield Finding(
            path=(*spec.path, "securityOpts"),
            problem="lets a process gain privileges by a setuid file",
            remedy="Give no-new-privileges:true",
        )


# What may stand in `securityOpts` besides no-new-privileges; everything else confines less than the engine's own.
_CONFINES: Final = re.compile(
    r"apparmor=(?!unconfined$)[\w./-]+|seccomp=(?:builtin|/[\w./-]+)|writable-cgroups=false|"
    r"label=(?:level=|level:)[\w:,.]+|label=type:container_\w+|label=type=container_\w+"
)


def _unconfined(spec: Spec, _config: Config) -> Iterator[Finding]:
    remedy = "Take it out: the engine's own profile is then in force"
    for path, text in _options(spec):
        if text.partition("=")[0] == "no-new-privileges" or _CONFINES.fullmatch(text) or _strict(text):
            continue
        problem = "switches off what confines the container's system calls or files"
        yield Finding(path=path, problem=problem, remedy=remedy)
    if spec.swarm:
        context = table(table(spec.props.get("privileges")).get("seLinuxContext"))
        if on(context.get("disable")) or context.get("type") not in (None, "", UNKNOWN):
            path = (*spec.path, "privileges", "seLinuxContext")
            yield Finding(path=path, problem="switches SELinux's labels off or to another type", remedy=remedy)


def _strict(option: str) -> bool:
    """Whether it is a seccomp profile written out that refuses what it does not name."""
    name, _, profile = option.partition("=")
    if name != "seccomp" or not profile.startswith("{"):
        return False
    try:
        data = json.loads(profile)
    except (ValueError, RecursionError):
        return False
    action = data.get("defaultaction") if isinstance(data, dict) else None
    return isinstance(action, str) and action.startswith(("scmp_act_errno", "scmp_act_kill"))


def _extensions(resource: Resource, _config: Config) -> Iterator[Finding]:
    if resource.kind in ("Plugin", "BuildxBuilder"):
        yield Finding(
            path=(),
            problem="runs beside the engine with the host's rights, whatever its containers may do",
            remedy="Do without it: volumes are local, and images come from a registry",
        )


def _writable(spec: Spec, _config: Config) -> Iterator[Finding]:
    value = spec.props.get("readOnly")
    if known(value) and value is not True and not spec.short:
        yield Finding(
            path=(*spec.path, "readOnly"),
            problem="is not on: the container can change its own programs",
            remedy="Set it, and give a volume or a sized tmpfs for what has to be written",
        )


def _root(spec: Spec, _config: Config) -> Iterator[Finding]:
    value = spec.props.get("user")
    if spec.short or not known(value):
        return
    user = value.partition(":")[0].strip() if isinstance(value, str) else ""
    numeric = re.fullmatch(r"\+?0*([1-9]\d*)", user)
    if numeric is None:
        yield Finding(
            path=(*spec.path, "user"),
            problem="is root, or is no number: names mean what the image says",
            remedy="Give a numeric user and group that are not 0, such as 1000:1000",
        )


_HOST_NAMESPACES: Final = ("pidMode", "ipcMode", "usernsMode", "cgroupnsMode")


def _namespaces(spec: Spec, _config: Config) -> Iterator[Finding]:
    for key in _HOST_NAMESPACES:
        value = spec.props.get(key)
        text = value.strip().casefold() if isinstance(value, str) else ""
        shared = key in ("pidMode", "ipcMode") and (text.startswith("container:") or text == "shareable")
        if text == "host" or shared:
            yield Finding(
                path=(*spec.path, key),
                problem="shares a namespace with the host or with another container",
                remedy="Take it out: the container then has its own",
            )


def _host_network(resource: Resource, _config: Config) -> Iterator[Finding]:
    mode = resource.props.get("networkMode")
    if isinstance(mode, str) and mode.strip().casefold() == "host":
        yield Finding(path=("networkMode",), problem="is the host's own network", remedy=_OWN_ONLY)
    holders: list[tuple[Path, Value]] = [(("networksAdvanced",), resource.props.get("networksAdvanced"))]
    task = table(resource.props.get("taskSpec"))
    holders += [(("taskSpec", key), task.get(key)) for key in ("networksAdvanceds", "networks")]
    for path, value in holders:
        for index, item in enumerate(items(value)):
            names = [item] if isinstance(item, str) else [table(item).get(key) for key in ("name", "id")]
            if any(isinstance(name, str) and name.strip().casefold() == "host" for name in names):
                yield Finding(path=(*path, index), problem="is the host's own network", remedy=_OWN_ONLY)


def _devices(spec: Spec, config: Config) -> Iterator[Finding]:
    allowed = texts(config.get("allowed"))
    for index, item in enumerate(items(spec.props.get("devices"))):
        path = table(item).get("hostPath") if not isinstance(item, str) else item.partition(":")[0]
        if not isinstance(path, str):
            continue
        parts = clean(path, links=True)
        plain = "/" + "/".join(parts or ())
        if parts is None or not any(fnmatchcase(plain, pattern) for pattern in allowed):
            yield Finding(
                path=(*spec.path, "devices", index),
                problem="is a device of the host that is neither a GPU nor a tunnel",
                remedy="Take it out; a GPU or a tunnel is on the list in this rule's settings",
            )
    requests = [table(item) for item in items(spec.props.get("deviceRequests"))]
    drivers = [str(one.get("driver") or "").strip().casefold() for one in requests]
    gpus = str(spec.props.get("gpus") or "").casefold()
    if "cdi" in drivers or re.search(r"driver\s*=\s*cdi", gpus):
        yield Finding(
            path=(*spec.path, "deviceRequests" if "cdi" in drivers else "gpus"),
            problem="takes whatever a device specification (CDI) of the host names",
            remedy="Name the GPU's own driver, or its device in `devices`",
        )
    if items(spec.props.get("deviceCgroupRules")):
        yield Finding(
            path=(*spec.path, "deviceCgroupRules"),
            problem="lets the container make devices of its own",
            remedy="Name each device in `devices`",
        )


_SENSITIVE: Final = (
    "bin", "boot", "dev", "etc", "home", "host_mnt", "lib", "lib32", "lib64", "nix", "private", "proc", "root", "run",
    "sbin", "snap", "sys", "sysroot", "usr", "users", "var/lib/cloud", "var/lib/containerd", "var/lib/containers",
    "var/lib/docker", "var/lib/dpkg", "var/lib/etcd", "var/lib/kubelet", "var/lib/libvirt", "var/lib/lxd",
    "var/lib/rancher", "var/lib/systemd", "var/backups", "var/cache", "var/log", "var/mail", "var/roothome",
    "var/snap", "var/spool",
)  # fmt: skip
# Where people keep media: a directory of a user's own, or a disk that a desktop has mounted; nothing hidden.
_PEOPLES: Final = re.compile(r"(?:home|users)(?:/[^./][^/]*){2,}|run/media(?:/[^./][^/]*){2,}")
# What says the time of day, which many images want to see.
_TIME: Final = re.compile(r"/etc/(?:localtime|timezone)|/usr/share/zoneinfo(?:/[\w/+-]+)?")
_PARENTS: Final = frozenset({(), ("var",), ("var", "lib")})


def _sensitive(path: str) -> bool:
    """Whether a host path is, is in, or holds what the host itself lives by.

    What is or holds an engine's socket is the business of no-engine-socket, which lets less pass.
    """
    if reach(path) is not None:
        return False
    for links in (False, True):
        parts = clean(path.strip().casefold(), links=links)
        if parts is None or parts in _PARENTS:
            return True
        text = "/".join(parts)
        if _PEOPLES.fullmatch(text):
            continue
        if any(text == one or text.startswith(f"{one}/") for one in _SENSITIVE):
            return True
    return False


def _host_paths(resource: Resource, config: Config) -> Iterator[Finding]:
    remedy = "Use a volume, or a directory that is there for this, such as /srv/media"
    problem = "is a path that the host itself lives by"
    for spec in specs(resource):
        for mount in mounts(spec):
            if mount.read_only is True and _TIME.fullmatch(mount.source):
                continue
            if mount.source.startswith(("/", "~", "..")) and _sensitive(mount.source):
                value = "/" + "/".join(clean(mount.source, links=False) or ())
                # An exception is for looking: what writes there changes the host.
                looks = mount.read_only in (True, UNKNOWN)
                yield Finding(path=mount.path, problem=problem, remedy=remedy, value=value, excusable=looks)
    if resource.kind == "Volume":
        yield from _mounted(table(resource.props.get("driverOpts")), problem, remedy)


_HARMLESS: Final = re.compile(rf"tmpfs|{NETWORKED.pattern}", NETWORKED.flags)


def _mounted(options: Mapping[str, Value], problem: str, remedy: str) -> Iterator[Finding]:
    """What the engine mounts for a volume, as root of the host and from its root directory."""
    kind, device, flags = options.get("type"), options.get("device"), options.get("o")
    text = kind.strip().casefold() if isinstance(kind, str) else ""
    bound = text in ("", "none", "bind") or (isinstance(flags, str) and "bind" in flags.casefold())
    if bound and isinstance(device, str) and _sensitive("/" + device.strip().lstrip("~")):
        yield Finding(path=("driverOpts", "device"), problem=problem, remedy=remedy)
    elif not bound and not _HARMLESS.fullmatch(text):
        yield Finding(
            path=("driverOpts", "type"),
            problem="mounts a device, or a file system of the host's kernel",
            remedy="Let the host mount the disk, and bind a directory of it",
        )


def _shared(resource: Resource, _config: Config) -> Iterator[Finding]:
    if resource.kind == "Volume":
        flags = table(resource.props.get("driverOpts")).get("o")
        given = re.split(r"[,\s]+", flags.casefold()) if isinstance(flags, str) else []
        if {"shared", "rshared", "slave", "rslave"} & set(given):
            yield Finding(
                path=("driverOpts", "o"),
                problem="passes mounts on between the volume and the host",
                remedy="Take the propagation out: it is then rprivate",
            )
    for mount in (mount for spec in specs(resource) for mount in mounts(spec)):
        if mount.propagation in ("shared", "rshared", "slave", "rslave"):
            where = mount.path[:-1] if isinstance(mount.path[-1], str) else mount.path
            yield Finding(
                path=where,
                problem="passes mounts on between the container and the host",
                remedy="Take the propagation out: it is then rprivate",
            )


def _sysctls(spec: Spec, config: Config) -> Iterator[Finding]:
    allowed = {one for one in items(config.get("allowed")) if isinstance(one, str)}
    for key in ("sysctls", "sysctl"):
        for name in table(spec.props.get(key)):
            if name.strip().casefold().replace("/", ".") not in allowed:
                yield Finding(
                    path=(*spec.path, key, name),
                    problem="sets a kernel parameter that is not on the list",
                    remedy="Do without it, or add it to this rule's settings in policies/config.yaml",
                )


def _groups(spec: Spec, _config: Config) -> Iterator[Finding]:
    user = spec.props.get("user")
    group = user.partition(":")[2].strip() if isinstance(user, str) else ""
    if group and not re.fullmatch(r"\+?\d+", group):
        yield Finding(
            path=(*spec.path, "user"),
            problem="has a group that is no number: names mean what the image says",
            remedy="Give the group's number",
        )
    for key in ("groupAdds", "groups"):
        for index, one in enumerate(items(spec.props.get(key))):
            text = f"{one:g}" if isinstance(one, int | float) and not isinstance(one, bool) else one
            if isinstance(text, str) and not re.fullmatch(r"\+?0*[1-9]\d*", text.strip()):
                yield Finding(
                    path=(*spec.path, key, index),
                    problem="is root's group, or is no number: names mean what the image says",
                    remedy="Give the numeric group that owns the device or file on the host",
                    value=text,
                )


def _tmpfs(spec: Spec, config: Config) -> Iterator[Finding]:
    most = number(config.get("most")) or 0
    problem, remedy = "has no size, or one without end: it may take all of the host's memory", "Give size=64m, say"
    for target, flags in table(spec.props.get("tmpfs")).items():
        if not isinstance(flags, str):
            continue
        # The engine takes the last one.
        sizes = re.findall(r"(?:^|,)size=([^,]*)", re.sub(r"\s", "", flags).casefold())
        found = re.fullmatch(r"(\d+)([kmg]?)", sizes[-1]) if sizes else None
        size = int(found[1]) * 1024 ** " kmg".index(found[2] or " ") if found else 0
        if not 0 < size <= most * 1024**2:
            yield Finding(path=(*spec.path, "tmpfs", target), problem=problem, remedy=remedy)
    for index, item in enumerate(items(spec.props.get("mounts"))):
        entry = table(item)
        if str(entry.get("type")).strip().casefold() != "tmpfs":
            continue
        options = entry.get("tmpfsOptions")
        given = table(options).get("sizeBytes")
        if known(options) and known(given) and not 0 < (number(given) or 0) <= most * 1024**2:
            yield Finding(path=(*spec.path, "mounts", index, "tmpfsOptions"), problem=problem, remedy=remedy)


# The names that this project gives to the volumes that a seed fills (components/service.py).
_DELIVERED: Final = re.compile(r"(?:^|-)(?:secrets|config-files|secrets-files)$")


def _delivered(spec: Spec, _config: Config) -> Iterator[Finding]:
    if spec.short:
        return
    for mount in mounts(spec):
        if mount.read_only in (True, UNKNOWN):
            continue
        parts = clean(mount.target, links=True) or ()
        there = parts[:2] in (("run", "config"), ("run", "secrets")) or (mount.target and parts in ((), ("run",)))
        if there or (mount.kind == "volume" and _DELIVERED.search(mount.source)):
            yield Finding(
                path=(*mount.path[:-1], "readOnly") if isinstance(mount.path[-1], str) else mount.path,
                problem="lets the app change the configuration or the secrets that it was given",
                remedy="Mount it read-only; the seed container alone writes there",
            )


def _private(spec: Spec, _config: Config) -> Iterator[Finding]:
    for index, item in enumerate(items(spec.props.get("uploads"))):
        mode = table(item).get("permissions")
        if not known(mode) or item is UNKNOWN:
            continue
        private = isinstance(mode, str) and re.fullmatch(r"0?o?0*[0-7]00", mode.strip()) is not None
        if not private:
            yield Finding(
                path=(*spec.path, "uploads", index, "permissions"),
                problem="lets others than the app's own user read the file; without it the provider gives 0644",
                remedy="Give 0400, with the app's user as owner",
            )


RULES: Final = (
    Rule(
        name="no-privileged-container",
        description="No container is privileged: it would be root on the host with one more command.",
        remediation="Remove `privileged`; add the one capability or device that is needed, as an exception.",
        severity=Severity.CRITICAL,
        judge=_each(_privileged),
        benchmarks=("CIS 5.5", "OWASP 3"),
    ),
    Rule(
        name="no-added-capability",
        description="No container gets a capability beyond a short list, since most of them lead to the host's root.",
        remediation="Remove it from `adds`. Where an app cannot work without it, make it an exception with a reason.",
        severity=Severity.HIGH,
        judge=_each(_added),
        settings={
            "allowed": texts_setting("Capabilities that any container may add, without the prefix CAP_."),
            "allowed-one-shot": texts_setting(
                "Capabilities that a one-shot may add, which has no network and ends by itself.",
                ["CHOWN", "DAC_OVERRIDE", "FOWNER"],
            ),
        },
        benchmarks=("CIS 5.4", "OWASP 3"),
    ),
    Rule(
        name="drop-all-capabilities",
        description="Every container drops ALL capabilities and adds back what it needs, so that a new one is seen.",
        remediation='Set `capabilities.drops` to ["ALL"].',
        severity=Severity.HIGH,
        judge=_each(_dropped),
        benchmarks=("CIS 5.4", "OWASP 3"),
    ),
    Rule(
        name="no-new-privileges",
        description="No process of a container can gain privileges that its parent had not, by a setuid file say.",
        remediation="Add `no-new-privileges:true` to `securityOpts`.",
        severity=Severity.HIGH,
        judge=_each(_new_privileges),
        benchmarks=("CIS 5.26", "OWASP 4"),
    ),
    Rule(
        name="no-unconfined-profile",
        description="No container switches off seccomp, AppArmor, SELinux labels or the masking of system paths.",
        remediation="Remove the option; the engine's own profiles are in force then.",
        severity=Severity.CRITICAL,
        judge=_each(_unconfined),
        benchmarks=("CIS 5.2", "CIS 5.3", "CIS 5.22", "OWASP 6"),
    ),
    Rule(
        name="read-only-root",
        description="A container's root file system is read-only, so that what breaks in cannot settle there.",
        remediation="Set `readOnly`, with a volume or a sized tmpfs for what has to be written.",
        severity=Severity.HIGH,
        judge=_each(_writable),
        benchmarks=("CIS 5.13", "OWASP 8"),
    ),
    Rule(
        name="no-root-user",
        description="A container's processes have a numeric user that is not 0, written where a reviewer sees it.",
        remediation="Set `user` to numbers, such as 1000:1000.",
        severity=Severity.HIGH,
        judge=_each(_root),
        benchmarks=("CIS 4.1", "OWASP 2"),
    ),
    Rule(
        name="no-root-group",
        description="A container joins no group by name and not root's: names mean what the image says.",
        remediation="Give the numeric group that owns the device or the file on the host.",
        severity=Severity.MEDIUM,
        judge=_each(_groups),
        benchmarks=("OWASP 2",),
    ),
    Rule(
        name="no-host-network",
        description="No container has the host's own network: it would reach and bind whatever the host can.",
        remediation="Give it networks of the stack; what must be reached from outside goes through the edge.",
        severity=Severity.CRITICAL,
        judge=_host_network,
        benchmarks=("CIS 5.10", "OWASP 5"),
    ),
    Rule(
        name="no-shared-namespace",
        description="No container shares the host's or another container's process, IPC or user namespace.",
        remediation="Remove the mode; the container then has a namespace of its own.",
        severity=Severity.CRITICAL,
        judge=_each(_namespaces),
        benchmarks=("CIS 5.16", "CIS 5.17", "CIS 5.31"),
    ),
    Rule(
        name="no-host-device",
        description="No container gets a device of the host but a GPU's render node and the tunnel.",
        remediation="Remove it from `devices`; a device that an app needs goes on the list in this rule's settings.",
        severity=Severity.HIGH,
        judge=_each(_devices),
        settings={
            "allowed": texts_setting(
                "Devices that a container may have, as shell patterns.",
                ["/dev/net/tun", "/dev/dri/renderD[0-9]*", "/dev/dri/card[0-9]*", "/dev/dri/by-path/*", "/dev/kfd"],
            )
        },
        benchmarks=("CIS 5.18",),
    ),
    Rule(
        name="no-sensitive-host-path",
        description="No container sees what the host itself lives by: /etc, /root, /proc, the engine's data …",
        remediation="Use a volume or a directory that is there for the app.",
        severity=Severity.CRITICAL,
        judge=_host_paths,
        benchmarks=("CIS 5.6", "OWASP 8"),
    ),
    Rule(
        name="no-shared-propagation",
        description="No mount is passed on between a container and the host.",
        remediation="Remove `propagation`: it is rprivate then.",
        severity=Severity.HIGH,
        judge=_shared,
        benchmarks=("CIS 5.20",),
    ),
    Rule(
        name="no-unlisted-sysctl",
        description="No container sets a kernel parameter that nobody has looked at.",
        remediation="Remove it, or add it to the list in this rule's settings.",
        severity=Severity.MEDIUM,
        judge=_each(_sysctls),
        settings={
            "allowed": texts_setting(
                "Kernel parameters that a container may set, those of its own network namespace.",
                ["net.ipv4.ip_forward", "net.ipv4.conf.all.src_valid_mark"],
            )
        },
    ),
    Rule(
        name="sized-tmpfs",
        description="Every tmpfs has a size: without one it may take half of the host's memory.",
        remediation="Add size=…, such as size=64m.",
        severity=Severity.MEDIUM,
        judge=_each(_tmpfs),
        settings={
            "most": {"type": "number", "default": 16384, "description": "Mebibytes that one tmpfs may have, at most."}
        },
        benchmarks=("CIS 5.11",),
    ),
    Rule(
        name="no-engine-extension",
        description="No engine plugin and no builder is declared: each has the host's rights and no rule judges it.",
        remediation="Remove it: use local volumes, and images from a registry.",
        severity=Severity.CRITICAL,
        judge=_extensions,
    ),
    Rule(
        name="read-only-configuration",
        description="An app cannot change the configuration and the secrets that it was given.",
        remediation="Mount /run/config and /run/secrets read-only; the seed container alone writes there.",
        severity=Severity.MEDIUM,
        judge=_each(_delivered),
        benchmarks=("OWASP 8",),
    ),
    Rule(
        name="private-files",
        description="Files that a container is given belong to its own user, and nobody else may read them.",
        remediation='Set `permissions` of the upload to "0400", and `owner` to the app\'s user.',
        severity=Severity.HIGH,
        judge=_each(_private),
        benchmarks=("OWASP 12",),
    ),
)
