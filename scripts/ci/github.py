"""GitHub's REST API, as far as the workflows need it: one comment or issue, found by its marker and edited in place.

The marker is an HTML comment that begins the text; further down it counts for nothing, since a preview shows values
of a pull request. Only what the workflow's own account wrote is ever taken for ours: anybody can put a marker into a
comment. What does not belong here: what the text says.
"""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

from scripts.console import UserError
from scripts.wire import table

ACTOR: Final = "github-actions[bot]"
"""Who GITHUB_TOKEN writes as."""

LIMIT: Final = 65_536
"""Characters that GitHub takes in one comment or issue."""

_TIMEOUT: Final = 30.0
_PAGES: Final = 100
"""Pages of a hundred after which looking for a marker is given up."""
_REPOSITORY: Final = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, kw_only=True)
class Api:
    """One repository at one GitHub, as one account."""

    url: str
    repository: str
    token: str
    actor: str = ACTOR

    def comment(self, number: int, marker: str, body: str) -> str:
        """Makes the comment on pull request `number` that has `marker`, or edits it; its address.

        Raises UserError where GitHub refuses.
        """
        text = _marked(marker, body)
        place = f"issues/{number}/comments"
        for one in self._all(place):
            if self._ours(one, marker):
                return _address(self._call("PATCH", f"issues/comments/{one['id']}", {"body": text}))
        return _address(self._call("POST", place, {"body": text}))

    def issue(self, marker: str, title: str, body: str) -> str:
        """Makes the open issue that has `marker`, or edits it; its address. Raises UserError where GitHub refuses."""
        wanted = {"title": title, "body": _marked(marker, body)}
        if (one := self._issue(marker)) is not None:
            return _address(self._call("PATCH", f"issues/{one['number']}", wanted))
        return _address(self._call("POST", "issues", wanted))

    def close(self, marker: str, body: str) -> str:
        """Closes the open issue that has `marker` with a last comment; its address, or nothing where none is open.

        Raises UserError where GitHub refuses.
        """
        if (one := self._issue(marker)) is None:
            return ""
        self._call("POST", f"issues/{one['number']}/comments", {"body": body})
        return _address(
            self._call("PATCH", f"issues/{one['number']}", {"state": "closed", "state_reason": "completed"})
        )

    def has_label(self, commit: str, label: str) -> bool:
        """Whether a pull request that brought `commit` to the default branch has `label`.

        Only a branch of this repository counts: a fork's was never previewed. Raises UserError where GitHub refuses.
        """
        for pull in self._all(f"commits/{commit}/pulls"):
            base, head = table(pull.get("base")), table(pull.get("head"))
            home = table(base.get("repo"))
            if (
                pull.get("merged_at")
                and home.get("full_name") == table(head.get("repo")).get("full_name") == self.repository
                and base.get("ref") == home.get("default_branch")
                and label in _labels(pull.get("labels"))
            ):
                return True
        return False

    def unlabel(self, number: int, label: str) -> bool:
        """Takes a label from a pull request; False where it is not there. Raises UserError where GitHub refuses."""
        place = f"issues/{number}/labels"
        if label not in _labels(list(self._all(place))):
            return False
        self._call("DELETE", f"{place}/{quote(label, safe='')}")
        return True

    def tip(self, branch: str) -> str:
        """The commit that a branch is at. Raises UserError where GitHub refuses."""
        answer = self._call("GET", f"git/ref/heads/{quote(branch)}")
        found = answer.get("object") if isinstance(answer, dict) else None
        if not isinstance(found, dict) or not found.get("sha"):
            raise UserError(f"{self.url}: answered with no commit for branch {branch}")
        return str(found["sha"])

    def _issue(self, marker: str) -> Mapping[str, object] | None:
        for one in self._all("issues", state="open", creator=self.actor):
            if "pull_request" not in one and self._ours(one, marker):
                return one
        return None

    def _ours(self, one: Mapping[str, object], marker: str) -> bool:
        user, body = one.get("user"), one.get("body")
        author = user.get("login") if isinstance(user, dict) else None
        return author == self.actor and isinstance(body, str) and body.startswith(_hidden(marker))

    def _all(self, place: str, **query: str) -> Iterator[Mapping[str, object]]:
        for page in range(1, _PAGES + 1):
            found = self._call("GET", f"{place}?{urlencode({**query, 'per_page': 100, 'page': page})}")
            if not isinstance(found, list):
                raise UserError(f"{self.url}: answered {place} with something that is not a list")
            yield from (one for one in found if isinstance(one, dict))
            if len(found) < 100:
                return
        raise UserError(f"{self.repository}: more than {_PAGES * 100} entries in {place}")

    def _call(self, method: str, place: str, given: Mapping[str, object] | None = None) -> object:
        request = urllib.request.Request(  # noqa: S310 - the scheme is checked in from_environment
            f"{self.url}/repos/{self.repository}/{place}",
            method=method,
            data=None if given is None else json.dumps(given).encode(),
            headers={
                "Authorization": f"Bearer {self.token}",
                "Accept": "application/vnd.github+json",
                "Content-Type": "application/json",
                "X-GitHub-Api-Version": "2022-11-28",
            },
        )
        what = f"{method} {place.partition('?')[0]}"
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310 - as above
                read: object = json.load(answer)
                return read
        except urllib.error.HTTPError as error:
            with error:
                said = error.read(300).decode(errors="replace")
            raise UserError(f"GitHub refused {what} (status {error.code}): {said}{_hint(error.code)}") from None
        except (OSError, ValueError) as error:
            raise UserError(f"{self.url}: {what} failed ({error})") from None


def from_environment() -> Api:
    """The API that the variables of a workflow run name. Raises UserError where one is missing or wrong."""
    missing = [name for name in ("GITHUB_REPOSITORY", "GITHUB_TOKEN") if not os.environ.get(name)]
    if missing:
        raise UserError(f"{' and '.join(missing)}: must be set, as in a workflow run (docs/ci.md)")
    url = os.environ.get("GITHUB_API_URL") or "https://api.github.com"
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname == "127.0.0.1"):
        raise UserError("GITHUB_API_URL: must begin with https://; the token goes there")
    repository = os.environ["GITHUB_REPOSITORY"]
    if not _REPOSITORY.fullmatch(repository):
        raise UserError("GITHUB_REPOSITORY: must be owner/name")
    return Api(url=url.rstrip("/"), repository=repository, token=os.environ["GITHUB_TOKEN"])


def run_address() -> str:
    """The page of this workflow run, or nothing outside of one."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    given = [os.environ.get(name, "") for name in names]
    return f"{given[0]}/{given[1]}/actions/runs/{given[2]}" if all(given) else ""


def _hidden(marker: str) -> str:
    return f"<!-- {marker} -->"


def _marked(marker: str, body: str) -> str:
    """The text with its marker first. Raises UserError where it is longer than GitHub takes."""
    text = body if body.startswith(_hidden(marker)) else f"{_hidden(marker)}\n{body}"
    if len(text) > LIMIT:
        raise UserError(f"the text has {len(text)} characters, and GitHub takes {LIMIT}: the renderer has to cut it")
    return text


def _address(answer: object) -> str:
    return str(answer.get("html_url", "")) if isinstance(answer, dict) else ""


def _labels(given: object) -> list[object]:
    return [table(one).get("name") for one in given] if isinstance(given, list) else []


def _hint(status: int) -> str:
    hints = {
        401: "the token is not valid",
        403: "the job's permissions lack it",
        404: "no such thing, or no permission",
    }
    return f" ({hints[status]})" if status in hints else ""
