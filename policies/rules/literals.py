"""What a credential looks like in plain text: functions from text to an answer, no resource and no rule.

Shapes of tokens and keys are detect-secrets' detectors', those that scripts/no-secrets runs on the source; here are
names, and issuers that it does not know. Nothing here proves that a text is *not* a secret: 64 hexadecimal digits are
a container's id as often as a key, so without a telling name they pass.
"""

import base64
import binascii
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Final
from urllib.parse import unquote

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.plugins.base import BasePlugin


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


# ---- shapes that are a credential wherever they stand ----

_OTHERS: Final = re.compile("Keyword|.*HighEntropy|IPPublic|BasicAuth|PrivateKey|Ibm|Softlayer")
"""Detectors that are no shape of a token: those by names, randomness and addresses are here."""
_found: dict[str, Callable[[], BasePlugin]] = dict(get_mapping_from_secret_type_to_class())
_PLUGINS: Final[dict[str, BasePlugin]] = {type(one).__name__: one for one in (make() for make in _found.values())}
_DETECTORS: Final = tuple(one for name, one in _PLUGINS.items() if not _OTHERS.match(name))
# Published prefixes of issuers that detect-secrets 1.5 does not know.
_PREFIXES: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:ASIA|ABIA|ACCA)[0-9A-Z]{16}|github_pat_\w{20,}|xapp-\d-[\w-]{10,}|AIza[\w-]{35}"
    r"|npm_\w{36}"
    r"|discord(?:app)?\.com/api/webhooks/\d+/[\w-]{30,}|GOCSPX-[\w-]{20,}"
    r"|pul-[0-9a-f]{40}|hf_\w{30,}|dckr_(?:pat|oat)_[\w-]{20,}|hv[sbr]\.[\w-]{20,}|tskey-[a-z]+-[\w-]{10,}"
    r"|whsec_\w{20,}"
    r"|gl(?:sa|c)_[\w+/=-]{20,}|do[opr]_v1_[0-9a-f]{64}|v1\.0-[0-9a-f]{24}-[0-9a-f]{40,}|dp\.(?:pt|st|ct|sa)\.\w{30,}"
    r"|sk-(?:ant-|proj-|svcacct-)[\w-]{20,}|rk_(?:live|test)_\w{16,}|ya29\.[\w-]{20,}|qbt_\w{28}"
    r"|claim-[\w-]{20}(?!\w))"
)
_KEYS: Final = re.compile(
    r"-----BEGIN[ A-Z0-9]* PRIVATE KEY|PuTTY-User-Key-File-\d|b3BlbnNzaC1rZXktdjE|AGE-SECRET-KEY-1[0-9A-Z]{20,}",
    re.IGNORECASE,
)
_AUTHORIZATION: Final = re.compile(
    r"\bauthorization[\"']?\s*[:=,]?\s*[\"']?(?:basic|bearer|token|digest)\s+(?P<value>[^\"'\n]+)", re.IGNORECASE
)
_BASIC: Final = re.compile(r"\bbasic\s+(?P<value>[A-Za-z0-9+/_-]{4,}={0,2})(?![\w+/=])", re.IGNORECASE)
_URLS: Final = (
    re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/?#@:\"'<>]*:(?P<value>[^\s/?#@\"'<>]+)@(?!sha\d)", re.IGNORECASE),
    # In a database's address a slash in the password is common, though it should be escaped.
    re.compile(
        r"\b(?:postgres\w*|mysql|mongodb|rediss?|amqps?)\S*://[^\s@:/]*:(?P<value>[^\s@\"'<>]+)@", re.IGNORECASE
    ),
    # Without a scheme: user:password@tcp(…), //user:password@host and user:password@host:port.
    re.compile(r"(?<![\w/:.@-])(?://)?[\w.%-]+:(?P<value>[^\s/?#@:\"'<>]+)@(?:(?:tcp|unix)\(|[\w.-]+:\d{2,5}\b)"),
)


def has_private_key(text: str) -> bool:
    """A private key, in clear or wrapped in base64."""
    return any(map(_KEYS.search, layers(text)))


def has_token(text: str, *, expanded: bool = False) -> bool:
    """A token of a known issuer, or the credential of an Authorization header."""
    return any(
        _PREFIXES.search(one)
        or any(any(detector.analyze_string(one)) for detector in _DETECTORS)
        or any(not is_innocent(found["value"], expanded=expanded) for found in _AUTHORIZATION.finditer(one))
        or any(":" in (_readable(found["value"]) or "") for found in _BASIC.finditer(one))
        for one in layers(text)
    )


def has_url_credentials(text: str, *, expanded: bool = False) -> bool:
    """`scheme://user:password@host` with a password that is written out."""
    return any(
        not is_innocent(found["value"], expanded=expanded, numbers=False)
        for one in layers(text)
        for pattern in _URLS
        for found in pattern.finditer(one)
    )


def looks_secret(text: str) -> bool:
    """Any of the above, or random text: for deciding what may be printed."""
    return has_private_key(text) or has_token(text) or has_url_credentials(text) or has_random(text)


_FAST_HASHES: Final = re.compile(
    r"(?<![\w$/.-])(?:\$(?:apr)?1\$[./A-Za-z0-9]{1,8}\$[./A-Za-z0-9]{22}"
    r"|\{S?(?:SHA|MD5)\d*\}[A-Za-z0-9+/]{20,}={0,2})"
)


def has_fast_hash(text: str) -> bool:
    """A password's hash that is fast to try (`$apr1$`, `$1$`, `{SHA}`): as good as the password."""
    return any(_FAST_HASHES.search(one.replace("$$", "$")) for one in layers(text))


_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")


@lru_cache(maxsize=4096)
def layers(text: str) -> tuple[str, ...]:
    """The text, with escaped line ends put right, and what it holds in base64, once or twice, or in percent signs."""
    found = [text.replace("\\n", "\n")]
    for _ in range(2):
        for one in tuple(found):
            joined = re.sub(r"(?<=[A-Za-z0-9+/]{60})\r?\n[ \t]*(?=[A-Za-z0-9+/=])", "", one)
            found += [inner for piece in _BASE64.finditer(joined) if (inner := _readable(piece[0])) is not None]
            found.append(unquote(one))
    return tuple(dict.fromkeys(found))


def _readable(piece: str) -> str | None:
    """What a piece of base64 decodes to, where that is text."""
    bare = piece.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        text = base64.b64decode(bare + "=" * (-len(bare) % 4)).decode()
    except (binascii.Error, ValueError):
        return None
    return text if text and all(letter.isprintable() or letter in "\r\n\t" for letter in text) else None


# ---- text that is public, or only refers to a secret ----

# Password hashes that are salted and slow: a verifier, which applications want in their configuration.
_VERIFIER: Final = (
    r"(?:\$2[abxy]?\$\d\d\$[./A-Za-z0-9]{53}|\$argon2(?:id|i|d)\$[\w=,]+(?:\$[\w=,]+)?(?:\$[A-Za-z0-9+/]+){2}"
    r"|\$(?:5|6|7|y|gy|scrypt)\$[./A-Za-z0-9$=,]+|\$pbkdf2(?:-sha\d+)?\$\d+\$[./A-Za-z0-9]+\$[./A-Za-z0-9]+"
    r"|@ByteArray\([A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+\))"
)
_VERIFIERS: Final = re.compile(rf"\"?(?:[\w.@-]+:)?{_VERIFIER}(?:,(?:[\w.@-]+:)?{_VERIFIER})*\"?")
_PUBLIC: Final = re.compile(
    r"(?:sha\d+|md5)[-:][A-Za-z0-9+/=_-]{20,}|(?:ssh-\w+|(?:sk-)?ecdsa-sha2-[\w@.-]+)\s+[A-Za-z0-9+/=]+"
    r"|\bage1[0-9a-z]{50,}|ENC\[AES256_GCM,[^\]]*\]"
    r"|-----BEGIN (?:CERTIFICATE|[A-Z ]*PUBLIC KEY)-----[^-]*-----END [A-Z ]+-----"
    rf"|\b[0-9a-f]{{8}}-(?:[0-9a-f]{{4}}-){{3}}[0-9a-f]{{12}}\b|{_VERIFIER}",
    re.IGNORECASE,
)
_KEY_BODY: Final = re.compile(r"(?<=PRIVATE KEY-----)[^-]+(?=-----END)")
_SUBSTITUTION: Final = re.compile(r"\$\(((?:[^()]|\([^()]*\))*)\)|`([^`]*)`")
_REFERENCES: Final = re.compile(
    r"\$__\w+\{[^}]*\}|ENC\[AES256_GCM,[^\]]*\]|\$\{\w+\}|\{\{[^}]*\}\}|\{(?:env|file)[.:][^}]*\}|%\(\w+\)s|%[A-Z_]+%"
    r"|!(?:secret|env_var|file)\s+\S+"
    r"|\$(?:[A-Z_][A-Z0-9_]*|[\d@*#?!-])(?![a-z])"
)
_FILE: Final = re.compile(
    r"(?:@|<\s*|file(?:path)?:(?://)?|cat\s+)?(?:/var)?/(?:run/)?secrets?/[\w./-]+|(?:@|<\s*|file:(?://)?)/[\w./-]+"
)
_SCHEMES: Final = re.compile(r"\b(?:basic|bearer|token|digest|mediabrowser|apikey)\b", re.IGNORECASE)
_TRUTHS: Final = _set(
    "true false yes no on off enabled disabled enable disable none null nil undefined 0 1 y n always never"
)


def is_innocent(value: str, *, expanded: bool = False, numbers: bool = True) -> bool:
    """True where `value` holds no secret of its own: empty, a switch, a number, a reference, a path of secret files.

    `expanded`: a shell expands it, so `$name` is a reference; elsewhere only `$NAME` and `${NAME}` are.
    `numbers=False` refuses a bare number, for where a password is meant.
    """
    text = value.strip().strip("\"'").strip()
    if text.casefold() in _TRUTHS or (numbers and re.fullmatch(r"[-+]?[\d.,]+", text)):
        return True
    if _VERIFIERS.fullmatch(text.replace("$$", "$")) or _FILE.fullmatch(text):
        return True
    # What a shell would print is written out; what it reads from somewhere is a reference.
    bare = _SUBSTITUTION.sub(lambda found: _printed(found[1] or found[2] or ""), text)
    bare = re.sub(r"\$\{\w+:?(?:[-=+]([^}]*)|\?[^}]*)\}", lambda found: found[1] or "", bare)
    bare = _REFERENCES.sub("", bare)
    bare = re.sub(r"\$(?:\w+|[@*#?!-])", "", bare) if expanded else bare
    bare = bare if bare == text else _SCHEMES.sub("", bare)
    return not any(character.isalnum() for character in bare)


def _printed(command: str) -> str:
    found = re.search(r"(?:^\s*(?:[/\w]*/)?(?:echo|printf)\s|<<<)\s*([^|;&]*)", command)
    return re.sub(r"(?:^|\s)-\w+|%s|\\n", "", found[1]) if found else ""


# ---- names ----

_STRONG: Final = re.compile(
    r"passw(?:or[dt]|0rd|d)|passphrase|passcode|secret|token(?!iz)|(?:api|private|priv|access|encryption|signing"
    r"|master|session|storage|shared|account)key|credential|requirepass|masterauth|basicauth|digestauth"
    r"|htpasswd|mnemonic"
    r"|(?<!by)(?<!com)(?<!over)pass$|pwd$"
)
_STRONG_WORDS: Final = _set("pass pwd psk pw cred creds totp")
_WEAK_WORDS: Final = _set("key keys pat jwt hmac sas login auth bearer otp")
_PUBLIC_WORDS: Final = _set("public pub pubkey pubkeys publickey")
_FILES: Final = _set("file files path paths filename dir directory folder mount")
_ABOUT: Final = _set(
    "url uri endpoint address host hostname server domain issuer audience link origin port length len size min "
    "max ttl expiry expires expiration timeout duration interval lifetime age count limit attempts retries cost "
    "rounds iterations bits bytes seconds minutes hours days version rotation name names header headers algorithm "
    "method mode type kind policy provider prefix format encoding backend class scope scopes claim strategy field "
    "param attribute user username role realm group prompt label title description source store manager digest "
    "checksum fingerprint hash verifier sha256 sha512 md5"
)
_METHODS: Final = _set(
    "basic bearer digest external forms form oauth oauth2 oidc ldap saml jwt apikey token password pam proxy "
    "header session cookie plain login md5 trust peer ident cert mtls tls required optional auto default any all "
    "public internal"
)
_INNOCENT_WORDS: Final = _PUBLIC_WORDS | _set(
    "sha sha256 sha512 md5 digest checksum fingerprint hash id ids uid uuid guid commit revision ref image "
    "container volume network etag version seed trace cert certificate crt ca build integrity machine peers "
    "recipient recipients"
)


def words(name: str) -> list[str]:
    """The words of a name in any case style: `SONARR__AUTH__APIKEY`, `apiKey`, `--api-key`."""
    return [one.casefold() for one in re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+\d*|[A-Z]+\d*|\d+", name)]


def named_secret(name: str, value: str, *, expanded: bool = False) -> bool:
    """True where `name` says that it holds a secret and `value` is one that is written out."""
    parts = words(name)
    squashed = "".join(parts)
    text = value.strip().strip("\"'").strip()
    strong = bool(_STRONG.search(squashed)) or not _STRONG_WORDS.isdisjoint(parts)
    last = next((part for part in reversed(parts) if not part.isdigit()), "")
    about = last in _ABOUT or not _set("min max length ttl expires").isdisjoint(parts)
    if not strong and (_WEAK_WORDS.isdisjoint(parts) or not _PUBLIC_WORDS.isdisjoint(parts)):
        return False
    if is_innocent(text, expanded=expanded, numbers=not strong or about) or (
        squashed == "pwd" and text.startswith("/")
    ):
        return False
    if last in _FILES or last.endswith(("file", "key")):
        pathlike = re.fullmatch(
            r"(?:file:)?/[\w.@/-]+|[\w-]+\.(?:txt|pem|key|json|ya?ml|toml|conf|env|crt|htpasswd)", text
        )
        if pathlike and not has_random(text) and (last.endswith("key") is False or text.count("/") > 1):
            return False
    if about and not (has_random(text) or has_token(text) or has_url_credentials(text)):
        return False
    if strong:
        return True
    if last in ("auth", "login", "bearer"):
        return text.casefold() not in _METHODS and not re.fullmatch(
            r"[\w-]+@(?:file|docker|internal)|/\S*|https?://\S+|[\w.-]+:\d+|[\w-]+(?:,[\w-]+)+", text
        )
    return has_random(text) or bool(re.fullmatch(r"[0-9a-fA-F]{32,}", text))


# ---- randomness ----


def innocent_name(name: str) -> bool:
    """True where a name says that random text under it is public: a digest, an id, a public key."""
    parts = words(name)
    return not _INNOCENT_WORDS.isdisjoint(parts) and "private" not in parts and "secret" not in parts


def without_public(text: str) -> str:
    """The text without public keys, certificates, digests and the inside of private keys; lines keep their number."""
    return _PUBLIC.sub(lambda found: " " + "\n" * found[0].count("\n"), _KEY_BODY.sub(_lines_of, text))


def _lines_of(found: re.Match[str]) -> str:
    return "\n" * found[0].count("\n")


_HEX: Final = re.compile(r"(?<![A-Za-z0-9])[0-9a-fA-F]{12,}(?![A-Za-z0-9])")


def has_random(text: str) -> bool:
    """True where `text` holds a run that no one types: long, of mixed kinds, without words.

    Hexadecimal runs of 40, 64, 96 and 128 digits pass: those are the lengths of digests, commits and Docker's ids.
    """
    bare = _PUBLIC.sub(" ", text)
    for piece in _BASE64.findall(bare):  # base64 of something that can be read is checked by what it says
        if len(piece) > 20 and (inner := _readable(piece)) is not None:
            bare = bare.replace(piece, f" {inner} " if inner != piece else " ")
    if any(_random_hex(one) for one in _HEX.findall(bare) if len(one) >= 32):
        return True
    return any(_random_run(one) for one in re.findall(r"[A-Za-z0-9+/_-]{20,}", _HEX.sub(" ", bare)))


def _random_hex(run: str) -> bool:
    mixed = run not in (run.lower(), run.upper()) or run.isdigit() or run.isalpha()
    return len(run) not in (40, 64, 96, 128) and not mixed and _entropy(run.lower()) >= 3.0


# The pairs of letters that make up two thirds of English and of the names of options, and a sixth of random text.
_COMMON_PAIRS: Final = _set(
    "th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le ve co me de hi ri "
    "ro ic ne ea ra ce li ch ll be ma si om ur ca el ta la ns di fo ho pe ec pr no ct us ac ot il tr ly nc et ut "
    "ss so rs un lo wa ge ie wh ee wi em ad ol rt po we na ul ni ts mo ow pa im mi ai sh ir su id os iv ia am fi "
    "ci vi pl ig tu ev ld ry mp fe bl ab gh ty op wo sa ay ex ke ui fr oo ag ls ap ue if bo ck ds sp cr up ef da "
    "og ub sc"
)


def _random_run(run: str) -> bool:
    letters = [character for character in run if character.isalnum()]
    if len(letters) < 20 or _entropy(run) < 3.5:
        return False
    pairs = [pair for pair in map("".join, pairwise(run.casefold())) if pair.isalpha()]
    if pairs and sum(pair in _COMMON_PAIRS for pair in pairs) >= 0.5 * len(pairs):
        return False
    kinds = [0 if letter.islower() else 1 if letter.isupper() else 2 for letter in letters]
    if {0, 1} <= set(kinds):
        return sum(a != b for a, b in pairwise(kinds)) >= 0.27 * (len(kinds) - 1)
    # One case only: a single piece with digits strewn in.
    pieces = re.findall(r"[A-Za-z0-9]{24,}", run)
    return any(sum(a.isdigit() != b.isdigit() for a, b in pairwise(one)) >= 0.15 * len(one) for one in pieces)


def _entropy(text: str) -> float:
    """Shannon entropy in bits a character."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())


# ---- what a text assigns ----

_QUOTED: Final = r"\"(?:[^\"\\]|\\.)*\"|'[^']*'|\$\((?:[^()]|\([^()]*\))*\)|`[^`]*`|\$\{[^}]*\}"
_ASSIGNMENTS: Final = tuple(
    map(
        re.compile,
        (
            # NAME=value, --name=value, ?name=value, o=username=x,password=y
            rf"(?<![\w$])(?:-D)?(?P<name>-{{0,2}}[A-Za-z_][\w.\\-]*)=(?P<value>(?:{_QUOTED}|[^\s\"'`&;|,<>)])+)",
            # --name value
            rf"(?<![^\s\"'])--?(?P<name>[A-Za-z][\w.-]+)\s+(?P<value>(?!-)(?:{_QUOTED}|[^\s\"'`&;|<>)])+)",
            # {"name": "value"}
            r"[\"'](?P<name>[\w.-]+)[\"']\s*:\s*(?P<value>\"(?:[^\"\\]|\\.)*\"|'[^']*'|\d+)",
            # <name>value</name>
            r"<(?P<name>[A-Za-z][\w:.-]*)>(?P<value>[^<>]+)</",
            # ;Name = value
            r";\s*(?P<name>[A-Za-z][\w ]*?)\s*=\s*(?P<value>\"[^\"]*\"|'[^']*'|[^\s;\"']+)(?=\s*(?:;|$))",
            # {name: value, name: value}
            r"[{,]\s*(?P<name>[A-Za-z][\w.-]*):\s+(?P<value>[^\s,{}\[\]\"']+)(?=\s*[,}])",
            # name = value, and name: value, at the start of a line or of a quoted header
            r"(?m)^\s*(?P<name>[A-Za-z][\w.\\-]*)\s+=\s+(?P<value>\S.*)$",
            r"(?m)(?:^|[\"'])\s*(?:-\s+)?(?P<name>[A-Za-z][\w.-]*):\s+"
            r"(?P<value>[^\n\"'{\[|>&][^\n\"']*|\"[^\"]*\"|'[^']*')",
            # X-Api-Key:value
            r"(?i)(?<![\w-])(?P<name>x-[\w-]*(?:key|token|auth)|[\w-]+-token):(?P<value>[^\s\"']+)",
        ),
    )
)


def assignments(text: str, depth: int = 3) -> Iterator[tuple[str, str]]:
    """Names and values that a text sets, in the spellings of shells, flags, URLs, JSON, XML, INI, YAML and headers.

    A value that assigns in turn (`OPTS="-Dpassword=x"`) is looked into, `depth` times.
    """
    for pattern in _ASSIGNMENTS:
        for found in pattern.finditer(text):
            value = found["value"].strip()
            bare = value.strip("\"'")
            # Prose: "password: see the manual".
            if not (":" in found[0] and " " in bare and re.fullmatch(r"[A-Za-z][A-Za-z ,.']+", bare)):
                yield found["name"], value
            if depth and bare != text:
                yield from assignments(bare.replace('\\"', '"'), depth - 1)


def directive(line: str, *, apart: bool) -> Iterator[tuple[str, str]]:
    """What a line of a configuration file would set if it were not commented out. `apart`: names and values stand
    side by side (`requirepass …`) in such a file."""
    rest = re.sub(r"^\s*(?:#+|//|;+|--|<!--)\s*(?:-\s+)?", "", line)
    between = r"(?:\s*[:=]\s*|\s+)" if apart else r"\s*[:=]\s*"
    found = re.fullmatch(rf"\s*(?P<name>[A-Za-z][\w.-]*?){between}(?P<value>[^\s;]+);?\s*(?:-->)?\s*", rest)
    if found and (apart or rest != line) and words(found["name"])[-1:] != ["login"]:  # `login NAME` is a name
        yield found["name"], found["value"].strip("\"'")


# Tools that take a password by a short option.
_TOOLS: Final = re.compile(
    r"(?:^|[\s;|&(/\"'])(?:(?:mysql\w*|mariadb[\w-]*)\b[^|;&\n]*?\s-p"
    r"|(?:sshpass|7z[ar]?|\S+\s+login)\b[^|;&\n]*?\s-p[\s=]?"
    r"|(?:redis|valkey)-cli\b[^|;&\n]*?\s-a\s+|(?:curl|wget)\b[^|;&\n]*?\s(?:-u|--user)[\s=]?[\"']?[^\s:\"'/]*:)"
    r"(?P<value>\"[^\"]*\"|'[^']*'|(?:\$\((?:[^()]|\([^()]*\))*\)|`[^`]*`|[^\s\"'|;&`])+)"
)


def tool_password(text: str) -> bool:
    """True where a command line gives a known tool a password that is written out."""
    return any(not is_innocent(found["value"], expanded=True, numbers=False) for found in _TOOLS.finditer(text))
