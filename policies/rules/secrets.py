"""Family `secrets`: no credential is written into a resource where others can read it.

Environment, labels, commands and health checks of a container show in `docker inspect`, in process lists and in logs;
a file of configuration is copied, shared and backed up like any other, so it is read line by line: the number behind
a `content` is the line. A secret belongs in a file of its own under /run/secrets, to which the configuration refers.
What a credential looks like is in literals.py.

These pass: paths of files, what a shell reads from one (`$(</run/secrets/x)`), references (`${NAME}`, `{{ … }}`),
switches, and salted, slow password hashes: they are verifiers, and applications want them in their configuration. The
contents of uploads under /run/secrets are not checked: that is where a secret is *meant* to be, as a Pulumi secret.
The engine hands policies every secret in clear and unmarked (pulumi/pulumi-policy#241), so a rule could not tell a
generated password there from one that was typed; what is typed is caught in the source by scripts/no-secrets. An
upload whose place only an update will know is checked then.

Not seen from here: a password under a name that says nothing, random text among it; what is encoded, compressed or
encrypted; what a script puts together.
"""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pulumi_policy import Severity

from policies.rules import literals
from policies.rules.configuration import File, UnreadableError, files, variables
from policies.rules.containers import items, table, text_of
from policies.rules.props import Path, Value, leaves, safe_name
from policies.rules.rule import Config, Finding, Resource, rule

# /var/run is /run.
_SECRET_FOLDERS: Final = ("/run/secrets/", "/var/run/secrets/")
# What `pulumi policy analyze` shows for a secret of an exported state.
_MASKED: Final = "[secret]"
_APART: Final = ("envs", "labels", "entrypoints", "command", "healthcheck", "uploads")


@dataclass(frozen=True)
class Literal:
    """A text of a resource, and the name it is set to where the place says so. `joined`: the words of a command."""

    path: Path
    text: str
    name: str = ""
    joined: bool = False


def _literals(resource: Resource) -> Iterator[Literal]:
    """Every text of a resource that is not where a secret is meant to be."""
    for path, name, value in variables(resource):
        yield Literal(path, value, name) if value else Literal(path, name)
    for index, label in enumerate(map(table, items(resource.props.get("labels")))):
        yield Literal(("labels", index, "value"), text_of(label.get("value")), text_of(label.get("label")))
    for key in ("entrypoints", "command"):
        yield from _arguments((key,), items(resource.props.get(key)))
    yield from _arguments(("healthcheck", "tests"), items(table(resource.props.get("healthcheck")).get("tests")))
    for file in files(resource):
        if isinstance(file.name, str) and not posixpath.normpath(file.name).startswith(_SECRET_FOLDERS):
            yield from _of_file(file)
    for path, leaf in leaves(resource.props):
        if path[0] not in _APART:
            yield Literal(path, str(leaf))


def _arguments(path: Path, arguments: list[Value]) -> Iterator[Literal]:
    flag = ""
    for index, argument in enumerate(arguments):
        text = text_of(argument)
        yield Literal((*path, index), text, "" if text.startswith("-") else flag)
        flag = text.lstrip("-") if re.fullmatch(r"--?[A-Za-z][\w.-]+", text) else ""
    yield Literal(path, " ".join(map(text_of, arguments)), joined=True)


def _of_file(file: File) -> Iterator[Literal]:
    """Its lines, and what is set in it over several lines."""
    for number, text in enumerate(text_of(file.text).splitlines(), 1):
        yield Literal((*file.path, number), text)
    try:
        document = file.document()
    except UnreadableError:
        return  # that is a finding of its own
    for path, leaf in leaves(document):
        name = next((part for part in reversed(path) if isinstance(part, str)), "")
        yield Literal(file.path, str(leaf), name)


@lru_cache(maxsize=16384)
def _problem(text: str, name: str) -> str:
    if text == _MASKED:
        return "holds a Pulumi secret, which everyone who may inspect the container can read"
    if literals.has_private_key(text):
        return "holds a private key"
    if literals.has_token(text):
        return "holds a token of a known issuer"
    if literals.has_password(text):
        return "holds an address with a password in it"
    if name and literals.named_secret(name, text):
        return "holds a secret, by its name"
    return "sets a secret, by the name it gives it" if literals.sets_secret(text) else ""


@rule("no-literal-secret", Severity.CRITICAL, "CIS 4.10, OWASP 12")
def _secrets(resource: Resource, _config: Config) -> Iterator[Finding]:
    """No password, token, private key or address with a password is written into environment, labels, commands,
    health checks or files of configuration: `docker inspect`, process lists and backups show them.

    Take the value out and revoke it if it was real. Generate the secret, or set it with `pulumi config set --secret`,
    and let the service read it from a file under /run/secrets: `*_FILE`, or `$(</run/secrets/name)` in its entry
    point.
    """
    told: list[Path] = []
    for one in _literals(resource):
        # Words and lines are looked at one by one first: what was said of one is not said of the whole.
        if any(path[: len(one.path)] == one.path for path in told):
            continue
        if one.joined:
            problem = "gives a program a password" if literals.has_password(one.text) else ""
        else:
            problem = _problem(one.text, one.name)
        if problem:
            told.append(one.path)
            advice = "Hand it over as a file under /run/secrets and give only that path"
            yield Finding(one.path, problem, advice, note=safe_name(one.name) or "")


RULES: Final = (_secrets,)
