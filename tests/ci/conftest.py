"""A GitHub on loopback: comments, issues and pull requests of one repository, as far as scripts/ci asks for them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from scripts.ci.github import ACTOR, Api

REPOSITORY = "someone/nexus"
TOKEN = "a-token"

Entry = dict[str, object]


@dataclass
class FakeGitHub:
    """What the repository has, and every request that changed something."""

    comments: list[Entry] = field(default_factory=list)
    issues: list[Entry] = field(default_factory=list)
    pulls: list[Entry] = field(default_factory=list)
    changes: list[tuple[str, str, Entry]] = field(default_factory=list)
    labels: list[Entry] = field(default_factory=list)
    tips: dict[str, str] = field(default_factory=dict)
    refuse: int = 0
    url: str = ""

    @property
    def api(self) -> Api:
        return Api(url=self.url, repository=REPOSITORY, token=TOKEN)

    def answer(self, method: str, place: str, query: dict[str, list[str]], given: Entry) -> object:
        rest = place.partition("/")[2]
        if method != "GET":
            self.changes.append((method, place, given))
        if place.startswith("git/ref/heads/"):
            return {
                "ref": place.removeprefix("git/"),
                "object": {"sha": self.tips[place.removeprefix("git/ref/heads/")]},
            }
        if method == "GET":
            page, size = int(query["page"][0]), int(query["per_page"][0])
            if place.endswith("/comments"):
                found = self.comments
            elif place.endswith("/pulls"):
                found = self.pulls
            elif place.endswith("/labels"):
                found = self.labels
            else:
                found = [
                    one
                    for one in self.issues
                    if one["state"] == query["state"][0] and one["user"] == {"login": query["creator"][0]}
                ]
            return found[(page - 1) * size : page * size]
        if method == "DELETE":
            self.labels[:] = [one for one in self.labels if one["name"] != unquote(rest.rpartition("/")[2])]
            return self.labels
        if rest.startswith("comments/"):
            (one,) = [one for one in self.comments if str(one["id"]) == rest.removeprefix("comments/")]
            return one.update(given) or one
        if rest.endswith("/comments"):
            self.comments.append(comment(len(self.comments) + 1000, str(given["body"])))
            return self.comments[-1]
        if rest:
            (one,) = [one for one in self.issues if str(one["number"]) == rest]
            return one.update(given) or one
        self.issues.append(issue(len(self.issues) + 1, str(given["body"]), title=str(given["title"])))
        return self.issues[-1]


def comment(number: int, body: str, author: str = ACTOR) -> Entry:
    return {"id": number, "body": body, "user": {"login": author}, "html_url": f"https://github.test/c/{number}"}


def issue(number: int, body: str, *, title: str = "", author: str = ACTOR, state: str = "open") -> Entry:
    return {
        "number": number,
        "title": title,
        "body": body,
        "state": state,
        "user": {"login": author},
        "html_url": f"https://github.test/i/{number}",
    }


@pytest.fixture
def fake() -> Iterator[FakeGitHub]:
    ours = FakeGitHub()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            parts = urlsplit(self.path)
            given = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
            status, said = 200, object()
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                status, said = 401, {"message": "Bad credentials"}
            elif ours.refuse:
                status, said = ours.refuse, {"message": "Resource not accessible by integration"}
            else:
                prefix = f"/repos/{REPOSITORY}/"
                assert parts.path.startswith(prefix)
                said = ours.answer(self.command, parts.path.removeprefix(prefix), parse_qs(parts.query), given)
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815 - the names that the server looks for

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        ours.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield ours
        server.shutdown()
        thread.join()
