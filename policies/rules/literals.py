"""What a credential looks like in plain text: functions from text to an answer, no resource and no rule.

Shapes and randomness are detect-secrets' detectors', those that scripts/no-secrets runs on the source. Of our own is
what it does not know (1.5): names without quotes around their values, passwords in addresses without a user, and the
tokens of issuers that this platform deals with. Nothing here proves that a text is *not* a secret.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.plugins.base import BasePlugin


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


# ---- shapes that are a credential wherever they stand; bounded, or the time would go by the square of a text ----

_found: Final[dict[str, Callable[[], BasePlugin]]] = dict(get_mapping_from_secret_type_to_class())
_PLUGINS: Final[dict[str, BasePlugin]] = {type(one).__name__: one for one in (make() for make in _found.values())}
# The others go by names, by randomness, or by less than a shape.
_OTHERS: Final = re.compile("Keyword|.*HighEntropy|IPPublic|BasicAuth|PrivateKey|Ibm|Softlayer")
_ISSUERS: Final = tuple(one for name, one in _PLUGINS.items() if not _OTHERS.match(name))
_ENTROPY: Final = (_PLUGINS["Base64HighEntropyString"], _PLUGINS["HexHighEntropyString"])
# GitHub's newer tokens, Pulumi, Docker Hub, Grafana, qBittorrent, Plex, and Discord's webhooks.
_TOKENS: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:github_pat_\w{20,}|pul-[0-9a-f]{40}|dckr_(?:pat|oat)_[\w-]{20,}|gl(?:sa|c)_[\w+/=-]{20,}"
    r"|qbt_\w{28}|claim-[\w-]{20}(?!\w)|discord(?:app)?\.com/api/webhooks/\d+/[\w-]{30,})"
)
_KEYS: Final = re.compile(r"BEGIN ENCRYPTED PRIVATE KEY|AGE-SECRET-KEY-1|PuTTY-User-Key-File-\d")
_PASSWORDS: Final = (
    re.compile(r"\b[a-z][a-z0-9+.-]{0,30}://[^\s/?#@:\"'<>]*:(?P<value>[^\s/?#@\"'<>]+)@(?!sha\d)", re.IGNORECASE),
    # The client of health checks.
    re.compile(
        r"\b(?:curl|wget)\b[^|;&\n]{0,999}?\s(?:-u|--user)[\s=]?[\"']?[^\s:\"'/]*:(?P<value>[^\s\"']*(?:\s[^\"']*\))?)"
    ),
)


def has_private_key(text: str) -> bool:
    """A private key, in clear."""
    return any(_PLUGINS["PrivateKeyDetector"].analyze_string(text)) or _KEYS.search(text) is not None


def has_token(text: str) -> bool:
    """A token of a known issuer."""
    return _TOKENS.search(text) is not None or any(any(one.analyze_string(text)) for one in _ISSUERS)


def has_password(text: str) -> bool:
    """`scheme://user:password@host`, or `curl -u user:password`, with a password that is written out."""
    return any(not is_innocent(found["value"]) for one in _PASSWORDS for found in one.finditer(text))


def is_random(text: str) -> bool:
    """Whether the whole text is random, as keys are."""
    return any(one.analyze_line(filename="", line=f'"{text}"') for one in _ENTROPY)


def looks_secret(text: str) -> bool:
    """Any of the above: for deciding what may be printed."""
    return has_private_key(text) or has_token(text) or has_password(text) or is_random(text)


# ---- text that is public, or only refers to a secret ----

# Hashes that are salted and slow: verifiers, which apps want in their configuration.
_VERIFIER: Final = re.compile(
    r"\$(?:2[abxy]?|argon2\w*|[567y]|gy|scrypt|pbkdf2[\w-]*)\$\S+|@ByteArray\([\w+/=]+:[\w+/=]+\)"
)
_REFERENCES: Final = re.compile(
    r"\$\([^)]*/[^)]*\)|`[^`]*/[^`]*`|\$\{\w+(?::?\?[^}]*|:?[-=+])?\}|\$__\w+\{[^}]*\}|\$\w+(?![\w$])|\{\{[^}]*\}\}"
)
"""What is read from somewhere: a command's file, a variable without a value of its own, a template."""
_PATH: Final = re.compile(r"(?:@|<\s*|file(?:path)?:(?://)?|cat\s+)?/[\w.@/-]*")
_SCHEMES: Final = re.compile(r"\b(?:basic|bearer|token|digest|mediabrowser)\b", re.IGNORECASE)
_SWITCHES: Final = _set("true false yes no on off enabled disabled none null 0 1 always never")


def is_innocent(value: str) -> bool:
    """Whether `value` holds no secret of its own: empty, a switch, a reference, a file's path, a slow hash."""
    text = value.strip().strip("\"'").strip()
    if text.casefold() in _SWITCHES or _PATH.fullmatch(text) or _VERIFIER.fullmatch(text.replace("$$", "$")):
        return True
    bare = _REFERENCES.sub("", text)
    bare = bare if bare == text else _SCHEMES.sub("", bare)
    return not any(character.isalnum() for character in bare)


# ---- names ----

_STRONG: Final = re.compile(
    r"passw(?:or[dt]|0rd|d)|passphrase|passcode|secret|token(?!iz)|credential|requirepass|htpasswd|authorization"
    r"|(?:api|private|priv|access|encryption|signing|master|session|shared|account|preshared)key|basicauth"
    r"|(?<!by)(?<!com)(?<!over)pass$|pwd$"
)
_STRONG_WORDS: Final = _set("pass pwd psk pw creds")
_WEAK_WORDS: Final = _set("key keys pat jwt hmac otp")
_PUBLIC_WORDS: Final = _set("public pub")
_ABOUT: Final = _set(
    "url uri endpoint host server domain issuer length len size min max ttl expires expiry in timeout lifetime age "
    "count limit rotation iterations rounds version name names header headers algorithm method mode type kind "
    "provider prefix format scope user username role hash digest checksum sha256 pbkdf2"
)


def words(name: str) -> list[str]:
    """The words of a name in any case style: `SONARR__AUTH__APIKEY`, `apiKey`, `--api-key`."""
    return [one.casefold() for one in re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+\d*|[A-Z]+\d*|\d+", name)]


def named_secret(name: str, value: str) -> bool:
    """Whether `name` says that it holds a secret and `value` is one that is written out."""
    parts = words(name)
    if not parts or is_innocent(value) or (parts[-1] in _ABOUT or not _set("min max length").isdisjoint(parts)):
        return False
    if _STRONG.search("".join(parts)) or not _STRONG_WORDS.isdisjoint(parts):
        return True
    return not _WEAK_WORDS.isdisjoint(parts) and _PUBLIC_WORDS.isdisjoint(parts) and is_random(value.strip("\"' "))


# ---- what a text assigns ----

_QUOTED: Final = r"\"(?:[^\"\\]|\\.)*\"|'[^']*'|\$\([^)]*\)|`[^`]*`|\$\{[^}]*\}"
_ASSIGNMENTS: Final = tuple(
    map(
        re.compile,
        (
            # NAME=value, --name=value, ?name=value, Name = value
            rf"(?P<name>[A-Za-z_][\w.\\-]{{0,99}})\s*=\s*(?P<value>(?:{_QUOTED}|[^\s\"'`;&|,<>)])+)",
            # --name value
            rf"(?<![^\s\"'])--?(?P<name>[A-Za-z][\w.-]+)\s+(?P<value>(?!-)(?:{_QUOTED}|[^\s\"'`;&|<>)])+)",
            # {"name": "value"}, name: value, {name: value}, 'Header: value'
            r"[\"'](?P<name>[\w.-]+)[\"']\s*:\s*(?P<value>\"(?:[^\"\\]|\\.)*\"|'[^']*'|\d+)",
            r"(?P<name>[A-Za-z][\w.-]{0,99}):[ \t]+(?P<value>\"[^\"]*\"|'[^']*'|[^\s\"'{\[|>&][^\n\"',}]*)",
            # <name>value</name>, as the *arr apps have it
            r"<(?P<name>[A-Za-z][\w.-]*)>(?P<value>[^<>]+)</",
            # A line of two words, also as a remark: requirepass value
            r"(?m)^[ \t\r#;]*(?P<name>[A-Za-z][\w.-]*)[ \t]+(?P<value>[^\s;=:]+);?[ \t]*$",
        ),
    )
)


@lru_cache(maxsize=16384)
def assignments(text: str) -> tuple[tuple[str, str], ...]:
    """Names and values that a text sets, in the spellings of shells, flags, URLs, JSON, XML, INI, YAML and headers.

    A value that assigns in turn (`OPTS="-Dpassword=x"`) is looked into, and so on.
    """
    return tuple(_assignments(text, depth=6))  # nobody writes more by accident


def _assignments(text: str, *, depth: int) -> Iterator[tuple[str, str]]:
    plain = text.replace("\\n", "\n").replace('\\"', '"')
    for pattern in _ASSIGNMENTS:
        for found in pattern.finditer(plain):
            bare = found["value"].strip().strip("\"'")
            # Prose: "password: see the manual".
            if not (":" in found[0] and re.fullmatch(r"[A-Za-z]+(?: [A-Za-z,.']+){2,}", bare)):
                yield found["name"], found["value"].strip()
            if depth and len(bare) < len(text) and re.search(r"[=:]|--?\w", bare):
                yield from _assignments(bare, depth=depth - 1)


def sets_secret(text: str) -> bool:
    """Whether the text sets something that is called a secret to a value that is written out."""
    return any(named_secret(name, value) for name, value in assignments(text))
