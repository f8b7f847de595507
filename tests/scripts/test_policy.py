"""scripts/run policy: stack files, previews and states are checked without engine, passphrase, secrets or Docker.

The files in checked/ are what the engine (CLI 3.259) wrote of tests/policies/programs/checked-as-json, less what
tells of the machine and the time; tests/integration/test_policy_json.py makes new ones.
"""

from __future__ import annotations

import copy
import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from components import host
from components.settings.load import PLACEHOLDER
from policies import config as pack
from policies.rules import RULES
from policies.rules.props import UNKNOWN
from policies.rules.rule import Stack
from scripts import declared, policy
from scripts.console import UserError
from scripts.paths import ROOT
from tests.components.stacks import built

RECORDED: Final = Path(__file__).with_name("checked")
TODAY: Final = datetime.now(UTC).date()
GOOD: Final = (ROOT / "Pulumi.dev.yaml").read_text(encoding="utf-8")

Tree = dict[str, "Tree"] | list["Tree"] | str | int | bool | None


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No user, no engine, no host: what would ask one fails the test."""
    monkeypatch.setenv("NEXUS_STATE", str(tmp_path / "state"))
    for name in ("STACK", "NEXUS_CALLED_IN", "PULUMI_CONFIG", "PULUMI_CONFIG_SECRET_KEYS", "NEXUS_ROOT"):
        monkeypatch.delenv(name, raising=False)

    def asked(*_: object) -> None:
        raise AssertionError("the host was asked")

    monkeypatch.setattr(host, "gather", asked)
    monkeypatch.setattr(host, "listeners", asked)
    monkeypatch.setattr(declared, "of_stack", of_stack_once)


of_stack: Final = declared.of_stack
_declared: Final[dict[tuple[str, str], Stack]] = {}


def of_stack_once(root: Path, name: str, file: Path) -> Stack:
    """The program takes a second to run; what it declares by the same settings is kept, what it says is not."""
    key = (name, file.read_text(encoding="utf-8"))
    if PLACEHOLDER in key[1]:
        return of_stack(root, name, file)
    if key not in _declared:
        _declared[key] = of_stack(root, name, file)
    return _declared[key]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The command's status and output."""
    status = policy.main(arguments)
    return status, capsys.readouterr().out


def with_exemptions(monkeypatch: pytest.MonkeyPatch, folder: Path, *lines: str) -> None:
    """The pack with these exemptions instead of its own: RULE RESOURCE UNTIL each."""
    file = folder / "policies" / "config.yaml"
    file.parent.mkdir()
    text = "development-stacks: [dev]\nexemptions:\n"
    for line in lines:
        rule, resource, until = line.split()
        text += f"  - {{rule: {rule}, resource: {resource}, reason: needed for this test, until: {until}}}\n"
    file.write_text(text, encoding="utf-8")
    monkeypatch.setattr(pack, "FILE", file)


def json_of(name: str) -> dict[str, Tree]:
    """One of the files, as a tree."""
    tree: dict[str, Tree] = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
    return tree


def lines_of(text: str, title: str) -> list[str]:
    """The lines below a title."""
    _, found, rest = text.partition(f"{title}:\n")
    assert found, text
    return rest.partition("\n\n")[0].splitlines()


class TestStackFiles:
    @pytest.mark.parametrize("file", sorted(ROOT.glob("Pulumi.*.yaml")), ids=lambda file: str(file.name))
    def test_every_stack_is_checked_and_passes(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        name = file.name.split(".")[1]
        status = policy.main(["--stack", name])
        told = capsys.readouterr()
        text = told.out
        assert status == 0, text
        example = (
            f"{file.name}: is a template; checked with examples in place of CHANGE-ME in nexus:edge.domain, "
            "nexus:storage.data, nexus:vpn.provider, nexus:vpn.addresses\n"
        )
        assert (example in told.err) is (name in ("prod", "staging"))
        assert "violations:\n" not in text
        (last,) = re.findall(r"^policy: stack (\S+): (\d+) rules run, (\d+) resources checked: 0 violations.*; .* s$",
                             text, flags=re.MULTILINE)  # fmt: skip
        assert last[:2] == (name, str(len(RULES)))
        assert int(last[2]) > 80
        used = lines_of(text, "exemptions in use")
        assert any("cadvisor-socket-proxy-container  mounts[0].source" in line for line in used)
        assert all(re.search(r"  review by \d{4}-\d\d-\d\d  .{10}", line) for line in used), "day and reason"

    def test_checked_is_what_the_program_declares(self) -> None:
        found = declared.of_stack(ROOT, "dev", ROOT / "Pulumi.dev.yaml")
        assert {one.name for one in found.resources} == {one.name for one in built("dev").resources}
        assert {one.name for one in found.resources if one.protect} == {
            one.name for one in built("dev").resources if one.protect
        }
        sonarr = next(one for one in found.of("Container") if one.name == "sonarr-container")
        expected = built("dev", stack="dev").of("Container")["sonarr-container"].inputs
        assert sonarr.props == expected
        assert sonarr.urn.startswith("urn:pulumi:dev::nexus::")
        assert sonarr.urn.endswith("$docker:index/container:Container::sonarr-container")
        assert sonarr.sources == built("dev").of("Container")["sonarr-container"].sources

    def test_the_users_own_copy_is_in_force(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        copy_ = tmp_path / "state" / "stacks" / "dev" / "Pulumi.dev.yaml"
        copy_.parent.mkdir(parents=True)
        copy_.write_text(GOOD.replace("transcode-mb: 256", "transcode-mb: 1"), encoding="utf-8")
        with pytest.raises(UserError, match=r"nexus:jellyfin\.transcode-mb"):
            policy.main(["--stack", "dev"])
        # A file that is named wins over it.
        assert run(capsys, "--stack-file", str(ROOT / "Pulumi.dev.yaml"))[0] == 0

    def test_a_bad_setting_is_a_message(self, tmp_path: Path) -> None:
        file = tmp_path / "x.yaml"
        file.write_text("config: {nexus:vpn: {type: embedded}, nexus:networks: {pool: 8.8.0.0/16}}", encoding="utf-8")
        with pytest.raises(UserError, match=r"nexus:networks\.pool: must be a private range"):
            policy.main(["--stack-file", str(file)])

    def test_what_the_program_refuses_is_a_message(self, tmp_path: Path) -> None:
        file = tmp_path / "x.yaml"
        file.write_text("config: {nexus:vpn: {type: embedded}, nexus:images: {lock: /no/lock}}", encoding="utf-8")
        with pytest.raises(UserError, match="/no/lock"):
            policy.main(["--stack-file", str(file)])

    def test_secrets_are_made_up(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "x.yaml"
        text = GOOD + "  nexus:tls-key: {secure: 'v1:cannot:beread'}\nencryptionsalt: v1:of:another\n"
        file.write_text(text, encoding="utf-8")
        assert run(capsys, "--stack-file", str(file))[0] == 0
        for one in declared.of_stack(ROOT, "dev", file).resources:
            assert "beread" not in str(one.props)

    @pytest.mark.parametrize("docker", ["", "  nexus:docker: {image-store: containerd}\n", '  nexus:docker: "{}"\n'])
    def test_the_sockets_group_is_made_up(self, tmp_path: Path, docker: str) -> None:
        file = tmp_path / "x.yaml"
        file.write_text(GOOD + docker, encoding="utf-8")
        found = declared.of_stack(ROOT, "dev", file)
        proxy = next(one for one in found.resources if one.name == "cadvisor-socket-proxy-container")
        assert proxy.props["groupAdds"] == [str(declared.SOCKET_GID)]

    def test_a_stack_without_a_file(self) -> None:
        with pytest.raises(UserError, match="there is no such stack file"):
            policy.main(["--stack", "nosuch"])

    def test_a_violation_fails(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with_exemptions(monkeypatch, tmp_path)
        status, text = run(capsys, "--stack", "dev")
        assert status == 1
        told = lines_of(text, "violations")
        at = told.index("  no-engine-socket (severity critical, docs/policies.md#no-engine-socket)")
        assert sorted(line.partition(" is a container ")[0] for line in told[at + 1 : at + 3]) == [
            "    Container cadvisor-socket-proxy-container: mounts[0].source",
            "    Container guard-socket-proxy-container: mounts[0].source",
        ]
        assert told[at + 3].startswith("    what to do: Remove the bind")
        assert re.search(r" [1-9]\d* violations?, ", text.splitlines()[-1])

    def test_a_mistake_in_the_configuration_is_a_message(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        with_exemptions(monkeypatch, tmp_path, "no-such-rule web 2026-12-01")
        with pytest.raises(
            UserError, match=r"policies/config\.yaml: exemptions\.0\.rule: there is no rule no-such-rule"
        ):
            policy.main(["--stack", "dev"])


class TestExemptions:
    PROXY: Final = "no-engine-socket cadvisor-socket-proxy-container"

    def test_one_whose_review_is_overdue_fails_and_still_holds(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = pack.FILE.read_text(encoding="utf-8")
        file = tmp_path / "policies" / "config.yaml"
        file.parent.mkdir()
        monkeypatch.setattr(pack, "FILE", file)
        yesterday = TODAY - timedelta(days=1)
        for day, expected in ((TODAY, 0), (yesterday, 1)):
            file.write_text(re.sub(r"until: \S+", f"until: {day}", text), encoding="utf-8")
            status, shown = run(capsys)
            assert status == expected, shown
            assert ": 0 violations, " in shown
        lines = lines_of(shown, "exemptions to review")
        assert len(lines) == len(pack.read(file).exemptions) > 0
        assert all(f"review was due by {yesterday}" in line for line in lines)
        assert any(" exemptions.0 (no-engine-socket, cadvisor-socket-proxy-container): " in line for line in lines)
        assert f"review by {yesterday} (overdue)" in shown
        # What `up` shows of it: a line of the file for each, and no rule that refuses.
        (warned,) = shown.partition("exemption-review (severity low")[2].split("what to do")[:1]
        said = f"exemptions[0] (no-engine-socket) is an exemption whose review was due by {yesterday}"
        assert f"cadvisor-socket-proxy-container: {said}" in warned

    def test_one_that_holds_passes_and_is_listed(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        guard = "no-engine-socket guard-socket-proxy-container"
        wanted = (f"{one} {TODAY}" for one in (self.PROXY, guard, "no-engine-socket other"))
        with_exemptions(monkeypatch, tmp_path, *wanted)
        _, text = run(capsys)
        (used,) = (line for line in lines_of(text, "exemptions in use") if self.PROXY.split()[1] in line)
        cells = [
            self.PROXY.replace(" ", "  "),
            "mounts[0].source",
            f"review by {TODAY} (0 days left)",
            "needed for this test",
        ]
        assert used.split() == "  ".join(cells).split()
        assert "no-engine-socket (severity" not in text
        (unused,) = lines_of(text, "exemptions that this stack does not need")
        assert "no-engine-socket  other" in unused

    def test_a_near_end_is_pointed_out(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for days, told in ((policy.SOON, f"({policy.SOON} days left)"), (policy.SOON + 1, "")):
            folder = tmp_path / str(days)
            folder.mkdir()
            with_exemptions(monkeypatch, folder, f"{self.PROXY} {TODAY + timedelta(days=days)}")
            _, text = run(capsys)
            assert ("days left" in text) is bool(told)
            assert told in text


WEB: Final = {
    # place, rule
    ("mounts[0].source", "no-engine-socket"),
    ("envs[1]", "no-literal-secret"),
    ("labels[0].value (password)", "no-literal-secret"),
}


def told_of_web(text: str) -> set[tuple[str, str]]:
    """Place and rule of each violation of `web` by the two rules that the program is about."""
    found: set[tuple[str, str]] = set()
    rule = ""
    for line in lines_of(text, "violations"):
        if heading := re.fullmatch(r"  (\S+) \(severity .*\)", line):
            rule = heading[1]
        place = re.match(r"    Container web: (\S+(?: \(\w+\))?) ", line)
        if place and rule in ("no-engine-socket", "no-literal-secret"):
            found.add((place[1], rule))
    return found


class TestPreviews:
    def test_a_preview_is_checked(self, capsys: pytest.CaptureFixture[str]) -> None:
        status, text = run(capsys, "--preview", str(RECORDED / "preview.json"))
        assert status == 1
        assert told_of_web(text) == WEB
        assert f"policy: stack dev: {len(RULES)} rules run, 3 resources checked" in text
        assert "swordfish" not in text

    def test_one_that_leaves_things_out_is_not_checked_as_a_whole(self, capsys: pytest.CaptureFixture[str]) -> None:
        status, text = run(capsys, "--preview", str(RECORDED / "partial.json"))
        assert status == 1
        assert told_of_web(text) == WEB
        whole = [rule for rule in RULES if rule.validate_stack is not None]
        assert f"2 unchanged resources not in this preview, so {len(whole)} rules about the whole stack" in text
        assert f"{len(RULES) - len(whole)} rules run, 1 resource checked" in text

    def test_what_goes_is_not_checked(self) -> None:
        tree = json_of("preview")
        steps = tree["steps"]
        assert isinstance(steps, list)
        before = policy.of_preview(json.dumps(tree), "x")[0]
        for operation in ("delete", "delete-replaced"):
            gone = copy.deepcopy(tree)
            assert isinstance(gone["steps"], list)
            last = gone["steps"][-1]
            assert isinstance(last, dict)
            last["op"] = operation
            after = policy.of_preview(json.dumps(gone), "x")[0]
            assert len(after.resources) == len(before.resources) - 1

    def test_a_replacement_is_checked_once(self) -> None:
        tree = json_of("preview")
        assert isinstance(tree["steps"], list)
        again = copy.deepcopy(tree["steps"][-1])
        assert isinstance(again, dict)
        tree["steps"].append({**again, "op": "replace"})
        found = policy.of_preview(json.dumps(tree), "x")[0]
        assert len({one.urn for one in found.resources}) == len(found.resources) == 3

    def test_stdin(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO((RECORDED / "preview.json").read_text(encoding="utf-8")))
        assert run(capsys, "--preview", "-")[0] == 1


class TestStates:
    def test_a_state_is_checked_without_its_passphrase(self, capsys: pytest.CaptureFixture[str]) -> None:
        status, text = run(capsys, "--state", str(RECORDED / "state.json"))
        assert status == 1
        assert told_of_web(text) == WEB
        assert f"policy: stack dev: {len(RULES)} rules run, 4 resources checked" in text

    def test_secrets_in_clear_stay_hidden(self) -> None:
        text = (RECORDED / "state.json").read_text(encoding="utf-8")
        clear = re.sub(r'"ciphertext": "[^"]*"', '"plaintext": "\\\\"swordfish\\\\""', text)
        assert clear.count("swordfish") == text.count("ciphertext") > 0
        assert policy.of_state(clear, "x") == policy.of_state(text, "x")

    def test_of_a_file_with_secrets_only_that_is_not_known(self) -> None:
        found = policy.of_state((RECORDED / "state.json").read_text(encoding="utf-8"), "x")
        web = next(one for one in found.resources if one.name == "web")
        assert web.props["uploads"] == [{"content": UNKNOWN, "file": "/run/secrets/key"}]
        assert web.props["envs"] == ["LOG_LEVEL=info", "[secret]", "REGION=north"]
        assert web.sources["labels"] == {"password"}
        assert web.sources["mounts"] == frozenset()

    @pytest.mark.parametrize("mark", ["delete", "pendingReplacement"])
    def test_what_waits_for_its_deletion_is_not_checked(self, mark: str) -> None:
        tree = json_of("state")
        before = policy.of_state(json.dumps(tree), "x")
        deployment = tree["deployment"]
        assert isinstance(deployment, dict)
        resources = deployment["resources"]
        assert isinstance(resources, list)
        last = resources[-1]
        assert isinstance(last, dict)
        last[mark] = True
        assert len(policy.of_state(json.dumps(tree), "x").resources) == len(before.resources) - 1

    def test_the_stacks_name_is_that_of_the_file(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        file = tmp_path / "state.json"
        text = (RECORDED / "state.json").read_text(encoding="utf-8").replace("urn:pulumi:dev:", "urn:pulumi:prod:")
        file.write_text(text, encoding="utf-8")
        assert "policy: stack prod: " in run(capsys, "--stack", "dev", "--state", str(file))[1]


def wrong(change: Callable[[dict[str, Tree]], object], name: str = "preview") -> str:
    """One of the files with something changed."""
    tree = json_of(name)
    change(tree)
    return json.dumps(tree)


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("--preview", "{", "is not one JSON document: line 1"),
        ("--preview", '{"sequence": 1}\n{"sequence": 2}', "is not one JSON document: line 2"),
        ("--preview", "[]", "is JSON, but not an object"),
        ("--preview", "{}", "is not the output of `pulumi preview --json`: it has no list of steps"),
        ("--preview", '{"steps": []}', "has no resources: nothing to check"),
        ("--preview", wrong(lambda tree: tree, "state"), "that is a stack export: use --state"),
        ("--state", wrong(lambda tree: tree), "that is a preview: use --preview"),
        ("--state", "{}", "is not the output of `pulumi stack export`: it has no deployment"),
        ("--state", '{"deployment": {}}', "has no resources: nothing to check"),
        ("--state", '{"deployment": {"resources": [{}]}}', "has a resource without urn and type"),
        (
            "--preview",
            wrong(lambda tree: tree.update(diagnostics=[{"severity": "error", "message": "x"}])),
            "is of a preview that failed",
        ),
        (
            "--state",
            wrong(lambda tree: tree, "state").replace("urn:pulumi:dev:", "urn:pulumi:prod:", 1),
            "has resources of several stacks",
        ),
    ],
)
def test_a_wrong_file_is_a_message(tmp_path: Path, option: str, text: str, said: str) -> None:
    file = tmp_path / "given.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        policy.main([option, str(file)])
    assert str(caught.value).startswith(f"{file}: ")
    assert said in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        policy.main(["--state", str(tmp_path / "none.json")])
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        policy.main(["--state", str(tmp_path / "bytes")])


def test_both_at_once_is_refused() -> None:
    with pytest.raises(SystemExit):
        policy.main(["--state", "a", "--preview", "b"])
