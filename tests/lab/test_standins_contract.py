"""The stand-ins for the *arr servers answer as the published API descriptions say.

The descriptions lie beside the checkout, in ../shared/openapi; where they are absent, the tests that need them are
skipped. What the stand-ins do beyond that is tested in Go, in their own folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import pytest

from components.arr import ARRS, Arr
from components.images import PINS
from lab.images.catalogue import kind

pytestmark = pytest.mark.tools

ROOT: Final = Path(__file__).resolve().parents[2]
DESCRIPTIONS: Final = ROOT.parent / "shared" / "openapi"
KEY: Final = "0123456789abcdef0123456789abcdef"

TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}


@dataclass(frozen=True, kw_only=True)
class App:
    """One *arr server and where its description lies."""

    arr: Arr

    @property
    def name(self) -> str:
        return self.arr.name

    @property
    def api(self) -> str:
        return f"/api/{self.arr.api}"

    @property
    def description(self) -> str:
        return f"{self.name}-{self.arr.api}.json"


APPS: Final = tuple(App(arr=one) for one in ARRS)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An HTTP answer; `body` is None where it is not JSON."""

    code: int
    body: object
    headers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Running:
    """A stand-in that answers."""

    app: App
    address: str
    data: Path

    def ask(self, path: str, *, key: str = KEY, body: object = None) -> Answer:
        """GETs the path, or POSTs `body` as JSON where there is one."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data=data)
        request.add_header("Content-Type", "application/json")
        if key:
            request.add_header("X-Api-Key", key)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return answer(response.status, response.read(), dict(response.headers))
        except urllib.error.HTTPError as error:
            with error:
                return answer(error.code, error.read(), dict(error.headers))


def answer(code: int, content: bytes, headers: Mapping[str, str]) -> Answer:
    """An answer with its body read as JSON."""
    try:
        body: object = json.loads(content)
    except ValueError:
        body = None
    return Answer(code=code, body=body, headers=headers)


def mapping(value: object) -> Mapping[str, object]:
    """The value, which has to be a JSON object."""
    assert isinstance(value, dict), value
    return value


def problems(value: object, schema: Mapping[str, object], schemas: Mapping[str, object], where: str) -> list[str]:
    """What in the value the schema does not allow; the part of OpenAPI which the descriptions use.

    A property that the schema does not name is a problem too: the stand-in must not invent any.
    """
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return problems(value, mapping(schemas[reference.rsplit("/", 1)[1]]), schemas, where)
    if value is None:
        return [] if schema.get("nullable") is True else [f"{where} is null"]
    kind = schema.get("type")
    assert isinstance(kind, str), f"{where}: the schema has no type: {schema}"
    if not isinstance(value, TYPES[kind]) or (kind in {"integer", "number"} and isinstance(value, bool)):
        return [f"{where} is no {kind}: {value!r}"]
    found: list[str] = []
    allowed = schema.get("enum")
    if isinstance(allowed, list) and value not in allowed:
        found.append(f"{where} is none of {allowed}: {value!r}")
    if schema.get("format") == "date-time" and not is_time(str(value)):
        found.append(f"{where} is no date-time: {value!r}")
    if isinstance(value, list):
        for index, item in enumerate(value):
            found += problems(item, mapping(schema["items"]), schemas, f"{where}[{index}]")
    if isinstance(value, dict):
        properties = mapping(schema["properties"])
        for name, item in value.items():
            if name in properties:
                found += problems(item, mapping(properties[name]), schemas, f"{where}.{name}")
            else:
                found.append(f"{where}.{name} is not described")
    return found


def is_time(value: str) -> bool:
    """Whether the value is an RFC 3339 time with an offset."""
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def describe(app: App, path: str, method: str, code: int) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """The schema of one answer, and all schemas of its description."""
    file = DESCRIPTIONS / app.description
    if not file.is_file():
        pytest.skip(f"no published API description at {file}")
    tree = mapping(json.loads(file.read_text(encoding="utf-8")))
    schemas = mapping(mapping(tree["components"])["schemas"])
    described = mapping(mapping(mapping(mapping(tree["paths"])[path])[method])["responses"])
    content = mapping(mapping(described[str(code)])["content"])
    return mapping(mapping(content["application/json"])["schema"]), schemas


def assert_described(
    running: Running, path: str, got: Answer, *, method: str = "get", described_as: int = 200
) -> None:
    """The answer's body fits the description, and the stand-in is named in its header."""
    assert got.headers["X-Nexus-Stand-In"] == running.app.name
    schema, schemas = describe(running.app, path, method, described_as)
    assert problems(got.body, schema, schemas, "answer") == []


@pytest.fixture(scope="session")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-ins' binary, built once; without Go skipped, or failed where CI=true promises one."""
    if shutil.which("go") is None:
        message = "Go is not on PATH; install it (https://go.dev/dl) to test the stand-ins"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    path = tmp_path_factory.mktemp("standins") / "nexus-standin"
    done = subprocess.run(
        ["go", "build", "-o", str(path), "."],
        cwd=ROOT / "lab" / "standins",
        env={**os.environ, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return path


def free_port() -> int:
    """A TCP port of the loopback interface that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def started(binary: Path, app: App, data: Path, key: str = KEY) -> Iterator[Running]:
    """Runs one stand-in as its container does, and ends it."""
    port = free_port()
    prefix = app.name.upper()
    environment = {
        f"{prefix}__SERVER__PORT": str(port),
        f"{prefix}__SERVER__BINDADDRESS": "127.0.0.1",
        f"{prefix}__AUTH__APIKEY": key,
        f"{prefix}__AUTH__METHOD": "External",
    }
    log = data / "stand-in.log"
    program = data / app.name.capitalize()
    program.symlink_to(binary)
    program.with_name(f"{program.name}.json").write_text(kind(app.arr), encoding="utf-8")
    with (
        log.open("wb") as output,
        subprocess.Popen([program, "--nobrowser", f"--data={data}"], env=environment, stdout=output) as process,
    ):
        try:
            running = Running(app=app, address=f"http://127.0.0.1:{port}", data=data)
            deadline = time.monotonic() + 10
            while True:
                assert process.poll() is None, log.read_text(encoding="utf-8")
                try:
                    running.ask("/ping")
                    break
                except urllib.error.URLError:
                    assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
                    time.sleep(0.02)
            yield running
        finally:
            process.terminate()
            assert process.wait(timeout=10) == 0


@pytest.fixture(params=APPS, ids=lambda app: app.name)
def running(request: pytest.FixtureRequest, binary: Path, tmp_path: Path) -> Iterator[Running]:
    """Each stand-in in turn, with a data folder of its own."""
    with started(binary, request.param, tmp_path) as one:
        yield one


@pytest.fixture(params=[one for one in APPS if one.arr.api == "v3"], ids=lambda app: app.name)
def library(request: pytest.FixtureRequest, binary: Path, tmp_path: Path) -> Iterator[Running]:
    """Those whose root folders are played."""
    with started(binary, request.param, tmp_path) as one:
        yield one


class TestAnswers:
    def test_ping(self, running: Running) -> None:
        got = running.ask("/ping", key="")
        assert (got.code, got.body) == (200, {"status": "OK"})
        assert_described(running, "/ping", got)

    def test_ping_of_a_broken_database(self, running: Running) -> None:
        (running.data / f"{running.app.name}.stand-in.json").write_text("{", encoding="utf-8")
        got = running.ask("/ping", key="")
        assert got.code == 500
        assert_described(running, "/ping", got)

    def test_status(self, running: Running) -> None:
        path = f"{running.app.api}/system/status"
        got = running.ask(path)
        assert got.code == 200
        assert_described(running, path, got)
        status = mapping(got.body)
        assert (status["appName"], status["authentication"]) == (running.app.name.capitalize(), "external")
        assert (status["branch"], status["appData"]) == ("stand-in", str(running.data))
        schema, schemas = describe(running.app, path, "get", 200)
        described = mapping(mapping(schemas[str(schema["$ref"]).rsplit("/", 1)[1]])["properties"])
        assert set(described) - set(status) <= {"sqliteVersion"}, "the real server sends every property"

    def test_health(self, running: Running) -> None:
        path = f"{running.app.api}/health"
        got = running.ask(path)
        assert (got.code, got.body) == (200, [])
        assert_described(running, path, got)

    @pytest.mark.parametrize("app", APPS, ids=lambda app: app.name)
    def test_health_with_a_short_key(self, binary: Path, tmp_path: Path, app: App) -> None:
        with started(binary, app, tmp_path, key="short") as one:
            path = f"{app.api}/health"
            got = one.ask(path, key="short")
            assert isinstance(got.body, list)
            assert [mapping(issue)["source"] for issue in got.body] == ["ApiKeyValidationCheck"]
            assert_described(one, path, got)

    def test_downloadclient(self, running: Running) -> None:
        path = f"{running.app.api}/downloadclient"
        got = running.ask(path)
        assert (got.code, got.body) == (200, [])
        assert_described(running, path, got)

    def test_rootfolder(self, library: Running, tmp_path: Path) -> None:
        path = f"{library.app.api}/rootfolder"
        media = tmp_path / "media"
        (media / "A Title").mkdir(parents=True)
        made = library.ask(path, body={"path": str(media)})
        assert made.code == 201
        # The descriptions name 200 alone; the real servers answer 201 Created.
        assert_described(library, path, made, method="post")
        listed = library.ask(path)
        assert isinstance(listed.body, list)
        # The disk is everybody's: how much of it is free changes between two answers.
        assert [{**mapping(one), "freeSpace": 0} for one in listed.body] == [{**mapping(made.body), "freeSpace": 0}]
        assert_described(library, path, listed)
        assert library.ask(path, body={"path": str(media)}).code == 400
        assert library.ask(path, body={"path": str(tmp_path / "absent")}).code == 400
        shutil.rmtree(media)
        gone = library.ask(path)
        assert isinstance(gone.body, list)
        assert mapping(gone.body[0])["accessible"] is False
        assert_described(library, path, gone)
        health = library.ask(f"{library.app.api}/health")
        assert isinstance(health.body, list)
        assert [mapping(issue)["type"] for issue in health.body] == ["error"]
        assert_described(library, f"{library.app.api}/health", health)

    @pytest.mark.parametrize("key", ["", "wrong"])
    def test_no_api_without_the_key(self, running: Running, key: str) -> None:
        got = running.ask(f"{running.app.api}/system/status", key=key)
        assert (got.code, got.headers["X-Nexus-Stand-In"]) == (401, running.app.name)
        assert running.ask(f"{running.app.api}/system/status?apikey={KEY}", key="").code == 200

    def test_log_names_the_stand_in_and_not_the_key(self, running: Running) -> None:
        log = (running.data / "stand-in.log").read_text(encoding="utf-8")
        assert f"STAND-IN for {running.app.name}: not the real server" in log.splitlines()[0]
        kept = [
            path
            for path in running.data.rglob("*")
            if path.is_file() and not path.is_symlink() and KEY in path.read_text(encoding="utf-8")
        ]
        assert kept == []


class TestVersions:
    def test_are_those_of_the_pinned_images(self, binary: Path) -> None:
        done = subprocess.run([binary, "versions"], capture_output=True, text=True, check=True)
        played = mapping(json.loads(done.stdout))
        tags = {key: PINS[key].split("@", 1)[0].rsplit(":", 1)[1] for key in played}
        assert played == tags


class TestTheCheckItself:
    """A check that finds nothing wrong must be able to find something."""

    SCHEMAS: Final[Mapping[str, object]] = {
        "Kind": {"type": "string", "enum": ["a", "b"]},
        "Thing": {
            "type": "object",
            "properties": {
                "id": {"type": "integer"},
                "kind": {"$ref": "#/components/schemas/Kind"},
                "at": {"type": "string", "format": "date-time"},
                "note": {"type": "string", "nullable": True},
                "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}},
            },
        },
    }

    def find(self, value: object) -> list[str]:
        return problems(value, {"$ref": "#/components/schemas/Thing"}, self.SCHEMAS, "t")

    def test_takes_what_fits(self) -> None:
        thing = {"id": 1, "kind": "a", "at": "2026-01-01T00:00:00Z", "note": None, "parts": [{"id": 2}]}
        assert self.find(thing) == []

    @pytest.mark.parametrize(
        ("value", "problem"),
        [
            ({"id": "1"}, "t.id is no integer"),
            ({"id": True}, "t.id is no integer"),
            ({"id": None}, "t.id is null"),
            ({"kind": "c"}, "t.kind is none of"),
            ({"at": "yesterday"}, "t.at is no date-time"),
            ({"at": "2026-01-01T00:00:00"}, "t.at is no date-time"),
            ({"parts": {}}, "t.parts is no array"),
            ({"parts": [{"id": 1}, {"other": 1}]}, "t.parts[1].other is not described"),
            ([], "t is no object"),
        ],
    )
    def test_finds_what_does_not(self, value: object, problem: str) -> None:
        found = self.find(value)
        assert len(found) == 1
        assert re.match(re.escape(problem), found[0])
