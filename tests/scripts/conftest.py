"""A checkout, a user's directories and a stand-in for the Pulumi CLI, all in temporary directories."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import pytest

from scripts.engine import Engine
from scripts.paths import Paths
from scripts.stack import StackFiles, prepare

DEV: Final = """\
config:
  nexus:edge:
    domain: localhost
  nexus:vpn:
    type: embedded
"""

# Stands in for the CLI as far as these tests go: it "encrypts" by reversing, and writes each command line to a log.
PULUMI: Final = """\
#!{python}
import json, os, sys, yaml
from pathlib import Path
words = [word for word in sys.argv[1:] if word not in ("--non-interactive", "--color", "never")]
with open(os.environ["FAKE_LOG"], "a") as log:
    log.write(json.dumps({{"words": words, "cwd": os.getcwd()}}) + "\\n")
backend = Path(os.environ["PULUMI_BACKEND_URL"].removeprefix("file://")) / ".pulumi"
state = backend / "stacks" / "nexus" / (os.environ["PULUMI_STACK"] + ".json")
if words[:2] == ["stack", "init"]:
    state.parent.mkdir(parents=True, exist_ok=True)
    state.write_text("{{}}")
    file = Path("Pulumi." + words[2] + ".yaml")
    tree = yaml.safe_load(file.read_text()) or {{}}
    file.write_text(yaml.safe_dump({{**tree, "encryptionsalt": os.environ["FAKE_SALT"]}}))
elif words[:2] == ["stack", "export"]:
    print(state.read_text())
elif words[:2] == ["stack", "import"]:
    state.write_text(sys.stdin.read())
elif words[:3] == ["config", "set", "--secret"]:
    file = Path(os.environ["PULUMI_OPTION_CONFIG_FILE"])
    tree = yaml.safe_load(file.read_text())
    tree["config"][words[3]] = {{"secure": sys.stdin.read().rstrip("\\n")[::-1]}}
    file.write_text(yaml.safe_dump(tree, sort_keys=False))
elif words[:2] == ["config", "get"]:
    tree = yaml.safe_load(Path(os.environ["PULUMI_OPTION_CONFIG_FILE"]).read_text())
    print(tree["config"][words[2]]["secure"][::-1])
elif words[:1] == ["cancel"]:
    for lock in (backend / "locks").rglob("*.json"):
        lock.unlink()
else:
    print("no such command", file=sys.stderr)
    sys.exit(1)
"""

PASSPHRASE: Final = "correct horse battery staple"
# What `pulumi stack init` (CLI 3.259) wrote for that passphrase.
SALT: Final = "v1:LF13Bja3JJg=:v1:mAM4L7atUGkkuDM7:wrzrBTWOur89vER8d8I8KiiNkiHJXw=="


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A checkout with a dev stack, and empty directories for a user."""
    for name in ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE", "STACK", "NEXUS_CALLED_IN"):
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "checkout"
    root.mkdir()
    (root / "Pulumi.yaml").write_text("name: nexus\nruntime: python\n", encoding="utf-8")
    (root / "Pulumi.dev.yaml").write_text(DEV, encoding="utf-8")
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "pulumi"
    program.write_text(PULUMI.format(python=sys.executable), encoding="utf-8")
    program.chmod(0o755)
    # subprocess looks a program up in this process's own PATH.
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    environment = {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PULUMI_", "NEXUS_", "STACK", "GITHUB_"))
        },
        "PULUMI_BACKEND_URL": f"file://{tmp_path / 'state' / 'backend'}",
        "FAKE_LOG": str(tmp_path / "pulumi.log"),
        "FAKE_SALT": SALT,
    }
    return Paths(root=root, cache=tmp_path / "cache", state=tmp_path / "state", environment=environment)


@pytest.fixture
def files(paths: Paths) -> StackFiles:
    """The files of the dev stack, with the passphrase that `SALT` was made with."""
    folder = paths.stack("dev")
    folder.mkdir(parents=True)
    (folder / "passphrase").write_text(PASSPHRASE + "\n", encoding="utf-8")
    (folder / "passphrase").chmod(0o600)
    return prepare(paths, "dev")


@pytest.fixture
def engine(paths: Paths, files: StackFiles) -> Engine:
    """The dev stack, made in the backend."""
    engine = Engine(paths=paths, files=files)
    engine.ensure()
    return engine
