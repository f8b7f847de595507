"""Every stack file of the checkout: the program takes it, its secrets are encrypted, its options documented."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from components.settings.secret import SECRET_KEYS
from components.stackfile import PROJECT
from policies.rules import literals
from scripts import stack
from scripts.console import UserError
from scripts.paths import ROOT

FILES: Final = sorted(ROOT.glob("Pulumi.*.yaml"))
SHAPES: Final = (literals.has_private_key, literals.has_token, literals.has_password)
SECRETS: Final = {f"{PROJECT}:{one.key}" for one in SECRET_KEYS}


def documented() -> frozenset[str]:
    """The keys in docs/settings.md, each with all that leads to it: nexus:edge.domain."""
    found: set[str] = set()
    prefix = ""
    for line in (ROOT / "docs" / "settings.md").read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"##+ (\S+?)(?:,|$)", line):
            prefix = heading[1]
        elif heading := re.match(r"##+ ", line):
            prefix = ""
        if cell := re.match(r"\| `([^`]+)` \|", line):
            found.add(f"{prefix}.{cell[1]}" if prefix else cell[1])
    return frozenset(found)


def leaves(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Each value below, as text, with all that leads to it; items of a list have the list's own name."""
    if isinstance(value, Mapping):
        for key, member in value.items():
            yield from leaves(member, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for member in value:
            yield from leaves(member, path)
    else:
        yield path, str(value)


def looks_secret(name: str, text: str) -> bool:
    """Whether a plain setting of that name holds what a rule would take for a secret."""
    if literals.named_secret(name, text) or any(shape(text) for shape in SHAPES):
        return True
    return literals.is_random(text) and "public" not in literals.words(name)


def problems(file: Path) -> list[str]:
    """What is wrong with a stack file, one line each."""
    try:
        stack.settings_of(file, file.name.split(".")[1], examples=True)
    except UserError as error:
        return str(error).splitlines()
    found: list[str] = []
    known = documented()
    for key, value in stack.values_of(file).items():
        if key in SECRETS:
            if not (isinstance(value, Mapping) and set(value) == {"secure"} and isinstance(value["secure"], str)):
                found.append(f"{key}: is a secret in clear")
            if key not in known:
                found.append(f"{key}: not in docs/settings.md")
            continue
        for path, text in leaves(value, key):
            if path not in known:
                found.append(f"{path}: not in docs/settings.md")
            if looks_secret(path.rpartition(".")[2], text):
                found.append(f"{path}: looks like a secret")
    return found


def test_there_are_stack_files() -> None:
    assert {file.name for file in FILES} >= {"Pulumi.dev.yaml", "Pulumi.prod.yaml"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.name))
def test_a_stack_file_is_good(file: Path) -> None:
    assert problems(file) == []


GOOD: Final = "config:\n  nexus:vpn: {type: embedded}\n"
# Long and of mixed letters, so that nothing but chance explains them; put together, so that this file has none.
RANDOM: Final = "qX7vK2mZ" + "9RtB4wLp" + "8YcN6hJd" + "3FsG5aQe"


def custom(key: str) -> str:
    """A good stack with a VPN of one's own, whose public key is `key`."""
    options = (
        "type: wireguard, provider: custom, addresses: 10.64.0.2, endpoint-ip: 198.51.100.7, endpoint-port: 51820"
    )
    return f"config:\n  nexus:vpn: {{{options}, public-key: '{key}'}}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "  nexus:edge: {domains: x}\n", "nexus:edge.domains: no such setting"),
        (GOOD + "  nexus:colour: red\n", "nexus:colour: no such setting"),
        (GOOD + "  nexsus:edge: {domain: x.org}\n", "nexsus:edge: no such setting, and nothing would read it"),
        (GOOD + "  nexsus:edge: {domain: x.org}\n", "; write nexus:edge ("),
        (GOOD + "  edge: {domain: x, x: y}\n", "nexus:edge.x: no such setting; allowed are"),
        (GOOD + "  nexus:edge: {domainn: {secure: abc}}\n", "nexus:edge.domainn: no such setting; allowed are"),
        (GOOD + "  nexus:jelyfin: {secure: abc}\n", "nexus:jelyfin: no such setting; allowed are"),
        (GOOD + "  nexus:jellyfin: {secure: abc}\n", "nexus:jellyfin: is stored as a secret but is a plain setting"),
        (GOOD + '  nexus:apps: \'{"uid": 1, "uid": 2}\'\n', "nexus:apps: the key uid stands twice"),
        ("config:\n  nexus:vpn: {type: embedded, provider: x}\n", "nexus:vpn.provider: no such setting"),
        ("config: {}\n", "nexus:vpn: missing"),
        (GOOD + "  nexus:edge: {domain: {secure: abc}}\n", "nexus:edge: is stored as a secret but is a plain"),
        (GOOD + "  nexus:smtp-password: swordfish\n", "nexus:smtp-password: is a secret but stored in clear"),
        (GOOD + "  nexus:smtp-password: {insecure: x}\n", "nexus:smtp-password: is a secret but stored in clear"),
        (GOOD + "  nexus:tls-key: {secure: {a: b}}\n", "nexus:tls-key: is a secret in clear"),
        (GOOD + "  docker:host: unix:///x\n", "; write nexus:docker.host (docs"),
        (GOOD + "colour: red\n", "colour: no such key; allowed are"),
        (
            GOOD + "  nexus:docker: {host: 'ssh://nexus:" + "swordfish@10.0.0.1', socket-gid: 1}\n",
            "nexus:docker.host: must be unix:///path/of/the.sock or ssh://user@host, with",
        ),
        (
            GOOD
            + "  nexus:monitoring: {receiver: {type: email, to: a@example.org, sender: b@example.org, smarthost: "
            "'mail.example.org:587', username: " + RANDOM + "}}\n",
            "nexus:monitoring.receiver.username: looks like a secret",
        ),
        (
            GOOD + "  nexus:images: {lock: /srv/ghp_" + "a8Kd03mfP2xTz7QwLr5VbN1cYh6UjE9sG4oI}\n",
            "nexus:images.lock: looks like a secret",
        ),
    ],
)
def test_a_planted_mistake_is_found(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "Pulumi.planted.yaml"
    file.write_text(text, encoding="utf-8")
    found = problems(file)
    assert any(said in problem for problem in found), found
    assert "swordfish" not in "".join(found)
    assert RANDOM not in "".join(found)


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        GOOD + "  nexus:tls-key: {secure: 'v1:abc:def'}\nencryptionsalt: v1:abc\n",
        # A public key is random text that its name explains.
        custom("3p7bfXt9wbTTW2HC7OQ1Nz+" + "DQ8hbeGdNrfx+FG+IK08="),
        GOOD + "  nexus:jellyfin: {gpu: {mode: dri, device: /dev/dri/renderD129, render-gid: 105}}\n",
        GOOD + "  nexus:images: {mirror: 'registry.lan:5000/cache'}\n",
    ],
)
def test_what_is_good_passes(tmp_path: Path, text: str) -> None:
    file = tmp_path / "Pulumi.planted.yaml"
    file.write_text(text, encoding="utf-8")
    assert problems(file) == []


def test_an_option_that_is_not_documented_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    known = documented() - {"nexus:edge.domain"}
    assert len(known) == len(documented()) - 1
    monkeypatch.setitem(globals(), "documented", lambda: known)
    assert problems(ROOT / "Pulumi.prod.yaml") == ["nexus:edge.domain: not in docs/settings.md"]
