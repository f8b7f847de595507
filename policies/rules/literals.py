"""What a credential looks like in plain text: pure functions from text to a verdict, no resource and no rule.

Nothing here proves that a text is *not* a secret. 64 hexadecimal digits are a container's id and an image's digest
as often as a key, so without a telling name they pass; the name decides (`named_secret`).
"""

import base64
import binascii
import math
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Final
from urllib.parse import unquote


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


# ---- shapes that are a credential wherever they stand ----

_PRIVATE_KEYS: Final = re.compile(
    r"-----BEGIN[ A-Z0-9]* PRIVATE KEY(?: BLOCK)?-----"
    r"|PuTTY-User-Key-File-\d"
    r"|b3BlbnNzaC1rZXktdjE"  # the first bytes of every OpenSSH private key, in base64
    r"|AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]{20,}",
    re.IGNORECASE,
)
# Published prefixes: the issuer's own documentation, and the rule sets of gitleaks and detect-secrets.
_TOKENS: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    + "|".join(
        (
            r"(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}",  # AWS
            r"gh[pousr]_[A-Za-z0-9]{30,}",  # GitHub
            r"github_pat_[A-Za-z0-9_]{20,}",
            r"gl(?:pat|ptt|dt|rt|cbt|soat|ft|agent|imt|oas|ffct)-[A-Za-z0-9_-]{18,}",  # GitLab
            r"xox[abceoprs]-[A-Za-z0-9-]{10,}",  # Slack
            r"xapp-\d-[A-Za-z0-9-]{10,}",
            r"hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/+]{20,}",
            r"discord(?:app)?\.com/api/webhooks/\d+/[\w-]{30,}",
            r"[MNO][A-Za-z\d_-]{23,27}\.[\w-]{6}\.[\w-]{27,}",  # Discord bot
            r"\d{8,10}:[A-Za-z0-9_-]{35}(?![\w-])",  # Telegram bot
            r"pul-[0-9a-f]{40}",  # Pulumi
            r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}",  # JSON web token
            r"AIza[\w-]{35}",  # Google
            r"GOCSPX-[\w-]{20,}",
            r"ya29\.[\w-]{20,}",
            r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}",  # Stripe
            r"whsec_[A-Za-z0-9+/]{20,}",
            r"sk-(?:ant-|proj-|svcacct-)?[A-Za-z0-9_-]{20,}",  # OpenAI, Anthropic
            r"hf_[A-Za-z0-9]{30,}",  # Hugging Face
            r"npm_[A-Za-z0-9]{36}",
            r"pypi-AgEI[\w-]{20,}",
            r"dckr_(?:pat|oat)_[\w-]{20,}",  # Docker Hub
            r"hv[sbr]\.[\w-]{20,}",  # Vault
            r"tskey-[a-z]+-[A-Za-z0-9-]{10,}",  # Tailscale
            r"gl(?:sa|c)_[A-Za-z0-9+/_=-]{20,}",  # Grafana
            r"do[opr]_v1_[0-9a-f]{64}",  # DigitalOcean
            r"SG\.[\w-]{16,}\.[\w-]{16,}",  # SendGrid
            r"v1\.0-[0-9a-f]{24}-[0-9a-f]{40,}",  # Cloudflare
            r"dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9]{30,}",  # Doppler
            r"ops_eyJ[\w-]{20,}",  # 1Password
            r"qbt_[A-Za-z0-9]{28}",  # qBittorrent
            r"claim-[A-Za-z0-9_-]{20}(?![\w-])",  # Plex
            r"tk_[a-z0-9]{29}(?![\w-])",  # ntfy
        )
    )
    + ")"
)
_AUTHORIZATION: Final = re.compile(
    r"\bauthorization(?:[\"']?\s*[:=]\s*[\"']?|[\"']?\s*[\s,]\s*[\"'])"
    r"(?:basic|bearer|token|digest|mediabrowser)\s+(?P<value>[^\"'\n]+)",
    re.IGNORECASE,
)
_BASIC: Final = re.compile(r"\bbasic\s+(?P<value>[A-Za-z0-9+/_-]{4,}={0,2})(?![\w+/=])", re.IGNORECASE)
_URL: Final = re.compile(
    r"\b[a-z][a-z0-9+.-]*://[^\s/?#@:\"'<>]*:(?P<value>[^\s/?#@\"'<>]+)@(?!sha\d)", re.IGNORECASE
)
# In a database's address a slash in the password is common, though it should be escaped.
_DATABASE_URL: Final = re.compile(
    r"\b(?:postgres(?:ql)?|mysql|mariadb|mongodb(?:\+srv)?|rediss?|valkey|amqps?|mssql|clickhouse)(?:\+\w+)?://"
    r"[^\s@:/\"'<>]*:(?P<value>[^\s@\"'<>]+)@",
    re.IGNORECASE,
)
_GO_DSN: Final = re.compile(r"(?<![\w/])[\w.-]+:(?P<value>[^\s@:/\"'<>]+)@(?:tcp|unix)\(")
# Without a scheme: //user:password@host and user:password@host:port.
_SCHEMELESS: Final = re.compile(
    r"(?:(?<![\w:/.])//[\w.%-]*:(?P<value>[^\s/?#@:\"'<>]+)@(?=[\w\[])"
    r"|(?<![\w:/@.%-])[\w.%-]+:(?P<bare>[^\s/?#@:\"'<>]+)@[\w-]+(?:\.[\w-]+)*:\d{2,5}(?![\w:.@-]))"
)
_ORACLE: Final = re.compile(r"\boracle:\w+:[\w.]*/(?P<value>[^\s@\"'<>]+)@", re.IGNORECASE)


def has_private_key(text: str) -> bool:
    """A private key, in clear or wrapped in base64."""
    return any(_PRIVATE_KEYS.search(layer) for layer in layers(text))


def has_token(text: str, *, expanded: bool = False) -> bool:
    """A token of a known issuer, or the credential of an Authorization header."""
    return any(
        _TOKENS.search(layer)
        or any(not innocent(found["value"], expanded=expanded) for found in _AUTHORIZATION.finditer(layer))
        or any(_user_and_password(found["value"]) for found in _BASIC.finditer(layer))
        for layer in layers(text)
    )


def _user_and_password(value: str) -> bool:
    """Whether what stands after `Basic` is a user's name and password in base64."""
    return any(re.fullmatch(r"[^\s:]*:\S+", decoded) for decoded in (_readable(value),) if decoded is not None)


def has_url_credentials(text: str, *, expanded: bool = False) -> bool:
    """`scheme://user:password@host` with a password that is written out."""
    return any(
        not innocent(next(filter(None, found.groups())), expanded=expanded, numbers=False)
        for layer in layers(text)
        for pattern in (_URL, _DATABASE_URL, _GO_DSN, _SCHEMELESS, _ORACLE)
        for found in pattern.finditer(layer)
    )


def looks_secret(text: str) -> bool:
    """Any of the above, or random text: for deciding what may be printed."""
    return has_private_key(text) or has_token(text) or has_url_credentials(text) or has_random(text)


# Hashes that are as good as the password: fast to try, or not salted.
_FAST_HASHES: Final = re.compile(
    r"(?<![\w$/.-])(?:\$apr1\$[./A-Za-z0-9]{1,8}\$[./A-Za-z0-9]{22}|\$1\$[./A-Za-z0-9]{1,8}\$[./A-Za-z0-9]{22}"
    r"|\{S?(?:SHA|MD5)\d*\}[A-Za-z0-9+/]{20,}={0,2})"
)


def has_fast_hash(text: str) -> bool:
    """A password's hash that is fast to try (`$apr1$`, `$1$`, `{SHA}`), also with the dollars of Compose doubled."""
    return any(_FAST_HASHES.search(layer.replace("$$", "$")) for layer in layers(text))


_WRAPS: Final = 3
"""How often a text may be wrapped in base64 and still be read."""


@lru_cache(maxsize=4096)
def layers(text: str) -> tuple[str, ...]:
    """The text, with escaped line ends put right, and all that it holds in base64 or percent signs."""
    found = [text.replace("\\n", "\n")]
    _unwrap(found[0], _WRAPS, found)
    return tuple(dict.fromkeys(found))


def _unwrap(text: str, depth: int, found: list[str]) -> None:
    if depth == 0:
        return
    # Long base64 is broken into lines of 64 or 76.
    joined = re.sub(r"(?<=[A-Za-z0-9+/]{60})\r?\n[ \t]*(?=[A-Za-z0-9+/=])", "", text)
    inner = [decoded for piece in _BASE64.finditer(joined) if (decoded := _readable(piece[0])) is not None]
    if re.search(r"%(?:2[0-9a-f]|3[0-9a-f]|40)", text, re.IGNORECASE) and (plain := unquote(text)) != text:
        inner.append(plain)
    for one in inner:
        found.append(one)
        _unwrap(one, depth - 1, found)


_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")


def _readable(piece: str) -> str | None:
    """What a piece of base64 decodes to, where that is text."""
    bare = piece.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        decoded = base64.b64decode(bare + "=" * (-len(bare) % 4))
        text = decoded.decode("utf-16-le" if decoded[1::2].count(0) * 2 == len(decoded) > 0 else "utf-8")
    except (binascii.Error, ValueError):
        return None
    return text if text and all(letter.isprintable() or letter in "\r\n\t" for letter in text) else None


# ---- text that is public, or only refers to a secret ----

# Password hashes that are salted and slow: a verifier, which applications want in their configuration, and which
# shows the password only to who can guess it. Fast ones ($1$, $apr1$, {SHA}, bare MD5) are as good as the password.
_VERIFIER: Final = (
    r"(?:\$2[abxy]?\$\d\d\$[./A-Za-z0-9]{53}"
    r"|\$argon2(?:id|i|d)\$[\w=,]+(?:\$[\w=,]+)?\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+"
    r"|\$(?:5|6|7|y|gy|scrypt)\$[./A-Za-z0-9$=,]+"
    r"|\$pbkdf2(?:-sha\d+)?\$\d+\$[./A-Za-z0-9]+\$[./A-Za-z0-9]+"
    r"|SCRAM-SHA-\d+\$\d+:[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+"
    r"|@ByteArray\([A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+\))"
)
_VERIFIERS: Final = re.compile(rf"\"?(?:[\w.@-]+:)?{_VERIFIER}(?::[\w.-]+)?(?:,(?:[\w.@-]+:)?{_VERIFIER})*\"?")
_PUBLIC: Final = re.compile(
    r"sha(?:1|224|256|384|512)[-:][A-Za-z0-9+/=_-]{20,}"
    r"|\bmd5[-:][0-9a-f]{32}"
    r"|ssh-(?:rsa|ed25519|dss)\s+[A-Za-z0-9+/=]+"
    r"|(?:sk-)?ecdsa-sha2-[\w@.-]+\s+[A-Za-z0-9+/=]+"
    r"|\bage1[0-9a-z]{50,}"
    r"|ENC\[AES256_GCM,[^\]]*\]"
    r"|-----BEGIN (?:CERTIFICATE|PUBLIC KEY|[A-Z]+ PUBLIC KEY)-----[^-]*-----END [A-Z ]+-----"
    r"|\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"
    rf"|{_VERIFIER}",
    re.IGNORECASE,
)
_SUBSTITUTION: Final = re.compile(r"\$\((?P<dollar>(?:[^()]|\([^()]*\))*)\)|`(?P<tick>[^`]*)`")
_DEFAULTED: Final = re.compile(r"\$\{\w+:?[-=+](?P<default>[^}]*)\}")
_BRACED: Final = re.compile(
    r"\$__\w+\{[^}]*\}|ENC\[AES256_GCM,[^\]]*\]|\$\{[^}]*\}|\{\{[^}]*\}\}|\{(?:env|file)[.:][^}]*\}|!(?:secret|env_var|file)\s+\S+|%\(\w+\)s|%[A-Z_]+%"
)
_VARIABLE: Final = re.compile(r"\$(?:[A-Z_][A-Z0-9_]*|[\d@*#?!-])(?![a-z])")
_SHELL_VARIABLE: Final = re.compile(r"\$(?:\w+|[@*#?!-])")
_SECRET_FILE: Final = re.compile(
    r"(?:@|<\s*|file:(?://)?|filepath:|cat\s+)?(?:/var)?/(?:run/)?secrets?/[\w./-]+"
    r"|(?:@|<\s*|file:(?://)?|filepath:)/[\w./-]+"
)
_SCHEME_WORDS: Final = re.compile(r"\b(?:basic|bearer|token|digest|mediabrowser|apikey)\b", re.IGNORECASE)
_TRUTHS: Final = _set(
    "true false yes no on off enabled disabled enable disable none null nil undefined 0 1 y n always never"
)


def innocent(value: str, *, expanded: bool = False, numbers: bool = True) -> bool:
    """True where `value` holds no secret of its own: empty, a switch, a number, a reference, a path of secret files.

    `expanded` says that a shell expands it, so `$name` is a reference; elsewhere only `$NAME` and `${name}` are,
    since `$ecret1` is then a password. `numbers=False` refuses a bare number, for where a password is meant.
    """
    text = value.strip().strip("\"'").strip()
    if text.casefold() in _TRUTHS or (numbers and re.fullmatch(r"[-+]?[\d.,]+", text)):
        return True
    if _VERIFIERS.fullmatch(text.replace("$$", "$")) or _SECRET_FILE.fullmatch(text):
        return True
    # What a shell would print is written out; what it reads from somewhere is a reference.
    written = text
    text = _SUBSTITUTION.sub(lambda found: _printed(found["dollar"] or found["tick"] or ""), text)
    text = _DEFAULTED.sub(lambda found: found["default"], text)
    text = _BRACED.sub("", text)
    text = (_SHELL_VARIABLE if expanded else _VARIABLE).sub("", text)
    if text != written:
        text = _SCHEME_WORDS.sub("", text)
    return not any(character.isalnum() for character in text)


def _printed(command: str) -> str:
    """What a command substitution writes out itself: the words after echo, printf or `<<<`."""
    found = re.search(r"(?:^\s*(?:[/\w]*/)?(?:echo|printf)\s|<<<)\s*(?P<words>[^|;&]*)", command)
    return re.sub(r"(?:^|\s)-\w+|%s|\\n", "", found["words"]) if found else ""


# ---- names ----

_STRONG: Final = re.compile(
    r"password|passwort|passw0rd|passwd|passphrase|passcode|pincode|secret|token(?!iz)|apikey|privatekey|privkey|accesskey"
    r"|presharedkey|encryptionkey|signingkey|masterkey|sessionkey|storagekey|credential|requirepass|masterauth"
    r"|basicauth|digestauth|sharedkey|accountkey|htpasswd|mnemonic|(?<!by)(?<!com)(?<!tres)(?<!over)pass$|pwd$"
)
_STRONG_WORDS: Final = frozenset({"pass", "pwd", "psk", "pw", "cred", "creds", "totp"})
_WEAK_WORDS: Final = frozenset({"key", "keys", "pat", "jwt", "hmac", "sas", "login", "auth", "bearer", "otp"})
_PUBLIC_WORDS: Final = frozenset({"public", "pub", "pubkey", "pubkeys", "publickey"})
_METHODS: Final = _set(
    "basic bearer digest external forms form oauth oauth2 oidc ldap saml jwt apikey token password pam proxy "
    "header session cookie plain login md5 trust peer ident cert mtls tls ntlm kerberos local internal "
    "required optional auto default any all public anonymous sso openid scram-sha-256 cram-md5 xoauth2 "
    "starttls"
)
_FILE_WORDS: Final = _set("file files secretfile path paths filepath filename dir directory folder mount")
_PLACE_WORDS: Final = _set(
    "url uri endpoint address addr host hostname server domain issuer audience link origin port"
)
_AMOUNT_WORDS: Final = _set(
    "length len size min max ttl expiry expires expiration timeout duration interval lifetime age count num "
    "limit attempts retries cost rounds iterations bits bytes seconds minutes hours days version rotation "
    "delay period total budget quota rate"
)
_WORD_WORDS: Final = _set(
    "name names header headers algorithm algo method methods mode type kind policy provider prefix suffix "
    "format encoding backend driver class scope scopes claim strategy charset field param parameter attribute "
    "user username role roles style realm group groups hint prompt label title description source store "
    "engine manager"
)
_DIGEST_WORDS: Final = _set(
    "sha sha1 sha256 sha384 sha512 md5 digest checksum fingerprint thumbprint hash hashed pbkdf2 bcrypt "
    "argon2 verifier verifiers"
)
_SWITCH_WORDS: Final = _set(
    "use uses require requires required enable enabled enables disable disabled allow allowed allows has have "
    "no not skip hide show force forced ignore with without is needs"
)
_INNOCENT_WORDS: Final = (
    _DIGEST_WORDS
    | _PUBLIC_WORDS
    | _set(
        "id ids uid uids uuid guid commit revision rev ref image container volume network node etag version seed "
        "trace span cert certificate crt ca build integrity machine peers recipient recipients"
    )
)
_ALGORITHM: Final = re.compile(
    r"(?:hs|rs|es|ps|sha|sha-|md|argon|aes-?|scram-sha-|tls|v|oauth|ed|p-|secp|rsa-?|pbkdf|x)\d[\w-]*", re.IGNORECASE
)


def words(name: str) -> list[str]:
    """The words of a name in any case style: `SONARR__AUTH__APIKEY`, `apiKey`, `--api-key`."""
    found = re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+", name)
    joined: list[str] = []
    for word in found:
        # A digit belongs to the word before it: sha256, argon2.
        if word.isdigit() and joined and joined[-1] in ("sha", "md", "argon", "pbkdf", "oauth"):
            joined[-1] += word
        else:
            joined.append(word.casefold())
    return joined


def named_secret(name: str, value: str, *, expanded: bool = False) -> bool:
    """True where `name` says that it holds a secret and `value` is one that is written out."""
    parts = words(name)
    squashed = "".join(re.sub(r"[^a-z0-9]", "", part) for part in parts)
    text = value.strip().strip("\"'").strip()
    strong = bool(_STRONG.search(squashed)) or not _STRONG_WORDS.isdisjoint(parts)
    if not strong and _WEAK_WORDS.isdisjoint(parts):
        return False
    if squashed in ("pwd", "oldpwd") and text.startswith("/"):
        return False  # a shell's working directory
    if not strong and not _PUBLIC_WORDS.isdisjoint(parts):
        return False
    last = next((part for part in reversed(parts) if not part.isdigit()), "")
    if innocent(text, expanded=expanded, numbers=not strong or _takes_number(parts, last)) or _describes(
        parts, last, text
    ):
        return False
    if strong:
        return True
    if last in ("auth", "login", "bearer"):
        return text.casefold() not in _METHODS and not _reference_like(text)
    return has_random(text) or bool(re.fullmatch(r"[0-9a-fA-F]{32,}", text))


def _takes_number(parts: list[str], last: str) -> bool:
    """True for MAX_TOKENS=4096 and PASSWORD_MIN_LENGTH=8, not for PASSWORD=123456."""
    return last in _AMOUNT_WORDS | _PLACE_WORDS or not (_AMOUNT_WORDS | _SWITCH_WORDS).isdisjoint(parts)


def _describes(parts: list[str], last: str, text: str) -> bool:
    """True where the name speaks *about* a secret (its file, length, method …) and the value agrees with that."""
    if has_token(text) or has_private_key(text):
        return False
    random = has_random(text)
    if (last in _FILE_WORDS or last.endswith("file") or parts[:1] == ["file"]) and not random:
        return bool(
            re.fullmatch(r"(?:file:(?://)?)?/\S*|\S+\.(?:txt|pem|key|json|ya?ml|toml|conf|env|crt|htpasswd)", text)
        )
    if last in _PLACE_WORDS and not random and not has_url_credentials(text):
        return bool(
            re.fullmatch(r"(?:[a-z][\w+.-]*://\S+|[\w-]+(?:\.[\w-]+)+(?::\d+)?(?:/\S*)?|[a-z-]+(?::\d+)?)", text)
        )
    if last.endswith("key") and not random and re.fullmatch(r"(?:/[\w.@-]+){2,}", text):
        return True  # TLS_PRIVATE_KEY=/certs/tls.key
    if not _AMOUNT_WORDS.isdisjoint(parts):
        return bool(re.fullmatch(r"v?(?:[\d.,]+\s*[a-zA-Z%]{0,7}\s*)+", text))
    if last in _WORD_WORDS and not random:
        return bool(re.fullmatch(r"[A-Za-z][A-Za-z ,._/@:-]*", text) or _ALGORITHM.fullmatch(text))
    if last in _DIGEST_WORDS:
        return bool(re.fullmatch(r"(?:sha\d+[-:])?(?:[0-9a-fA-F]{32,128}|[A-Za-z0-9+/]{43}=)", text)) or bool(
            _VERIFIERS.fullmatch(text)
        )
    return False


def _reference_like(text: str) -> bool:
    """`auth@file`, `/path`, `http://…`, `host:9091`, a list of header names: not what stands under a bare `auth`."""
    return bool(
        re.fullmatch(r"[\w-]+@(?:file|docker|internal)|/\S*|https?://\S+|[\w.-]+:\d+|[\w-]+(?:,[\w-]+)+", text)
    )


# ---- randomness ----


_HEX: Final = re.compile(r"(?<![A-Za-z0-9])[0-9a-fA-F]{12,}(?![A-Za-z0-9])")


def innocent_name(name: str) -> bool:
    """True where a name says that random text under it is public: a digest, an id, a public key."""
    parts = words(name)
    return not _INNOCENT_WORDS.isdisjoint(parts) and "private" not in parts and "secret" not in parts


def without_public(text: str) -> str:
    """The text without its public keys, certificates and digests, and without what a private key consists of; every
    line keeps its number."""
    text = _KEY_BODY.sub(lambda found: "\n" * found[0].count("\n"), text)
    return _PUBLIC.sub(lambda found: " " + "\n" * found[0].count("\n"), text)


_KEY_BODY: Final = re.compile(r"(?<=PRIVATE KEY-----)[^-]+(?=-----END)")


def has_random(text: str) -> bool:
    """True where `text` holds a run that no one types: long, of mixed kinds, without words.

    Hexadecimal runs of 40, 64, 96 and 128 digits pass: those are the lengths of digests, commits and Docker's ids.
    """
    bare = _PUBLIC.sub(" ", text)
    # Base64 of something that can be read is judged by what it says.
    for piece in _BASE64.finditer(bare):
        inner = _readable(piece[0])
        if inner is not None and len(piece[0]) > 20:
            bare = bare.replace(piece[0], " ")
            if has_random(inner):
                return True
    if any(_random_hex(found[0]) for found in _HEX.finditer(bare) if len(found[0]) >= 32):
        return True
    return any(_random_run(found[0]) for found in re.finditer(r"[A-Za-z0-9+/_-]{20,}", _HEX.sub(" ", bare)))


def _random_hex(run: str) -> bool:
    if len(run) in (40, 64, 96, 128) or (run != run.lower() and run != run.upper()):
        return False
    return not run.isdigit() and not run.isalpha() and _entropy(run.lower()) >= 3.0


# The pairs of letters that make up two thirds of English and of the names of options, and a sixth of random text.
_COMMON_PAIRS: Final = _set(
    "th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le ve co me de hi "
    "ri ro ic ne ea ra ce li ch ll be ma si om ur ca el ta la ns di fo ho pe ec pr no ct us ac ot il tr ly nc "
    "et ut ss so rs un lo wa ge ie wh ee wi em ad ol rt po we na ul ni ts mo ow pa im mi ai sh ir su id os iv "
    "ia am fi ci vi pl ig tu ev ld ry mp fe bl ab gh ty op wo sa ay ex ke ui fr oo ag ls ap ue if bo ck ds sp "
    "cr up ef da og ub sc"
)


def _random_run(run: str) -> bool:
    letters = [character for character in run if character.isalnum()]
    if len(letters) < 20 or _entropy(run) < 3.5:
        return False
    pairs = [pair for pair in map("".join, zip(run.casefold(), run[1:].casefold(), strict=False)) if pair.isalpha()]
    if pairs and sum(pair in _COMMON_PAIRS for pair in pairs) >= 0.5 * len(pairs):
        return False
    kinds = [0 if letter.islower() else 1 if letter.isupper() else 2 for letter in letters]
    if {0, 1} <= set(kinds):
        return sum(a != b for a, b in pairwise(kinds)) >= 0.27 * (len(kinds) - 1)
    # One case only: a single piece with digits strewn in.
    return any(
        sum(a.isdigit() != b.isdigit() for a, b in pairwise(piece)) >= 0.15 * len(piece)
        for piece in re.findall(r"[A-Za-z0-9]{24,}", run)
    )


def _entropy(text: str) -> float:
    """Shannon entropy in bits a character."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())


# ---- what a text assigns ----

_QUOTED: Final = r"\"(?:[^\"\\]|\\.)*\"|'[^']*'|\$\((?:[^()]|\([^()]*\))*\)|`[^`]*`|\$\{[^}]*\}"
_SHELL_VALUE: Final = rf"(?:{_QUOTED}|[^\s\"'`&;|<>)])+"
_ASSIGNMENTS: Final = (
    # NAME=value, --name=value, ?name=value, o=username=x,password=y
    re.compile(rf"(?<![\w$])(?:-D)?(?P<name>-{{0,2}}[A-Za-z_][\w.\\-]*)=(?P<value>(?:{_QUOTED}|[^\s\"'`&;|,<>)])+)"),
    # --name value
    re.compile(rf"(?<![^\s\"'])--?(?P<name>[A-Za-z][\w.-]+)\s+(?P<value>(?!-){_SHELL_VALUE})"),
    # {"name": "value"}
    re.compile(r"[\"'](?P<name>[\w.-]+)[\"']\s*:\s*(?P<value>\"(?:[^\"\\]|\\.)*\"|'[^']*'|\d+)"),
    # <name>value</name>
    re.compile(r"<(?P<name>[A-Za-z][\w:.-]*)>(?P<value>[^<>]+)</"),
    # ;Name = value, in a connection string
    re.compile(
        r";\s*(?P<name>[A-Za-z][\w ]*?)\s*=\s*(?P<value>\"[^\"]*\"|'[^']*'|\{[^}]*\}|[^\s;\"']+)(?=\s*(?:;|$))"
    ),
    # {name: value, name: value}, as YAML has it
    re.compile(r"[{,]\s*(?P<name>[A-Za-z][\w.-]*):\s+(?P<value>[^\s,{}\[\]\"']+)(?=\s*[,}])"),
    # machine HOST login USER password VALUE
    re.compile(r"(?:^|\s)(?:machine\s+\S+|default)\s+login\s+\S+\s+(?P<name>password)\s+(?P<value>\S+)"),
    # name = value, at the start of a line
    re.compile(r"(?m)^\s*(?P<name>[A-Za-z][\w.\\-]*)\s+=\s+(?P<value>\S.*)$"),
    # name: value, at the start of a line or of a quoted header
    re.compile(
        r"(?m)(?:^|[\"'])\s*(?:-\s+)?(?P<name>[A-Za-z][\w.-]*):\s+(?P<value>[^\n\"'{\[|>&][^\n\"']*|\"[^\"]*\"|'[^']*')"
    ),
    # X-Api-Key:value
    re.compile(r"(?i)(?<![\w-])(?P<name>x-[\w-]*(?:key|token|auth)|[\w-]+-token):(?P<value>[^\s\"']+)"),
    # SQL
    re.compile(r"(?i)\b(?:identified\s+by|(?P<name>password))\s+(?P<value>'[^']+')"),
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
                yield found["name"] or "password", value
            if depth and bare != text:
                yield from assignments(bare.replace('\\"', '"'), depth - 1)


def directive(line: str, *, apart: bool) -> Iterator[tuple[str, str]]:
    """What a line of a configuration file would set if it were not commented out. `apart`: names and values stand
    side by side (`requirepass …`) in such a file."""
    comment = re.match(r"\s*(?:#+|//|;+|--|<!--)\s*(?:-\s+)?", line)
    rest = line[comment.end() :] if comment else line
    if not comment and not apart:
        return
    between = r"(?:\s*[:=]\s*|\s+)" if apart else r"\s*[:=]\s*"
    found = re.fullmatch(rf"\s*(?P<name>[A-Za-z][\w.-]*?){between}(?P<value>[^\s;]+);?\s*(?:-->)?\s*", rest)
    if found and words(found["name"])[-1:] != ["login"]:  # `login NAME` is a name
        yield found["name"], found["value"].strip("\"'")


# Tools that take a password by a short option, or by a place in their arguments; V is where it stands.
_TOOL_VALUE: Final = r"(?P<value>\"[^\"]*\"|'[^']*'|(?:\$\((?:[^()]|\([^()]*\))*\)|`[^`]*`|[^\s\"'|;&`])+)"
_TOOLS: Final = tuple(
    re.compile(rf"(?:^|[\s;|&(/\"'])(?:{tool})\b[^|;&\n]*?{option.replace('V', _TOOL_VALUE)}")
    for tool, option in (
        (r"mysql\w*|mariadb[\w-]*", r"\s-pV"),
        (r"sshpass|7z[ar]?", r"\s-p\s?V"),
        (r"(?:docker|podman|nerdctl|buildah|skopeo|helm(?:\s+registry)?|oras|crane)\s+login", r"\s-p[\s=]?V"),
        (r"mongo(?:sh|dump|restore|export|import)?", r"\s-p[\s=]?V"),
        (r"(?:redis|valkey|keydb)-cli", r"\s-a\s+V"),
        (r"ldap\w+", r"\s-w\s*V"),
        (r"curl|https?|wget|lftp", r"\s(?:-u|-U|--user|--proxy-user|-a|--auth)[\s=]?[\"']?[^\s:\"'/]*:V"),
        (r"smbclient|mount\.cifs|rpcclient", r"\s-U\s*[^\s%]+%V"),
        (r"zip|unzip|zipcloak|sqlcmd|bcp|ipmitool|mosquitto_(?:pub|sub)", r"\s-P\s?V"),
        (r"openssl", r"\s(?:pass:|-k\s+)V"),
        (r"htpasswd", r"\s-\w*b\w*\s+(?:-\S+\s+)*(?:[^\s;|&]+\s+){1,2}V(?=\s*(?:$|[;|&\"']))"),
        (r"rabbitmqctl\s+(?:add_user|change_password)", r"\s+\S+\s+V"),
        (
            r"echo|printf",
            r"\s+(?:-\w+\s+)*[\"']?(?:[\w.-]+:)?V[\"']?\s*\|\s*(?:\S*/)?(?:sudo\s+)?"
            r"(?:chpasswd|passwd|sudo\s+-S|docker\s+login|podman\s+login|cryptsetup|gpg)",
        ),
    )
)


def tool_password(text: str) -> bool:
    """True where a command line gives a known tool a password that is written out."""
    return any(
        not innocent(found["value"], expanded=True, numbers=False) for tool in _TOOLS for found in tool.finditer(text)
    )
