"""components/reach.py: one way to the engine, and nothing in a shell that leads to another."""

from __future__ import annotations

import runpy
import shlex
from unittest import mock

import pytest

from components import host, reach
from components.settings.load import SettingsError
from components.settings.schema import Docker
from tests.components.recorder import Recorder, configuration, run
from tests.components.stacks import CHOICES, ROOT, built

OWN = "unix:///run/user/1000/docker.sock"
HOME = {"PATH": "/bin", "HOME": "/root", "DOCKER_BUILDKIT": "1", "DOCKER_CLI_HINTS": "false"}


@pytest.mark.parametrize("name", reach.VARIABLES)
def test_each_variable_is_refused_by_its_name_and_not_by_its_value(name: str) -> None:
    refusal = reach.refusal({**HOME, name: "swordfish"}, OWN)
    assert refusal is not None
    assert refusal.startswith(f"{name}: is set")
    assert f"unset {name}" in refusal
    assert OWN in refusal
    assert "swordfish" not in refusal


def test_every_variable_has_a_line_and_what_chooses_no_engine_has_none() -> None:
    refusal = reach.refusal({**HOME, **dict.fromkeys(reach.VARIABLES, "x")}, OWN)
    assert refusal is not None
    assert [line.partition(":")[0] for line in refusal.splitlines()] == list(reach.VARIABLES)
    assert reach.refusal(HOME, OWN) is None
    assert reach.refusal({**HOME, **dict.fromkeys(reach.VARIABLES, "")}, OWN) is None


def test_docker_host_may_say_what_the_stack_file_says() -> None:
    assert reach.refusal({"DOCKER_HOST": OWN}, OWN) is None
    assert reach.refusal({"DOCKER_HOST": OWN}, reach.DEFAULT) is not None
    assert reach.refusal({"DOCKER_HOST": OWN, "DOCKER_CONTEXT": "x"}, OWN) is not None


def test_a_quiet_environment_keeps_all_the_rest() -> None:
    loud = {**HOME, **dict.fromkeys(reach.VARIABLES, "x")}
    assert reach.quiet(loud) == HOME
    assert reach.quiet(loud, OWN) == {**HOME, "DOCKER_HOST": OWN}


def program(recorder: Recorder) -> None:
    """Runs __main__.py with dev's settings, on a host that nobody asks."""
    choice = CHOICES["dev"]
    nowhere = host.HostFacts(stack="dev", local=False)
    with (
        configuration(choice.config, choice.secrets),
        mock.patch.object(host, "gather", return_value=nowhere),
        mock.patch.object(host, "socket_gid", return_value=998),
    ):
        run(lambda: runpy.run_path(str(ROOT / "__main__.py")), stack="dev", into=recorder)


@pytest.mark.parametrize("name", reach.VARIABLES)
def test_the_program_refuses_before_it_declares_anything(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "/elsewhere")
    with pytest.raises(SettingsError, match=f"^{name}: is set in the environment"):
        program(recorder := Recorder())
    assert recorder.resources == []


@pytest.mark.parametrize(
    ("host", "told", "words"),
    [
        (OWN, OWN, None),
        ("ssh://nas", "ssh://nas/var/run/docker.sock", ["--", "nas"]),
        (
            "ssh://me@NAS.lan:22/",
            "ssh://me@NAS.lan:22/var/run/docker.sock",
            ["-l", "me", "-p", "22", "--", "NAS.lan"],
        ),
        ("ssh://me@[fe80::1]/run/d.sock", "ssh://me@[fe80::1]/run/d.sock", ["-l", "me", "--", "fe80::1"]),
    ],
)
def test_the_provider_and_ssh_are_told_the_same(host: str, told: str, words: list[str] | None) -> None:
    engine = Docker(host=host, ssh_options=("-F", "my file") if words else ())
    given = reach.provider(engine)
    assert given["host"] == told
    assert told.endswith(reach.socket_path(host))
    # An empty value is not taken from the environment, one that is left out is.
    rest = {key: value for key, value in given.items() if key not in ("host", "ssh_opts")}
    assert set(rest.values()) == {""}
    if words is None:
        assert given["ssh_opts"] == []
        return
    options = ["-F", "my file", "-o", "BatchMode=yes"]
    assert given["ssh_opts"] == options
    made = reach.ssh(engine, "sh", "-c", "it's $HOME")
    assert [word for word in made if word in words] == words
    assert made[: len(words) - 1] == ["ssh", *words[:-2]]
    assert " ".join(options) in " ".join(made)
    assert made[-1] == shlex.join(["sh", "-c", "it's $HOME"])


def test_the_program_tells_the_provider() -> None:
    (given,) = (one.inputs for one in built("remote").resources if one.type == "pulumi:providers:docker")
    assert given["host"] == "ssh://nexus@media.lan/var/run/docker.sock"
    assert given["context"] == given["certPath"] == ""


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("tcp://192.0.2.4:2376", "tcp:// is not offered.*write ssh://user@host"),
        ("http://x", "must be unix:///path/of/the.sock or ssh://user@host"),
        ("unix://var/run/docker.sock", "must be unix:///"),
        ("unix:///", "must be unix:///"),
        ("ssh://me:" + "swordfish@nas", "without a password"),
        ("ssh://-oProxyCommand=x", "must be unix:///"),
        ("ssh://-l@nas", "must be unix:///"),
        ("ssh://nas:0", "must be unix:///"),
        ("ssh://nas?x", "must be unix:///"),
        ("ssh://two words", "must be unix:///"),
    ],
)
def test_an_address_that_is_none_is_refused_with_what_to_write(host: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        reach.check(host)
    assert "swordfish" not in str(refused.value)
