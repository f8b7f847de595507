"""Download one file: resumes, checks a SHA-256, and renames last. For scripts/toolchain/from-release.sh only.

    download.py URL FILE [SHA256]

Exit status 10: the address cannot be reached, or has no such file. Status 3: the content is not what the checksum
says, and nothing was left behind. The one line that says why goes to stdout, progress to stderr.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import queue
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

CONNECT_S = 8  # for name look-up and all addresses of a host together
SILENCE_S = 20  # between two pieces of a download under way
TRIES = 3
PIECE = 1 << 18
NOT_HERE = 10
BAD_CHECKSUM = 3


class UnreachableError(Exception):
    """The server cannot be reached, has no such file, or stopped sending."""


class ChecksumError(Exception):
    """The content is not what it should be."""


def main(arguments: list[str]) -> int:
    """Download and say what came of it."""
    url, target, *rest = arguments
    try:
        download(url, Path(target), sha256=rest[0] if rest else None)
    except UnreachableError as error:
        print(error)
        return NOT_HERE
    except ChecksumError as error:
        print(error)
        return BAD_CHECKSUM
    return 0


def download(url: str, target: Path, *, sha256: str | None) -> None:
    """Put ``url`` at ``target``. What an earlier run left in ``target.part`` is taken up where a checksum guards it.

    Raises UnreachableError (what has come so far stays for the next run) or ChecksumError (nothing stays).
    """
    part = target.with_name(target.name + ".part")
    if sha256 is None:
        part.unlink(missing_ok=True)
    resumed = part.exists()
    _complete(url, part)
    found = _sha256(part)
    if sha256 not in (None, found) and resumed:
        # The earlier piece may have been of another file: once more from nothing, before checking the server.
        part.unlink()
        _complete(url, part)
        found = _sha256(part)
    if sha256 not in (None, found):
        part.unlink()
        raise ChecksumError(f"bad checksum of {url}: SHA-256 is {found}, expected {sha256}; nothing was installed")
    part.rename(target)


def _complete(url: str, part: Path) -> None:
    for attempt in range(1, TRIES + 1):
        have = part.stat().st_size if part.exists() else 0
        try:
            return _append(url, part, have)
        except urllib.error.HTTPError as error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
                part.unlink()
                continue
            raise UnreachableError(f"{url}: HTTP {error.code} {error.reason}") from None
        except (OSError, http.client.HTTPException) as error:
            # Nothing came at all: the network is not there, and trying again only costs time.
            got = part.stat().st_size if part.exists() else 0
            if attempt == TRIES or got == have:
                host = urlsplit(url).netloc
                reason = error.reason if isinstance(error, urllib.error.URLError) else error
                raise UnreachableError(f"{host} cannot be reached: {reason}") from None
    raise UnreachableError(f"{url}: the server accepts no range it was asked for")


def _append(url: str, part: Path, have: int) -> None:
    request = urllib.request.Request(url)  # noqa: S310  (the address is pinned or the user's own)
    if have:
        request.add_header("Range", f"bytes={have}-")
    with _open(request) as response:
        if have and response.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        done, shown = have, time.monotonic()
        with part.open("ab" if have else "wb") as file:
            while piece := response.read1(PIECE):
                file.write(piece)
                done += len(piece)
                if time.monotonic() - shown > 5:
                    shown = time.monotonic()
                    of = f" of {total >> 20}" if total else ""
                    print(f"toolchain: {done >> 20}{of} MiB", file=sys.stderr, flush=True)
        if total is not None and done != total:
            raise ConnectionError(f"broke off after {done} of {total} bytes")


def _open(request: urllib.request.Request) -> http.client.HTTPResponse:
    """Connect in a thread, for neither the look-up of a name nor the attempts at its addresses can be cut short."""
    answers: queue.SimpleQueue[http.client.HTTPResponse | OSError] = queue.SimpleQueue()

    def connect() -> None:
        try:
            answers.put(urllib.request.urlopen(request, timeout=SILENCE_S))  # noqa: S310
        except OSError as error:
            answers.put(error)

    threading.Thread(target=connect, daemon=True).start()
    try:
        answer = answers.get(timeout=CONNECT_S)
    except queue.Empty:
        raise TimeoutError(f"no answer within {CONNECT_S} s") from None
    if isinstance(answer, OSError):
        raise answer
    return answer


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
    sys.exit(os.EX_TEMPFAIL)
