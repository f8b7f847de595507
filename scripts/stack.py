"""The files of a stack outside the checkout: its passphrase and this user's copy of the stack file.

The checkout's Pulumi.<stack>.yaml is what a team shares; the copy adds what is one user's own: the encryption salt,
secret values, and keys set with `scripts/pulumi config set`. So `git status` stays clean. What does not belong here:
running the engine (engine.py), and what the settings mean (components/settings).
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

from components import reach, stackfile
from components.stackfile import Tree
from scripts.console import UserError, say
from scripts.paths import Paths

if TYPE_CHECKING:
    from components.settings.schema import Settings

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")
_MISSING: Final = object()


@dataclass(frozen=True, kw_only=True)
class StackFiles:
    """What the engine is told to use for one stack."""

    stack: str
    config: Path
    """The stack file to read and write: this user's copy, or the checkout's where that carries its own encryption."""
    directory: Path
    passphrase: Path | None
    """None where `shared`: then the passphrase comes from the environment."""
    shared: bool
    """The checkout's stack file is used as it is, because the team commits its encryption with it."""
    levels: Path | None = None
    """The policies' levels on this stack, where policies/config.yaml has others for it (engine.open_stack)."""

    def environment(self, paths: Paths) -> dict[str, str]:
        """The environment that makes every Pulumi command use these files and the policy pack."""
        environment = reach.quiet(paths.environment)
        environment["PULUMI_STACK"] = self.stack
        # Every flag is also an environment variable (CLI 3.208 and later), so no subcommand can miss them.
        environment["PULUMI_OPTION_CONFIG_FILE"] = str(self.config)
        environment["PULUMI_OPTION_POLICY_PACK"] = str(paths.root / "policies")
        environment.pop("PULUMI_OPTION_POLICY_PACK_CONFIG", None)
        # Engine and plugins are Go programs that live for seconds: a tenth less CPU time for 100 MB more memory.
        environment.setdefault("GOGC", "400")
        if self.levels:
            environment["PULUMI_OPTION_POLICY_PACK_CONFIG"] = str(self.levels)
        if self.passphrase:
            # The variable with the passphrase itself would win over the file.
            environment.pop("PULUMI_CONFIG_PASSPHRASE", None)
            environment["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(self.passphrase)
        return environment


def prepare(paths: Paths, stack: str, source: Path | None = None) -> StackFiles:
    """Makes or brings up to date the files of `stack`.

    `source` is a stack file to use instead of the checkout's; it is remembered for the next commands on that stack.
    Raises UserError for a stack without a file, an unreadable file, or a passphrase that is gone or wrong.
    """
    if not _NAME.fullmatch(stack):
        raise UserError(f"stack {stack!r}: a name is lower-case letters, digits and dashes, such as dev or prod")
    directory = paths.stack(stack)
    mine = directory / f"Pulumi.{stack}.yaml"
    origin = _origin(paths, stack, source, directory)
    if origin is None and not mine.exists():
        raise UserError(_no_file(paths, stack))
    theirs = read(origin) if origin else None
    if origin and theirs and _carries_encryption(theirs):
        return _shared(origin, theirs, stack, directory)
    _private(paths.state)
    _private(directory)
    base = directory / "base.yaml"
    local = read(mine) if mine.exists() else {}
    if theirs is not None:
        _no_secret_in_clear(origin, theirs, local, stack)
        before = read(base) if base.exists() else {}
        merged = merge(before, local, theirs)
        if both := [*_overruled(before, theirs, merged)]:
            say(
                f"stack file: {', '.join(both)}: changed in {origin}, and not taken over, because it was set or "
                f"taken out in {mine}; to have it here too: "
                f"`scripts/pulumi -s {stack} config set --path {both[0]} <value>`"
            )
        if merged != local or not mine.exists():
            write(mine, merged)
            if local:
                say(f"stack file: took over what changed in {origin}")
        if not base.exists() or read(base) != theirs:
            write(base, theirs)
        local = merged
    return StackFiles(
        stack=stack,
        config=mine,
        directory=directory,
        passphrase=_passphrase(directory / "passphrase", mine, local),
        shared=False,
    )


def merge(base: Mapping[str, object], local: Mapping[str, object], theirs: Mapping[str, object]) -> Tree:
    """A three-way merge of stack files, key by key down to the leaves.

    A leaf that the user changed, added or removed since `base` stays as in `local`; every other one follows `theirs`.
    Lists and encrypted values (``{secure: …}``) are leaves.
    """
    merged: Tree = {}
    for key in [*theirs, *(key for key in local if key not in theirs)]:
        old, mine, new = (tree.get(key, _MISSING) for tree in (base, local, theirs))
        if _nested(mine) and (_nested(new) or (new is _MISSING and mine)):
            value: object = merge(_branch(old), _branch(mine), _branch(new))
            if not value and new is _MISSING:
                continue
        else:
            value = new if mine == old else mine
        if value is not _MISSING:
            merged[key] = value
    return merged


def _overruled(base: object, theirs: object, merged: object, above: tuple[str, ...] = ()) -> Iterator[str]:
    """The plain keys that changed in `theirs` since `base` and have another value in `merged`."""
    if _nested(theirs) and _nested(merged):
        for key, value in _branch(theirs).items():
            yield from _overruled(
                _branch(base).get(key, _MISSING), value, _branch(merged).get(key, _MISSING), (*above, key)
            )
    elif theirs not in (base, merged):
        yield ".".join(above[1:])


def _no_secret_in_clear(file: Path | None, theirs: Tree, local: Tree, stack: str) -> None:
    """Refuses a secret in clear in the checkout that one which this user has set would hide. Any other is refused
    with the settings."""
    from components.settings.secret import SECRET_KEYS
    from components.stackfile import PROJECT

    shared, mine = _branch(theirs.get("config")), _branch(local.get("config"))
    for key in (f"{PROJECT}:{one.key}" for one in SECRET_KEYS):
        if key in shared and not _encrypted(shared[key]) and _encrypted(mine.get(key)):
            raise UserError(
                f"{file}: {key}: is a secret but stored in clear; take it out, run `scripts/pulumi -s {stack} config "
                f"set --secret {key}` with a new one, and count the old value as known to others"
            )


def read(path: Path) -> Tree:
    """A stack file as a tree, as components/stackfile.py reads it. Raises UserError naming file and mistake."""
    try:
        return stackfile.read(path)
    except stackfile.StackFileError as error:
        raise UserError(str(error)) from error


def project(root: Path) -> Tree:
    """Pulumi.yaml of a checkout as a tree. Raises UserError where it cannot be read."""
    try:
        return stackfile.load(root / "Pulumi.yaml")
    except stackfile.StackFileError as error:
        raise UserError(str(error)) from error


def write(path: Path, tree: Mapping[str, object]) -> None:
    """Writes a stack file for this user's eyes only, whole or not at all."""
    replace(path, yaml.dump(dict(tree), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000))


def set_value(files: StackFiles, key: str, value: object | None) -> None:
    """Sets (or, with None, removes) one plain key of the stack file, such as ``nexus:images``."""
    tree = read(files.config)
    config = dict(_branch(tree.get("config")))
    if value is None:
        config.pop(key, None)
    else:
        config[key] = value
    write(files.config, {**tree, "config": config})


def values(files: StackFiles) -> Mapping[str, object]:
    """The configuration of the stack file: keys with their namespace, encrypted values as ``{secure: …}``."""
    return values_of(files.config)


def values_of(file: Path) -> Mapping[str, object]:
    """The configuration of a stack file."""
    return _branch(read(file).get("config"))


def settings(files: StackFiles) -> Settings:
    """The plain settings of the stack file. Raises UserError with one line for each mistake in it."""
    return settings_of(files.config, files.stack)


def settings_of(file: Path, stack: str, *, examples: bool = False) -> Settings:
    """The plain settings of the stack file of `stack`, with `examples` where a template has placeholders. Raises
    UserError with one line for each mistake in it."""
    from components.settings import load

    given = load.filled(values_of(file)) if examples else values_of(file)
    try:
        return load.check(given, [key for key, value in given.items() if _encrypted(value)], stack, str(file))
    except load.SettingsError as error:
        raise UserError(str(error)) from error


def peek(paths: Paths, stack: str, source: Path | None = None) -> Path:
    """The stack file that is in force, without making or changing any: this user's, else the one to be merged from.

    Raises UserError for a stack without a file.
    """
    mine = paths.stack(stack) / f"Pulumi.{stack}.yaml"
    origin = source or paths.root / f"Pulumi.{stack}.yaml"
    if source is None and mine.exists() and not (origin.is_file() and _carries_encryption(read(origin))):
        return mine
    if not origin.is_file():
        raise UserError(_no_file(paths, stack) if source is None else _no_source(origin))
    return origin


def check(files: StackFiles) -> None:
    """Refuses what the program would refuse of the stack file, such as a missing secret, before anything is changed.

    Raises UserError with the program's own messages.
    """
    from components.settings.load import SettingsError, load

    config = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values(files).items()}
    encrypted = [key for key, value in values(files).items() if _encrypted(value)]
    with _variables(
        PULUMI_CONFIG=json.dumps(config),
        PULUMI_CONFIG_SECRET_KEYS=json.dumps(encrypted),
        PULUMI_OPTION_CONFIG_FILE=str(files.config),
    ):
        try:
            load(files.stack)
        except SettingsError as error:
            raise UserError(str(error)) from error


def opens(passphrase: str, salt: str) -> bool:
    """Whether a passphrase is the one that an `encryptionsalt` was made with.

    The salt carries the word "pulumi" encrypted with the derived key (sdk/go/common/resource/config/crypt.go).
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        _, salt64, _, nonce64, text64 = salt.split(":")
        seed, nonce, text = (base64.b64decode(part) for part in (salt64, nonce64, text64))
    except ValueError:
        return False
    try:
        return AESGCM(_derived(passphrase, seed)).decrypt(nonce, text, None) == b"pulumi"
    except InvalidTag:
        return False


# A third of a second each, and a command asks about the same passphrase several times.
@functools.lru_cache(maxsize=8)
def _derived(passphrase: str, seed: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", passphrase.encode(), seed, 1_000_000, 32)


def adopt_salt(files: StackFiles, salt: str, whence: str) -> None:
    """Puts the encryption salt of an existing state into this user's stack file.

    Raises UserError where the passphrase does not fit it.
    """
    if files.passphrase is None:
        return
    _fits(files.passphrase, salt, whence)
    write(files.config, {"encryptionsalt": salt, **read(files.config)})


def _origin(paths: Paths, stack: str, source: Path | None, directory: Path) -> Path | None:
    """The stack file to merge from, or None where there is none (any more)."""
    memory = directory / "source"
    if source is not None:
        if not source.is_file():
            raise UserError(_no_source(source))
        _private(paths.state)
        _private(directory)
        replace(memory, f"{source.resolve()}\n")
        return source.resolve()
    if memory.exists():
        origin = Path(memory.read_text(encoding="utf-8").strip())
    else:
        origin = paths.root / f"Pulumi.{stack}.yaml"
    return origin if origin.is_file() else None


def _no_file(paths: Paths, stack: str) -> str:
    known = sorted(
        path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in paths.root.glob("Pulumi.*.yaml")
    )
    return (
        f"{paths.root / f'Pulumi.{stack}.yaml'}: there is no such stack file; copy Pulumi.dev.yaml to it and set "
        f"what differs, or choose one of: {', '.join(known) or 'none yet'}"
    )


def _no_source(source: Path) -> str:
    return f"--stack-file {source}: there is no such file"


def _carries_encryption(tree: Mapping[str, object]) -> bool:
    return bool({"encryptionsalt", "secretsprovider"} & tree.keys())


def _shared(origin: Path, tree: Tree, stack: str, directory: Path) -> StackFiles:
    phrase = {"PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"}
    if "secretsprovider" not in tree:
        given = next((name for name in sorted(phrase) if name in os.environ), None)
        if given is None:
            raise UserError(
                f"{origin}: is encrypted with your team's passphrase (encryptionsalt); put that into a file of mode "
                "0600 and set PULUMI_CONFIG_PASSPHRASE_FILE to its path"
            )
        passphrase = os.environ[given]
        where = f"the variable {given}"
        if given.endswith("_FILE"):
            where = passphrase
            try:
                passphrase = Path(passphrase).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise UserError(
                    f"PULUMI_CONFIG_PASSPHRASE_FILE: {where} cannot be read ({error.strerror})"
                ) from error
        if not opens(passphrase, str(tree["encryptionsalt"])):
            raise UserError(f"{where}: is not the passphrase that {origin} is encrypted with")
    return StackFiles(stack=stack, config=origin, directory=directory, passphrase=None, shared=True)


def _passphrase(path: Path, mine: Path, tree: Mapping[str, object]) -> Path:
    """The passphrase file: made if there is none and nothing needs an older one; never overwritten."""
    salt = tree.get("encryptionsalt")
    if not path.exists():
        if salt is not None:
            raise UserError(
                f"{path}: the passphrase is gone, and {mine} is encrypted with it; put it back from your backup. "
                f"Without it the stack's secrets are lost: to start over, remove the directory {path.parent} and "
                f"the stack's state ({path.parents[2] / 'backend'})"
            )
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
        say(f"passphrase: generated, in {path}; keep a copy of it, all secrets of the stack hang on it")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o600)
        say(f"passphrase: {path} was readable by others; its mode is 0600 again")
    if isinstance(salt, str):
        _fits(path, salt, str(mine))
    elif not path.read_text(encoding="utf-8").strip():
        raise UserError(f"{path}: is empty; remove it, and the next run makes a new one")
    return path


def _fits(path: Path, salt: str, whence: str) -> None:
    if not opens(path.read_text(encoding="utf-8").strip(), salt):
        raise UserError(
            f"{path}: is not the passphrase that {whence} is encrypted with (was the file changed?); put the right "
            "one back from your backup"
        )


def _private(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)


def replace(path: Path, body: str) -> None:
    """Writes a file of mode 0600, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(body)
    temporary.replace(path)


def _nested(value: object) -> bool:
    return isinstance(value, dict) and set(value) != {"secure"}


def _encrypted(value: object) -> bool:
    """Whether the engine takes a value for a secret: something in it is encrypted."""
    if isinstance(value, list):
        return any(_encrypted(item) for item in value)
    if isinstance(value, dict):
        return set(value) == {"secure"} or any(_encrypted(item) for item in value.values())
    return False


def _branch(value: object) -> Tree:
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else {}


@contextmanager
def _variables(**given: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML would not take for text."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", stackfile.FLOAT, list("-+.0123456789"))
