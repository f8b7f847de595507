"""Paths and file systems of a usual Linux host: what `..`, links and /proc make of them. No rule is here."""

import re
from collections.abc import Mapping
from typing import Final

# Symbolic links of a usual Linux host, followed before a `..` after them is.
_LINKS: Final[Mapping[tuple[str, ...], tuple[str, ...]]] = {
    ("var", "run"): ("run",),
    ("var", "lock"): ("run", "lock"),
}
_PROCESS: Final = re.compile(r"self|thread-self|\d+")
_PROCESS_DOORS: Final = frozenset({"cwd", "fd", "map_files"})

NETWORKED: Final = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|sshfs|fuse\.\S+|ceph(?:fs)?|glusterfs|9p|davfs\d?|rclone|lustre|beegfs|afs|gfs2|ocfs2|"
    r"orangefs|curlftpfs|moosefs",
    re.IGNORECASE,
)
"""Types of file systems that lie on another host: a path there is none of this one."""


def clean(path: str, *, links: bool) -> tuple[str, ...] | None:
    """The components of `path` without `.`, `..` and known links; None where it goes through a process's doors."""
    done: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part == "..":
            del done[-1:]
            continue
        done.append(part)
        if links:
            done = list(_LINKS.get(tuple(done), tuple(done)))
        if len(done) > 2 and done[0] == "proc" and _PROCESS.fullmatch(done[1]):
            if done[-1] == "root":
                done = []
            elif done[-1] in _PROCESS_DOORS:
                return None
    if len(done) in (2, 3, 4) and done[0] == "proc" and _PROCESS.fullmatch(done[1]) and done[2:3] in ([], ["task"]):
        return None
    return _LINKS.get(tuple(done[:2]), tuple(done[:2])) + tuple(done[2:])
