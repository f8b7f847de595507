"""Family `secrets`: no credential is written into a resource where others can read it.

Environment, labels, commands, health checks and driver options of a container show in `docker inspect`, in process
lists and in logs. Configuration that is uploaded as a file (routes, scrape jobs, provisioning, a Swarm config) is
copied, shared and backed up like any other file, so it is judged line by line, and by name and value where it is
YAML, JSON or TOML; the number behind a `content` is the line. A secret belongs in a file of its own under
/run/secrets, to which the configuration refers.

Names are read in any style, in flags, headers, addresses, connection strings, JSON, XML, YAML, INI and SQL, and so
are the passwords that known tools take by a short option (`mysql -p…`, `redis-cli -a …`). What is wrapped in base64,
up to three times, or written with percent signs is read too. What a credential looks like is in literals.py.

These pass: paths of secret files, what a shell reads (`$(</run/secrets/x)`), references (`${NAME}`, `{{ … }}`,
`$__file{…}`), switches, and salted, slow password hashes (bcrypt, argon2, scrypt, SHA-crypt, PBKDF2): they are
verifiers, and applications want them in their configuration. Fast ones (`$apr1$`, `{SHA}`) are as good as the
password and do not pass. Digests, ids, UUIDs, public keys and certificates pass; 40, 64, 96 and 128 hexadecimal
digits under a name that says nothing pass too, since digests, commits and Docker's ids are of that length.

Not judged are the contents of uploads under /run/secrets, Swarm's `docker.Secret` and registry logins: they are the
roads a secret is *meant* to take, as a Pulumi secret. The engine hands policies every secret in clear and unmarked
(pulumi/pulumi-policy#241), so a rule could not tell a generated password there from one that was typed. What is typed
into them is caught in the source. An upload whose place only an update will know is judged then.

Not seen from here: a file that is uploaded by `source`, is in the image or on the host; a short password under a name
that says nothing; what is compressed or encrypted; what a script puts together. Most random text is recognised
(tests/policies/test_rule_secrets.py holds the share), short text never.
"""

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pulumi_policy import Severity

from policies.rules import literals
from policies.rules.configuration import File, UnreadableError, files, member
from policies.rules.props import (
    ARGUMENTS,
    ENVIRONMENT,
    LABELS,
    UNKNOWN,
    Entry,
    Path,
    Value,
    canonical,
    safe_name,
    walk,
)
from policies.rules.rule import Config, Finding, Resource, Rule

_OPTIONS: Final = frozenset(
    {"driveropts", "driveroptions", "logopts", "options", "ipamoptions", "buildarg", "buildargs"}
)
_MEANT_FOR_SECRETS: Final = frozenset({"auth", "authconfig", "registry"})
# Where a file is what /run/secrets is for. /var/run is /run.
_SECRET_FOLDERS: Final = ("/run/secrets/", "/var/run/secrets/")
# What `pulumi policy analyze` shows for a secret of an exported state.
_MASKED: Final = "[secret]"
_REMEMBERED: Final = 2048
"""Literals that are judged once, however many rules ask and resources have them."""


@dataclass(frozen=True, kw_only=True)
class Literal:
    """A text of a resource, and the name it is set to where the place says so.

    `expanded`: a shell may read it. `readable`: names and randomness count here, as they do not in an id or a path.
    `whole`: the text with its name, where the resource has both as one. `line`: it is a line of a file. `parsed`: of
    one whose names and values follow, so that randomness is judged there.
    """

    path: Path
    text: str
    name: str = ""
    expanded: bool = False
    readable: bool = True
    whole: str = ""
    line: bool = False
    parsed: bool = False

    def shows(self, shape: Callable[..., bool], **how: bool) -> bool:
        """True where the text has a shape that needs no name."""
        return shape(self.whole or self.text, **how)


def _literals(resource: Resource) -> Iterator[Literal]:
    """Every text of a resource that is not on a road meant for secrets."""
    contents = tuple(_contents(resource))
    inside = {file.path for file in contents}
    meant = {file.path[:2] for file in contents if _meant_for_secrets(file)}
    for entry in resource.entries:
        if canonical(entry.path[0]) in _MEANT_FOR_SECRETS or entry.path in inside:
            continue
        if entry.path[0] == "build" and "authconfigs" in entry.within:
            continue
        if entry.path[:2] in meant and entry.key in ("content", "contentbase64"):
            continue
        named = bool(entry.within & (ENVIRONMENT | LABELS | _OPTIONS))
        if entry.within & ARGUMENTS and not named and isinstance(entry.value, list):
            yield from _arguments(entry.path, entry.value)
        elif isinstance(entry.value, str | int | float) and not isinstance(entry.value, bool):
            text = f"{entry.value:g}" if isinstance(entry.value, float) else str(entry.value)
            if named:
                yield _pair(entry, text)
            elif not entry.within & ARGUMENTS:
                yield Literal(path=entry.path, text=text, readable=False)
            elif entry.holder:
                # `args` of a build is a map of names; a command given as one string is a command all the same.
                build = entry.key not in ARGUMENTS
                yield Literal(
                    path=entry.path, text=text, name=str(entry.path[-1]) if build else "", expanded=not build
                )
    for file in contents:
        if not _meant_for_secrets(file):
            yield from _of_file(file)


def _contents(resource: Resource) -> Iterator[File]:
    """The files of a resource, what is in `source` and in other odd members aside."""
    yield from files(resource)
    raw = member(resource.props, "dataRaw")
    if resource.kind == "ServiceConfig" and isinstance(raw, str):
        name = member(resource.props, "name")
        yield File(path=("dataRaw",), name=name if isinstance(name, str) else "", text=raw)


def _meant_for_secrets(file: File) -> bool:
    """Whether a file lies where secrets are to be. Of one whose place is not known yet, `up` decides."""
    if file.path[0] != "uploads":
        return False
    return file.name is UNKNOWN or posixpath.normpath(str(file.name)).startswith(_SECRET_FOLDERS)


def _of_file(file: File) -> Iterator[Literal]:
    if not isinstance(file.text, str):
        return
    if file.text == _MASKED:
        yield Literal(path=file.path, text=file.text)
        return
    try:
        document = file.document()
    except UnreadableError:
        document = None
    script = file.text.startswith("#!") or file.extension in ("sh", "bash")
    line = ""
    for number, piece in enumerate(literals.without_public(file.text).splitlines(), 1):
        line += piece
        if line.endswith("\\"):
            line = line[:-1] + " "
            continue
        yield Literal(
            path=(*file.path, number), text=line, expanded=script, line=not script, parsed=document is not None
        )
        line = ""
    for entry in walk(document):
        if isinstance(entry.value, str | int | float) and not isinstance(entry.value, bool):
            names = [part for part in entry.path if isinstance(part, str)]
            called = member(dict(entry.holder), "name") or member(dict(entry.holder), "key")
            # `users` alone says nothing; under basicAuth it does.
            name = ".".join(names[-2:] if names and names[-1] == "users" else names[-1:])
            if isinstance(called, str) and canonical(name) == "value":
                name = called
            text = str(entry.value)
            yield Literal(path=file.path, text=text, name=name, whole=f"{name}: {text}")
    # What goes over several lines.
    yield Literal(path=file.path, text=file.text, readable=False)


def _pair(entry: Entry, text: str) -> Literal:
    """`NAME=value` of a list, `{label, value}` and `{name, value}`, or a member of a map."""
    last = entry.path[-1]
    if isinstance(last, int):
        name, equals, value = text.partition("=")
        return Literal(path=entry.path, text=value if equals else text, name=name if equals else "", whole=text)
    holder_name = next((entry.holder[key] for key in ("label", "name", "key") if key in entry.holder), None)
    if canonical(last) == "value" and isinstance(holder_name, str):
        return Literal(path=entry.path, text=text, name=holder_name)
    return Literal(path=entry.path, text=text, name="" if canonical(last) in ("label", "name", "key") else last)


def _arguments(path: Path, arguments: list[Value]) -> Iterator[Literal]:
    flag = ""
    for index, argument in enumerate(arguments):
        if isinstance(argument, str):
            value = flag if not argument.startswith("-") else ""
            yield Literal(path=(*path, index), text=argument, name=value, expanded=True)
        flag = ""
        if isinstance(argument, str) and re.fullmatch(r"--?[A-Za-z][\w.-]+", argument):
            flag = argument.lstrip("-")
    texts = [argument for argument in arguments if isinstance(argument, str)]
    if len(texts) > 1:
        yield Literal(path=path, text=" ".join(texts), expanded=True, readable=False)


@lru_cache(maxsize=_REMEMBERED)
def _named(literal: Literal) -> str:
    if not literal.readable:
        return "gives a tool a password" if literal.expanded and literals.tool_password(literal.text) else ""
    if literal.text == _MASKED:
        return "holds a Pulumi secret, which everyone who may inspect the container can read"
    if literal.name and literals.named_secret(literal.name, literal.text, expanded=literal.expanded):
        return "holds a secret, by its name"
    for layer in literals.layers(literal.text):
        for name, value in (*literals.assignments(layer), *_directives(literal, layer)):
            if literals.named_secret(name, value, expanded=literal.expanded):
                return "sets a secret, by the name it gives it"
    if literals.has_fast_hash(literal.text):
        return "holds a password's hash that is fast to try"
    return "gives a tool a password" if literal.expanded and literals.tool_password(literal.text) else ""


def _directives(literal: Literal, text: str) -> Iterator[tuple[str, str]]:
    if literal.line:
        yield from literals.directive(text, apart=not literal.parsed)


@lru_cache(maxsize=_REMEMBERED)
def _url(literal: Literal) -> str:
    found = literal.shows(literals.has_url_credentials, expanded=literal.expanded)
    return "holds an address with a password in it" if found else ""


@lru_cache(maxsize=_REMEMBERED)
def _private_key(literal: Literal) -> str:
    return "holds a private key" if literal.shows(literals.has_private_key) else ""


@lru_cache(maxsize=_REMEMBERED)
def _token(literal: Literal) -> str:
    found = literal.shows(literals.has_token, expanded=literal.expanded)
    return "holds a token of a known issuer" if found else ""


@lru_cache(maxsize=_REMEMBERED)
def _random(literal: Literal) -> str:
    """Randomness is judged last: where another rule of the family objects, this one keeps quiet."""
    if not literal.readable or literal.parsed or literals.innocent_name(literal.name):
        return ""
    if any(judge(literal) for judge in (_named, _url, _private_key, _token)):
        return ""
    text = literal.text
    for name, value in literals.assignments(text):
        if literals.innocent_name(name):
            text = text.replace(value, " ")
    return "holds random text, as keys and passwords are" if literals.has_random(text) else ""


_REMEDY: Final = "Hand it over as a file under /run/secrets and give only that path"


def _family_rule(judge: Callable[[Literal], str]) -> Callable[[Resource, Config], Iterator[Finding]]:
    def findings(resource: Resource, _config: Config) -> Iterator[Finding]:
        if resource.type == "docker:index/secret:Secret":
            return
        told: list[Path] = []
        for literal in resource.once(_literals):
            # Arguments are judged one by one, then as one line; what was said of one is not said of the line.
            if any(path[: len(literal.path)] == literal.path for path in told):
                continue
            if problem := judge(literal):
                told.append(literal.path)
                note = safe_name(literal.name) if literal.path[-1] != literal.name else None
                yield Finding(path=literal.path, problem=problem, remedy=_REMEDY, note=note or "")

    return findings


_REMEDIATION: Final = (
    "Take the value out and revoke it if it was real. Generate the secret, or set it with "
    "`pulumi config set --secret`, and let the service read it from a file under /run/secrets: `*_FILE`, or "
    "`$(</run/secrets/name)` in its entry point."
)

RULES: Final = (
    Rule(
        name="no-literal-secret",
        description=(
            "Nothing that is called a password, token, key or secret has its value written into environment, labels, "
            "commands, health checks, driver options or files of configuration: `docker inspect`, process lists and "
            "backups show them."
        ),
        remediation=_REMEDIATION,
        severity=Severity.CRITICAL,
        judge=_family_rule(_named),
        benchmarks=("CIS 4.10", "OWASP 12"),
    ),
    Rule(
        name="no-url-credentials",
        description=(
            "No address and no connection string carries a password: they end up in logs and process lists."
        ),
        remediation=_REMEDIATION,
        severity=Severity.CRITICAL,
        judge=_family_rule(_url),
        benchmarks=("CIS 4.10", "OWASP 12"),
    ),
    Rule(
        name="no-private-key",
        description="No private key (PEM, OpenSSH, PuTTY, age) is written into a resource: who reads it owns it.",
        remediation=_REMEDIATION,
        severity=Severity.CRITICAL,
        judge=_family_rule(_private_key),
        benchmarks=("CIS 4.10", "OWASP 12"),
    ),
    Rule(
        name="no-known-token",
        description=(
            "Nothing has the shape of a token of a known issuer (AWS, GitHub, Slack, Pulumi, a JWT …), nor is it an "
            "`Authorization` header with its credential."
        ),
        remediation=_REMEDIATION,
        severity=Severity.CRITICAL,
        judge=_family_rule(_token),
        benchmarks=("CIS 4.10", "OWASP 12"),
    ),
    Rule(
        name="no-random-literal",
        description=(
            "No long random text stands in environment, labels, commands, options or files of configuration under a "
            "name that does not explain it: most often that is a key or a password that nobody called one."
        ),
        remediation=_REMEDIATION + " If it is public, say so in its name: a digest, an id, a public key.",
        severity=Severity.HIGH,
        judge=_family_rule(_random),
        benchmarks=("CIS 4.10", "OWASP 12"),
    ),
)
