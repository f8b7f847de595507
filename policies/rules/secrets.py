"""Family `secrets`: no credential is written into a resource where others can read it.

Environment, labels, commands, health checks and driver options of a container show in `docker inspect`, in process
lists and in logs. A secret belongs in a file under /run/secrets, and reaches it through a seeder's `uploads`.

Not judged are `uploads`, Swarm's `docker.Secret` and registry logins: they are the roads a secret is *meant* to take,
as a Pulumi secret. The engine hands policies every secret in clear and unmarked (pulumi/pulumi-policy#241), so a rule
could not tell a generated password there from one that was typed. What is typed into them is caught in the source.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pulumi_policy import Severity

from policies.rules import literals
from policies.rules.props import Entry, Path, Value, canonical, safe_name, walk
from policies.rules.rule import Config, Finding, Resource, Rule

_ENVS: Final = frozenset({"env", "envs", "environment"})
_LABELS: Final = frozenset({"label", "labels"})
_OPTIONS: Final = frozenset(
    {"driveropts", "driveroptions", "logopts", "options", "ipamoptions", "buildarg", "buildargs"}
)
_ARGUMENTS: Final = frozenset({"command", "commands", "cmd", "args", "entrypoint", "entrypoints", "test", "tests"})
_MEANT_FOR_SECRETS: Final = frozenset({"uploads", "auth", "authconfig", "registry"})
# What `pulumi policy analyze` shows for a secret of an exported state.
_MASKED: Final = "[secret]"


@dataclass(frozen=True, kw_only=True)
class Literal:
    """A text of a resource, and the name it is set to where the place says so.

    `expanded`: a shell may read it. `readable`: names and randomness count here, as they do not in an id or a path.
    `whole`: the text with its name, where the resource has both as one.
    """

    path: Path
    text: str
    name: str = ""
    expanded: bool = False
    readable: bool = True
    whole: str = ""

    def shows(self, shape: Callable[..., bool], **how: bool) -> bool:
        """True where the text has a shape that needs no name."""
        return shape(self.whole or self.text, **how)


def _literals(props: Mapping[str, Value]) -> Iterator[Literal]:
    """Every text of a resource that is not on a road meant for secrets."""
    judged = {name: value for name, value in props.items() if canonical(name) not in _MEANT_FOR_SECRETS}
    for entry in walk(judged):
        if entry.path[0] == "build" and "authconfigs" in entry.within:
            continue
        named = bool(entry.within & (_ENVS | _LABELS | _OPTIONS))
        if entry.within & _ARGUMENTS and not named and isinstance(entry.value, list):
            yield from _arguments(entry.path, entry.value)
        elif isinstance(entry.value, str | int | float) and not isinstance(entry.value, bool):
            text = f"{entry.value:g}" if isinstance(entry.value, float) else str(entry.value)
            if named:
                yield _pair(entry, text)
            elif not entry.within & _ARGUMENTS:
                yield Literal(path=entry.path, text=text, readable=False)
            elif entry.holder:
                # `args` of a build is a map of names; a command given as one string is a command all the same.
                build = entry.key not in _ARGUMENTS
                yield Literal(
                    path=entry.path, text=text, name=str(entry.path[-1]) if build else "", expanded=not build
                )


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


def _named(literal: Literal) -> str:
    if not literal.readable:
        return "gives a tool a password" if literal.expanded and literals.tool_password(literal.text) else ""
    if literal.text == _MASKED:
        return "holds a Pulumi secret, which everyone who may inspect the container can read"
    if literal.name and literals.named_secret(literal.name, literal.text, expanded=literal.expanded):
        return "holds a secret, by its name"
    for name, value in literals.assignments(literal.text):
        if literals.named_secret(name, value, expanded=literal.expanded):
            return "sets a secret, by the name it gives it"
    return "gives a tool a password" if literal.expanded and literals.tool_password(literal.text) else ""


def _url(literal: Literal) -> str:
    found = literal.shows(literals.has_url_credentials, expanded=literal.expanded)
    return "holds an address with a password in it" if found else ""


def _private_key(literal: Literal) -> str:
    return "holds a private key" if literal.shows(literals.has_private_key) else ""


def _token(literal: Literal) -> str:
    found = literal.shows(literals.has_token, expanded=literal.expanded)
    return "holds a token of a known issuer" if found else ""


def _random(literal: Literal) -> str:
    """Randomness is judged last: where another rule of the family objects, this one keeps quiet."""
    if not literal.readable or literals.innocent_name(literal.name):
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
        for literal in _literals(resource.props):
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
            "commands, health checks or driver options: `docker inspect` and process lists show them."
        ),
        remediation=_REMEDIATION,
        severity=Severity.CRITICAL,
        judge=_family_rule(_named),
    ),
    Rule(
        name="no-url-credentials",
        description="No address carries a password: addresses end up in logs, referrers and process lists.",
        remediation=_REMEDIATION,
        severity=Severity.CRITICAL,
        judge=_family_rule(_url),
    ),
    Rule(
        name="no-private-key",
        description="No private key (PEM, OpenSSH, PuTTY, age) is written into a resource: who reads it owns it.",
        remediation=_REMEDIATION,
        severity=Severity.CRITICAL,
        judge=_family_rule(_private_key),
    ),
    Rule(
        name="no-known-token",
        description="Nothing has the shape of a token of a known issuer (AWS, GitHub, Slack, Pulumi, a JWT …).",
        remediation=_REMEDIATION,
        severity=Severity.CRITICAL,
        judge=_family_rule(_token),
    ),
    Rule(
        name="no-random-literal",
        description=(
            "No long random text stands in environment, labels, commands or options under a name that does not "
            "explain it: most often that is a key or a password that nobody called one."
        ),
        remediation=_REMEDIATION + " If it is public, say so in its name: a digest, an id, a public key.",
        severity=Severity.HIGH,
        judge=_family_rule(_random),
    ),
)
