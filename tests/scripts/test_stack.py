"""scripts/stack.py: this user's stack file follows the checkout's, keeps what the user set, and never leaks."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from components import reach
from scripts import stack
from scripts.console import UserError
from scripts.paths import Paths
from scripts.stack import StackFiles
from tests.scripts.conftest import DEV, PASSPHRASE, SALT

Tree = dict[str, object]


@pytest.mark.parametrize(
    ("base", "local", "theirs", "merged"),
    [
        pytest.param({}, {}, {"a": 1}, {"a": 1}, id="the first time everything is theirs"),
        pytest.param({"a": 1}, {"a": 1}, {"a": 2}, {"a": 2}, id="what the user left alone follows"),
        pytest.param({"a": 1}, {"a": 9}, {"a": 2}, {"a": 9}, id="what the user changed stays"),
        pytest.param({"a": 1}, {"a": 1}, {}, {}, id="what they removed goes"),
        pytest.param({"a": 1}, {"a": 9}, {}, {"a": 9}, id="what they removed stays where the user changed it"),
        pytest.param({"a": 1}, {}, {"a": 2}, {}, id="what the user removed stays away"),
        pytest.param({}, {"mine": 1}, {"a": 1}, {"a": 1, "mine": 1}, id="what the user added stays"),
        pytest.param(
            {"edge": {"http": 80, "https": 443}},
            {"edge": {"http": 8080, "https": 443}},
            {"edge": {"http": 81, "https": 444, "domain": "x"}},
            {"edge": {"http": 8080, "https": 444, "domain": "x"}},
            id="leaf by leaf within an object",
        ),
        pytest.param(
            {"vpn": {"type": "a"}}, {"vpn": {"type": "a"}, "x": 1}, {}, {"x": 1}, id="a whole section goes with them"
        ),
        pytest.param(
            {"vpn": {"type": "a", "x": 1}},
            {"vpn": {"type": "a", "x": 2}},
            {},
            {"vpn": {"x": 2}},
            id="of a section that goes, the changed leaf stays",
        ),
        pytest.param({"l": [1, 2]}, {"l": [1, 2, 3]}, {"l": [4]}, {"l": [1, 2, 3]}, id="a list is a leaf"),
        pytest.param(
            {}, {"k": {"secure": "mine"}}, {"k": {"secure": "theirs"}}, {"k": {"secure": "mine"}}, id="so is a secret"
        ),
        pytest.param({}, {"images": {}}, {}, {"images": {}}, id="an empty object is a choice"),
        pytest.param(
            {}, {"images": {}}, {"images": {"mirror": "m"}}, {"images": {"mirror": "m"}}, id="and takes what is new"
        ),
        pytest.param(
            {}, {"edge": "text"}, {"edge": {"http": 80}}, {"edge": "text"}, id="the user's wrong type stays"
        ),
    ],
)
def test_merge(base: Tree, local: Tree, theirs: Tree, merged: Tree) -> None:
    assert stack.merge(base, local, theirs) == merged


def test_merging_twice_changes_nothing() -> None:
    theirs: Tree = {"config": {"a": 1, "b": {"c": 2}}}
    local: Tree = {"config": {"a": 5, "b": {"c": 2}, "d": 7}}
    once = stack.merge({"config": {"a": 0}}, local, theirs)
    assert stack.merge(theirs, once, theirs) == once


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def snapshot(folder: Path) -> dict[str, str]:
    return {str(path): path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.is_file()}


def test_the_first_run_makes_files_for_this_user_only_and_none_in_the_checkout(paths: Paths) -> None:
    before = snapshot(paths.root)
    made = stack.prepare(paths, "dev")
    assert snapshot(paths.root) == before
    assert made.config == paths.state / "stacks" / "dev" / "Pulumi.dev.yaml"
    assert made.passphrase == paths.state / "stacks" / "dev" / "passphrase"
    assert mode(made.passphrase) == 0o600
    assert mode(made.config) == 0o600
    assert len(made.passphrase.read_text(encoding="utf-8").strip()) >= 40
    assert stack.read(made.config) == stack.read(paths.root / "Pulumi.dev.yaml")


def test_two_stacks_do_not_share_a_passphrase(paths: Paths) -> None:
    (paths.root / "Pulumi.prod.yaml").write_text(DEV, encoding="utf-8")
    one, other = (stack.prepare(paths, name).passphrase for name in ("dev", "prod"))
    assert one
    assert other
    assert one.read_text(encoding="utf-8") != other.read_text(encoding="utf-8")


def test_a_passphrase_is_never_overwritten(paths: Paths, files: StackFiles) -> None:
    assert files.passphrase
    for _ in range(2):
        stack.prepare(paths, "dev")
        assert files.passphrase.read_text(encoding="utf-8") == PASSPHRASE + "\n"


def test_a_passphrase_that_others_could_read_is_closed_again(
    paths: Paths, files: StackFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    assert files.passphrase
    files.passphrase.chmod(0o644)
    stack.prepare(paths, "dev")
    assert mode(files.passphrase) == 0o600
    assert "was readable by others" in capsys.readouterr().err


def test_the_users_keys_stay_and_the_checkouts_follow(paths: Paths, files: StackFiles) -> None:
    stack.set_value(files, "nexus:edge", {"domain": "localhost", "http-port": 8080})
    shared = paths.root / "Pulumi.dev.yaml"
    shared.write_text(DEV + "  nexus:monitoring:\n    retention: 30d\n", encoding="utf-8")
    stack.prepare(paths, "dev")
    assert stack.values(files) == {
        "nexus:edge": {"domain": "localhost", "http-port": 8080},
        "nexus:vpn": {"type": "embedded"},
        "nexus:monitoring": {"retention": "30d"},
    }
    shared.write_text(DEV, encoding="utf-8")
    stack.prepare(paths, "dev")
    assert "nexus:monitoring" not in stack.values(files)
    assert stack.values(files)["nexus:edge"] == {"domain": "localhost", "http-port": 8080}


def test_a_change_of_the_checkout_that_the_users_own_value_overrules_is_named(
    paths: Paths, files: StackFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.set_value(files, "nexus:edge", {"domain": "a.localhost"})
    stack.prepare(paths, "dev")
    assert "not taken over" not in capsys.readouterr().err, "nothing changed in the checkout"
    (paths.root / "Pulumi.dev.yaml").write_text(DEV.replace("localhost", "b.localhost"), encoding="utf-8")
    stack.prepare(paths, "dev")
    told = capsys.readouterr().err
    assert f"nexus:edge.domain: changed in {paths.root / 'Pulumi.dev.yaml'}, and not taken over" in told
    assert (
        f"set or taken out in {files.config}; to have it here too: `scripts/pulumi -s dev config set --path " in told
    )
    assert stack.values(files)["nexus:edge"] == {"domain": "a.localhost"}
    stack.prepare(paths, "dev")
    assert "not taken over" not in capsys.readouterr().err, "said once"


def test_a_secret_in_clear_in_the_checkout_is_refused_although_one_is_set(paths: Paths, files: StackFiles) -> None:
    stack.set_value(files, "nexus:tls-key", {"secure": "v1:abc"})
    (paths.root / "Pulumi.dev.yaml").write_text(DEV + "  nexus:tls-key: hunter2\n", encoding="utf-8")
    with pytest.raises(UserError, match="nexus:tls-key: is a secret but stored in clear; take it out") as refused:
        stack.prepare(paths, "dev")
    assert "hunter2" not in str(refused.value)


def test_a_run_with_nothing_new_writes_nothing(paths: Paths, files: StackFiles) -> None:
    before = {path: path.stat().st_mtime_ns for path in files.directory.iterdir()}
    stack.prepare(paths, "dev")
    assert {path: path.stat().st_mtime_ns for path in files.directory.iterdir()} == before


def test_salt_and_secrets_stay_when_the_checkout_changes(paths: Paths, files: StackFiles) -> None:
    stack.adopt_salt(files, SALT, "the state")
    stack.set_value(files, "nexus:tls-key", {"secure": "v1:abc"})
    (paths.root / "Pulumi.dev.yaml").write_text(DEV.replace("localhost", "home.localhost"), encoding="utf-8")
    stack.prepare(paths, "dev")
    tree = stack.read(files.config)
    assert tree["encryptionsalt"] == SALT
    assert stack.values(files)["nexus:tls-key"] == {"secure": "v1:abc"}
    assert stack.values(files)["nexus:edge"] == {"domain": "home.localhost"}


def test_a_stack_without_a_file_says_which_and_what_to_do(paths: Paths) -> None:
    with pytest.raises(UserError) as refused:
        stack.prepare(paths, "staging")
    assert str(paths.root / "Pulumi.staging.yaml") in str(refused.value)
    assert "copy Pulumi.dev.yaml" in str(refused.value)
    assert "one of: dev" in str(refused.value)
    assert not paths.stack("staging").exists()


@pytest.mark.parametrize("name", ["", "../dev", "Dev", "dev/prod", "-s", "a" * 40])
def test_a_name_that_is_not_one_is_refused(paths: Paths, name: str) -> None:
    with pytest.raises(UserError, match="a name is lower-case letters"):
        stack.prepare(paths, name)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("config: [unclosed\n", "is not YAML"),
        ("- a list\n", "is not an object"),
        ("config: text\n", "config is not an object"),
        ("confg: {}\n", "confg: no such key; allowed are config, "),
        ("config:\n  nexus:a: 1\n  nexus:b: 2\n  nexus:a: {}\n", "line 4: the key nexus:a stands twice"),
        ("config:\n  nexus:a: {b: 1, c: [{d: 1, d: 2}]}\n", "line 2: the key d stands twice"),
        ("config:\n  edge: {}\n  nexus:edge: {}\n", "nexus:edge: is nexus:edge once more"),
        ("config:\n  nexus:config:edge: {}\n  edge: {}\n", "edge: is nexus:edge once more"),
        ("config:\n  nexus:apps:\n    uid: 01000\n", "line 3: a number with a leading zero"),
        ("config:\n  nexus:edge: {https-port: 0443, http-port: 80}\n", "line 2: a number with a leading zero"),
        ("config:\n  nexus:edge: {https-port: -08}\n", "line 2: a number with a leading zero"),
        ("config:\n  nexus:edge: *nowhere\n", "is not YAML: line 2: found undefined alias"),
    ],
)
def test_a_file_that_is_not_one_is_named(paths: Paths, text: str, says: str) -> None:
    file = paths.root / "Pulumi.dev.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=says) as refused:
        stack.prepare(paths, "dev")
    assert str(file) in str(refused.value)


@pytest.mark.parametrize("text", ["nexus:tls-key: hunter2: x\n", "a: 1\n  a: hunter2\n", "k: [hunter2, 010\n"])
def test_a_file_that_is_not_one_is_not_quoted(paths: Paths, text: str) -> None:
    (paths.root / "Pulumi.dev.yaml").write_text(f"config:\n  {text}", encoding="utf-8")
    with pytest.raises(UserError) as refused:
        stack.prepare(paths, "dev")
    assert "hunter2" not in str(refused.value)
    assert ": line " in str(refused.value)


def test_a_key_without_a_namespace_is_the_projects_as_for_pulumi(paths: Paths) -> None:
    text = "config:\n  vpn: {type: embedded}\n  nexus:config:edge: {https-port: 22443}\n  pulumi:tags: {}\n"
    (paths.root / "Pulumi.dev.yaml").write_text(text, encoding="utf-8")
    made = stack.prepare(paths, "dev")
    assert stack.settings(made).edge.https_port == 22443
    assert stack.read(made.config)["config"] == stack.read(paths.root / "Pulumi.dev.yaml")["config"]
    assert stack.values(made).keys() == {"nexus:vpn", "nexus:edge", "pulumi:tags"}


def test_a_passphrase_that_is_gone_is_not_replaced_by_a_new_one(paths: Paths, files: StackFiles) -> None:
    stack.adopt_salt(files, SALT, "the state")
    assert files.passphrase
    files.passphrase.unlink()
    with pytest.raises(UserError, match="the passphrase is gone") as refused:
        stack.prepare(paths, "dev")
    assert str(files.passphrase) in str(refused.value)
    assert not files.passphrase.exists()


@pytest.mark.parametrize("text", ["another passphrase\n", ""])
def test_a_passphrase_that_does_not_fit_is_named(paths: Paths, files: StackFiles, text: str) -> None:
    stack.adopt_salt(files, SALT, "the state")
    assert files.passphrase
    files.passphrase.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as refused:
        stack.prepare(paths, "dev")
    assert str(refused.value).startswith(f"{files.passphrase}: is not the passphrase that {files.config}")
    assert PASSPHRASE not in str(refused.value)


def test_an_empty_passphrase_is_refused_before_it_is_used(paths: Paths, files: StackFiles) -> None:
    assert files.passphrase
    files.passphrase.write_text("\n", encoding="utf-8")
    with pytest.raises(UserError, match="is empty"):
        stack.prepare(paths, "dev")


def test_opens_reads_a_salt_that_the_cli_wrote() -> None:
    assert stack.opens(PASSPHRASE, SALT)
    assert not stack.opens(PASSPHRASE + "!", SALT)
    assert not stack.opens(PASSPHRASE, "v1:not a salt")


def test_adopting_a_state_that_another_passphrase_encrypted_is_refused(files: StackFiles) -> None:
    assert files.passphrase
    files.passphrase.write_text("another\n", encoding="utf-8")
    with pytest.raises(UserError, match="is not the passphrase that the stack's state is encrypted with"):
        stack.adopt_salt(files, SALT, "the stack's state")
    assert "encryptionsalt" not in stack.read(files.config)


def test_a_file_with_its_own_encryption_is_used_as_it_is(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shared = paths.root / "Pulumi.dev.yaml"
    shared.write_text(f"encryptionsalt: {SALT}\n{DEV}", encoding="utf-8")
    with pytest.raises(UserError, match="set PULUMI_CONFIG_PASSPHRASE_FILE"):
        stack.prepare(paths, "dev")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "another")
    with pytest.raises(UserError, match="the variable PULUMI_CONFIG_PASSPHRASE: is not the passphrase"):
        stack.prepare(paths, "dev")
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE")
    secret = tmp_path / "team-passphrase"
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", str(secret))
    with pytest.raises(UserError, match="cannot be read"):
        stack.prepare(paths, "dev")
    secret.write_text(PASSPHRASE + "\n", encoding="utf-8")
    before = snapshot(paths.root)
    made = stack.prepare(paths, "dev")
    assert (made.config, made.passphrase, made.shared) == (shared, None, True)
    assert snapshot(paths.root) == before
    assert not paths.state.exists()


def test_a_secrets_provider_needs_no_passphrase(paths: Paths) -> None:
    (paths.root / "Pulumi.dev.yaml").write_text(f"secretsprovider: awskms://alias/x\n{DEV}", encoding="utf-8")
    assert stack.prepare(paths, "dev").shared


def test_another_stack_file_is_remembered(paths: Paths, tmp_path: Path) -> None:
    source = tmp_path / "second.yaml"
    source.write_text(DEV.replace("localhost", "second.localhost"), encoding="utf-8")
    made = stack.prepare(paths, "second", source)
    assert stack.values(made)["nexus:edge"] == {"domain": "second.localhost"}
    source.write_text(DEV.replace("localhost", "third.localhost"), encoding="utf-8")
    assert stack.values(stack.prepare(paths, "second"))["nexus:edge"] == {"domain": "third.localhost"}
    source.unlink()
    assert stack.values(stack.prepare(paths, "second"))["nexus:edge"] == {"domain": "third.localhost"}
    with pytest.raises(UserError, match=r"second\.yaml: there is no such file"):
        stack.prepare(paths, "second", source)


def test_the_environment_names_the_files_and_hides_no_other_passphrase_behind_them(
    paths: Paths, files: StackFiles
) -> None:
    paths.environment.update(PULUMI_CONFIG_PASSPHRASE="from another project")  # type: ignore[attr-defined]
    environment = files.environment(paths)
    assert environment["PULUMI_OPTION_CONFIG_FILE"] == str(files.config)
    assert environment["PULUMI_CONFIG_PASSPHRASE_FILE"] == str(files.passphrase)
    assert environment["PULUMI_OPTION_POLICY_PACK"] == str(paths.root / "policies")
    assert environment["PULUMI_STACK"] == "dev"
    assert "PULUMI_CONFIG_PASSPHRASE" not in environment


def test_the_environment_says_nothing_of_an_engine(paths: Paths, files: StackFiles) -> None:
    paths.environment.update(dict.fromkeys(reach.VARIABLES, "/elsewhere"))  # type: ignore[attr-defined]
    assert not reach.VARIABLES.keys() & files.environment(paths).keys()


def test_levels_of_another_project_are_not_ours(paths: Paths, files: StackFiles) -> None:
    paths.environment.update(PULUMI_OPTION_POLICY_PACK_CONFIG="/x.json")  # type: ignore[attr-defined]
    assert "PULUMI_OPTION_POLICY_PACK_CONFIG" not in files.environment(paths)


def test_yaml_is_read_as_pulumi_reads_it_and_text_stays_text(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    text = "{a: no, b: 12:30:00, c: 2026-01-01, d: true, e: 7, f: 1.5, g: ~, h: '07', i: 1e3, j: 0, k: 0.5, l: -0}"
    file.write_text(f"config: {{nexus:x: {text}}}\n", encoding="utf-8")
    expected: Tree = {
        "a": "no",
        "b": "12:30:00",
        "c": "2026-01-01",
        "d": True,
        "e": 7,
        "f": 1.5,
        "g": None,
        "h": "07",
        "i": 1000.0,
        "j": 0,
        "k": 0.5,
        "l": 0,
    }
    for values in (expected, {"a": "1e3", "b": "7", "c": "true", "d": "010"}):
        if values is not expected:
            stack.write(file, {"config": {"nexus:x": values}})
        assert stack.read(file) == {"config": {"nexus:x": values}}
        stack.write(file, stack.read(file))
        assert stack.read(file) == {"config": {"nexus:x": values}}


def test_check_refuses_what_the_program_would_refuse(files: StackFiles) -> None:
    stack.check(files)
    stack.set_value(files, "nexus:tls-certificate", {"secure": "v1:abc"})
    with pytest.raises(UserError, match="nexus:tls-key: missing"):
        stack.check(files)
    stack.set_value(files, "nexus:tls-key", {"secure": "v1:abc"})
    stack.check(files)
    stack.set_value(files, "nexus:smtp-password", "hunter2")
    with pytest.raises(UserError, match="is a secret but stored in clear") as refused:
        stack.check(files)
    assert "hunter2" not in str(refused.value)
    assert "PULUMI_CONFIG" not in os.environ


def test_settings_name_the_file_in_their_errors(files: StackFiles) -> None:
    stack.set_value(files, "nexus:edge", {"http-prot": 80})
    with pytest.raises(UserError) as refused:
        stack.settings(files)
    assert str(files.config) in str(refused.value)
    assert "nexus:edge.http-prot" in str(refused.value)


def test_peek_changes_nothing(paths: Paths, files: StackFiles) -> None:
    assert stack.peek(paths, "dev") == files.config
    (paths.root / "Pulumi.prod.yaml").write_text(DEV, encoding="utf-8")
    assert stack.peek(paths, "prod") == paths.root / "Pulumi.prod.yaml"
    assert not paths.stack("prod").exists()
    with pytest.raises(UserError, match="there is no such stack file"):
        stack.peek(paths, "staging")
