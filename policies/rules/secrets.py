"""Family `secrets`: no credential is written into a resource where others can read it.

Environment, labels, commands and health checks of a container show in `docker inspect`, in process lists and in logs;
a file of configuration is copied, shared and backed up like any other, so it is read line by line: the number behind
a `content` is the line. A secret belongs in a file of its own under /run/secrets, to which the configuration refers.
What a credential looks like is in literals.py.

These pass: paths of secret files, what a shell reads (`$(</run/secrets/x)`), references (`${NAME}`, `{{ … }}`),
switches, and salted, slow password hashes: they are verifiers, and applications want them in their configuration. So
do digests, ids, public keys and certificates. The contents of uploads under /run/secrets are not checked: that is
where a secret is *meant* to be, as a Pulumi secret. The engine hands policies every secret in clear and unmarked
(pulumi/pulumi-policy#241), so a rule could not tell a generated password there from one that was typed; what is typed
is caught in the source by scripts/no-secrets. An upload whose place only an update will know is checked then.

Not seen from here: a short password under a name that says nothing; what is compressed or encrypted; what a script
puts together.
"""

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pulumi_policy import Severity

from policies.rules import literals
from policies.rules.configuration import File, UnreadableError, files, variables
from policies.rules.containers import items, table, text_of
from policies.rules.props import Path, Value, leaves, safe_name
from policies.rules.rule import Config, Finding, Resource, Rule

# /var/run is /run.
_SECRET_FOLDERS: Final = ("/run/secrets/", "/var/run/secrets/")
# What `pulumi policy analyze` shows for a secret of an exported state.
_MASKED: Final = "[secret]"


@dataclass(frozen=True, kw_only=True)
class Literal:
    """A text of a resource, and the name it is set to where the place says so.

    `expanded`: a shell may read it. `line`: it is a line of a file. `readable`: names and randomness count here, as
    they do not in an id or a path.
    """

    path: Path
    text: str
    name: str = ""
    expanded: bool = False
    line: bool = False
    readable: bool = True


def _literals(resource: Resource) -> Iterator[Literal]:
    """Every text of a resource that is not where a secret is meant to be."""
    for path, name, value in variables(resource):
        yield Literal(path=path, text=value, name=name) if value else Literal(path=path, text=name)
    for index, label in enumerate(map(table, items(resource.props.get("labels")))):
        yield Literal(
            path=("labels", index, "value"), text=text_of(label.get("value")), name=text_of(label.get("label"))
        )
    tests = table(resource.props.get("healthcheck")).get("tests")
    for path, words in (
        (("entrypoints",), resource.props.get("entrypoints")),
        (("command",), resource.props.get("command")),
        (("healthcheck", "tests"), tests),
    ):
        yield from _arguments(path, items(words))
    for file in files(resource):
        if not isinstance(file.name, str) or posixpath.normpath(file.name).startswith(_SECRET_FOLDERS):
            continue
        yield from _of_file(file)
    for path, leaf in leaves(resource.props):
        if path[0] not in _APART and path[:2] != ("healthcheck", "tests"):
            name = next((part for part in reversed(path) if isinstance(part, str)), "")
            readable = len(path) > 1 and path[0] not in _PLACES
            yield Literal(path=path, text=str(leaf), name=name if readable else "", readable=readable)


_APART: Final = ("envs", "labels", "entrypoints", "command", "uploads")
_PLACES: Final = ("mounts", "networksAdvanced", "ipamConfigs", "tmpfs", "devices")
"""Inputs whose members are ids, addresses and paths."""


def _arguments(path: Path, arguments: list[Value]) -> Iterator[Literal]:
    flag = ""
    for index, argument in enumerate(arguments):
        text = text_of(argument)
        yield Literal(path=(*path, index), text=text, name="" if text.startswith("-") else flag, expanded=True)
        flag = text.lstrip("-") if re.fullmatch(r"--?[A-Za-z][\w.-]+", text) else ""
    line = " ".join(text_of(argument) for argument in arguments)
    yield Literal(path=path, text=line, expanded=True, readable=False)


def _of_file(file: File) -> Iterator[Literal]:
    if not isinstance(file.text, str):
        return
    script = file.text.startswith("#!") or file.base.endswith(".sh")
    for number, text in enumerate(literals.without_public(file.text).splitlines(), 1):
        yield Literal(path=(*file.path, number), text=text, expanded=script, line=not script)
    try:
        document = file.document()
    except UnreadableError:
        document = None
    for path, leaf in leaves(document):
        names = [part for part in path if isinstance(part, str)]
        # `users` alone says nothing; under basicAuth it does.
        name = ".".join(names[-2:] if names[-1:] == ["users"] else names[-1:])
        yield Literal(path=file.path, text=str(leaf), name=name)
    # What goes over several lines.
    yield Literal(path=file.path, text=file.text, readable=False)


@lru_cache(maxsize=4096)
def _named(literal: Literal) -> str:
    text, expanded = literal.text, literal.expanded
    if not literal.readable:
        return "gives a tool a password" if expanded and literals.tool_password(text) else ""
    if text == _MASKED:
        return "holds a Pulumi secret, which everyone who may inspect the container can read"
    if literal.name and literals.named_secret(literal.name, text, expanded=expanded):
        return "holds a secret, by its name"
    for layer in literals.layers(text):
        said = [*literals.assignments(layer), *(literals.directive(layer, apart=True) if literal.line else ())]
        if any(literals.named_secret(name, value, expanded=expanded) for name, value in said):
            return "sets a secret, by the name it gives it"
    if literals.has_fast_hash(text):
        return "holds a password's hash that is fast to try"
    return "gives a tool a password" if expanded and literals.tool_password(text) else ""


def _whole(literal: Literal) -> str:
    return f"{literal.name}={literal.text}" if literal.path[0] == "envs" and literal.name else literal.text


@lru_cache(maxsize=4096)
def _url(literal: Literal) -> str:
    found = literals.has_url_credentials(_whole(literal), expanded=literal.expanded)
    return "holds an address with a password in it" if found else ""


@lru_cache(maxsize=4096)
def _private_key(literal: Literal) -> str:
    return "holds a private key" if literals.has_private_key(_whole(literal)) else ""


@lru_cache(maxsize=4096)
def _token(literal: Literal) -> str:
    found = literals.has_token(_whole(literal), expanded=literal.expanded)
    return "holds a token of a known issuer" if found else ""


@lru_cache(maxsize=4096)
def _random(literal: Literal) -> str:
    """Randomness comes last: where another rule of the family objects, this one keeps quiet."""
    if not literal.readable or literals.innocent_name(literal.name):
        return ""
    if any(check(literal) for check in (_named, _url, _private_key, _token)):
        return ""
    text = literal.text
    for name, value in literals.assignments(text):
        text = text.replace(value, " ") if literals.innocent_name(name) else text
    return "holds random text, as keys and passwords are" if literals.has_random(text) else ""


def _family_rule(check: Callable[[Literal], str]) -> Callable[[Resource, Config], Iterator[Finding]]:
    def findings(resource: Resource, _config: Config) -> Iterator[Finding]:
        told: list[Path] = []
        for literal in resource.once(_literals):
            # Arguments are looked at one by one, then as one line; what was said of one is not said of the line.
            if any(path[: len(literal.path)] == literal.path for path in told):
                continue
            if problem := check(literal):
                told.append(literal.path)
                note = safe_name(literal.name) if literal.path[-1] != literal.name else None
                advice = "Hand it over as a file under /run/secrets and give only that path"
                yield Finding(path=literal.path, problem=problem, advice=advice, note=note or "")

    return findings


_REMEDIATION: Final = (
    "Take the value out and revoke it if it was real. Generate the secret, or set it with "
    "`pulumi config set --secret`, and let the service read it from a file under /run/secrets: `*_FILE`, or "
    "`$(</run/secrets/name)` in its entry point."
)


def _rule(
    name: str, check: Callable[[Literal], str], description: str, severity: Severity = Severity.CRITICAL
) -> Rule:
    return Rule(
        name=name,
        description=description,
        remediation=_REMEDIATION,
        severity=severity,
        validate=_family_rule(check),
        benchmarks=("CIS 4.10", "OWASP 12"),
    )


RULES: Final = (
    _rule(
        "no-literal-secret",
        _named,
        "Nothing that is called a password, token, key or secret has its value written into environment, labels, "
        "commands, health checks or files of configuration: `docker inspect`, process lists and backups show them.",
    ),
    _rule(
        "no-url-credentials",
        _url,
        "No address and no connection string carries a password: they end up in logs and process lists.",
    ),
    _rule(
        "no-private-key",
        _private_key,
        "No private key (PEM, OpenSSH, PuTTY, age) is written into a resource: who reads it owns it.",
    ),
    _rule(
        "no-known-token",
        _token,
        "Nothing has the shape of a token of a known issuer (AWS, GitHub, Slack, Pulumi, a JWT …), nor is it an "
        "`Authorization` header with its credential.",
    ),
    _rule(
        "no-random-literal",
        _random,
        "No long random text stands in environment, labels, commands or files of configuration under a name that "
        "does not explain it: most often that is a key or a password that nobody called one.",
        Severity.HIGH,
    ),
)
