"""Public benchmarks, item by item: what each asks for in our own words, and why no rule covers it where none does.

`docs/policies.md` shows them with the rules that name them in their `benchmarks` (scripts/docs.py). An item has rules
or a reason, never both and never neither (tests/scripts/test_docs.py). What does not belong here: which rule covers
what; the rule says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from policies.rules.rule import Rule


@dataclass(frozen=True, kw_only=True)
class Item:
    """One item. `reason` says why no rule covers it; empty where rules do."""

    id: str
    title: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A benchmark: its name with its version, where it is published, and its items in order."""

    name: str
    url: str
    items: tuple[Item, ...]


def _item(name: str, title: str, reason: str = "") -> Item:
    return Item(id=name, title=title, reason=reason)


_HOST: Final = "A matter of the host, which the program does not manage"
_DAEMON: Final = "An option of the engine itself, which the program does not manage"
_UPSTREAM: Final = "Decided where the image is built; this project builds none and takes pinned ones"
_BY_HAND: Final = "A habit of people at the command line; nothing that a program declares"

CIS: Final = Benchmark(
    name="CIS Docker Benchmark 1.7.0",
    url="https://www.cisecurity.org/benchmark/docker",
    items=(
        _item(
            "CIS 1.1.1", "A file system of its own for the engine's data", f"{_HOST}; `make doctor` shows the room"
        ),
        _item("CIS 1.1.2", "Only trusted people may use the engine", _HOST),
        _item("CIS 1.1.3-18", "The kernel's audit log watches the engine's program, sockets and files", _HOST),
        _item("CIS 1.2.1", "A hardened host", _HOST),
        _item("CIS 1.2.2", "An engine that is kept up to date", f"{_HOST}; `make doctor` names its version"),
        _item("CIS 2.1", "The engine runs without root", _DAEMON),
        _item("CIS 2.2", "No traffic between containers on the default bridge"),
        _item("CIS 2.3", "The engine logs at level info", _DAEMON),
        _item("CIS 2.4", "The engine may set the firewall's rules", f"{_DAEMON}; networks need it to work at all"),
        _item(
            "CIS 2.5", "No registry without TLS", f"{_DAEMON}; the registries that images may come from are a rule"
        ),
        _item("CIS 2.6", "No aufs storage driver", f"{_DAEMON}; the engine no longer has it"),
        _item("CIS 2.7", "TLS with client certificates where the engine is reached over TCP"),
        _item("CIS 2.8", "Default limits on processes and files", f"{_DAEMON}; each container has limits of its own"),
        _item("CIS 2.9", "User namespaces", f"{_DAEMON}; that a container leaves them is refused: 5.31"),
        _item("CIS 2.10", "The default control group", f"{_DAEMON}; a container's own is judged: 5.25"),
        _item("CIS 2.11", "The base device keeps its size", f"{_DAEMON}, and of a storage driver that is gone"),
        _item("CIS 2.12", "An authorization plugin decides on the engine's requests", _DAEMON),
        _item("CIS 2.13", "Logs are kept and do not fill the disk"),
        _item("CIS 2.14", "No new privileges by default", f"{_DAEMON}; demanded of each container instead: 5.26"),
        _item("CIS 2.15", "Containers outlive a restart of the engine", _DAEMON),
        _item("CIS 2.16", "No userland proxy", _DAEMON),
        _item("CIS 2.17", "A seccomp profile of one's own, where needed", f"{_DAEMON}; the default is kept: 5.22"),
        _item("CIS 2.18", "No experimental features", _DAEMON),
        _item("CIS 3.1-24", "Owners and modes of the engine's files and sockets", _HOST),
        _item("CIS 4.1", "Images run as a user of their own"),
        _item("CIS 4.2", "Images come from trusted places"),
        _item("CIS 4.3", "Nothing needless in an image", _UPSTREAM),
        _item("CIS 4.4", "Images are scanned and rebuilt when flaws are known"),
        _item(
            "CIS 4.5",
            "Content trust",
            "A digest says which content is meant, and the engine checks it; signatures of tags add nothing to it",
        ),
        _item("CIS 4.6", "Images have a health check"),
        _item("CIS 4.7", "No update alone in a layer", _UPSTREAM),
        _item(
            "CIS 4.8", "No setuid and setgid programs", f"{_UPSTREAM}; without new privileges they do nothing: 5.26"
        ),
        _item("CIS 4.9", "COPY and not ADD", _UPSTREAM),
        _item("CIS 4.10", "No secret is written where an image or a declaration shows it"),
        _item("CIS 4.11", "Only verified packages in an image", _UPSTREAM),
        _item("CIS 4.12", "Signed artefacts are checked", _UPSTREAM),
        _item("CIS 5.1", "No Swarm where none is needed", f"{_DAEMON}; no Swarm service is on the list of types"),
        _item("CIS 5.2", "AppArmor stays on"),
        _item("CIS 5.3", "SELinux stays on"),
        _item("CIS 5.4", "Few kernel capabilities"),
        _item("CIS 5.5", "No privileged container"),
        _item("CIS 5.6", "No sensitive directory of the host is mounted"),
        _item(
            "CIS 5.7", "No SSH server in a container", "Which programs an image starts cannot be seen in its inputs"
        ),
        _item("CIS 5.8", "No port of the host below 1024 is given away needlessly"),
        _item("CIS 5.9", "Only the needed ports are open"),
        _item("CIS 5.10", "No container on the host's network"),
        _item("CIS 5.11", "Memory is limited"),
        _item("CIS 5.12", "Processor time is shared out"),
        _item("CIS 5.13", "The root file system is read-only"),
        _item("CIS 5.14", "A published port names the address it is bound to"),
        _item(
            "CIS 5.15",
            "Restarts are bounded",
            "An app of a home comes back by itself, also after a reboot; one that restarts in a loop is an alert",
        ),
        _item("CIS 5.16", "No container in the host's process namespace"),
        _item("CIS 5.17", "No container in the host's IPC namespace"),
        _item("CIS 5.18", "No device of the host is handed over needlessly"),
        _item(
            "CIS 5.19", "Default limits are raised only where needed", "Limits here only lower what the engine gives"
        ),
        _item("CIS 5.20", "Mounts do not propagate to the host"),
        _item("CIS 5.21", "No container in the host's UTS namespace", "The provider of containers has no such input"),
        _item("CIS 5.22", "The seccomp profile stays on"),
        _item("CIS 5.23", "No privileged `docker exec`", _BY_HAND),
        _item("CIS 5.24", "No `docker exec` as root", _BY_HAND),
        _item(
            "CIS 5.25", "Containers stay in the engine's control group", "A container's inputs cannot name another"
        ),
        _item("CIS 5.26", "A process gains no privileges"),
        _item("CIS 5.27", "Health is checked while a container runs"),
        _item("CIS 5.28", "The image that runs is the one that was meant"),
        _item("CIS 5.29", "Processes are limited in number"),
        _item("CIS 5.30", "Nothing is on the default bridge"),
        _item("CIS 5.31", "No container leaves the user namespace for the host's"),
        _item("CIS 5.32", "The engine's socket is mounted nowhere"),
    ),
)

OWASP: Final = Benchmark(
    name="OWASP Docker Security Cheat Sheet",
    url="https://cheatsheetseries.owasp.org/cheatsheets/Docker_Security_Cheat_Sheet.html",
    items=(
        _item("OWASP 0", "Host and engine are kept up to date", f"{_HOST}; `make doctor` names the engine's version"),
        _item("OWASP 1", "The engine's socket is exposed to nobody, containers included"),
        _item("OWASP 2", "A user of its own"),
        _item("OWASP 3", "Only the capabilities that are needed"),
        _item("OWASP 4", "No new privileges inside a container"),
        _item("OWASP 5", "Containers meet only those they must"),
        _item("OWASP 6", "seccomp, AppArmor and SELinux stay on"),
        _item("OWASP 7", "Memory, processors, processes, files and restarts are limited"),
        _item("OWASP 8", "File systems and volumes are read-only where they can be"),
        _item("OWASP 9", "Images are looked through for known flaws before they are used"),
        _item("OWASP 10", "The engine logs at level info", _DAEMON),
        _item("OWASP 11", "The engine runs without root", _DAEMON),
        _item("OWASP 12", "Secrets are handed over as files, never as text in a declaration"),
        _item("OWASP 13", "It is known where images come from and what is in them"),
    ),
)

BENCHMARKS: Final = (CIS, OWASP)


def covering(item: Item, rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """The rules that name an item."""
    return tuple(rule for rule in rules if item.id in rule.benchmarks)
