"""Family `secrets`: credentials are refused in every spelling and place, and what only looks like one passes."""

import base64
import dataclasses
import json
import os
import random
import string
from collections.abc import Callable
from pathlib import Path

import pytest

from policies.rules import literals, secrets, sockets
from tests.components.stacks import CHOICES
from tests.policies import harness
from tests.policies.harness import (
    CONTAINER,
    IMAGE,
    OUTPUT,
    PLUGIN,
    SECRET,
    SERVICE,
    SERVICE_CONFIG,
    SIGNATURE,
    UNKNOWN,
    VOLUME,
    Json,
    Props,
    Violation,
    at,
    container,
    positions,
    replaced,
    rules_of,
    service,
    volume,
)
from tests.policies.platform import declared

# The two families watch each other; what the others say of the same resource is not the matter here.
OURS = (*sockets.RULES, *secrets.RULES)


def judge(
    props: Props, kind: str = CONTAINER, *, name: str = "sonarr", config: Props | None = None
) -> list[Violation]:
    return harness.judge(props, kind, name=name, config=config, rules=OURS)


def judge_raw(props: Props, kind: str = CONTAINER) -> list[Violation]:
    return harness.judge_raw(props, kind, rules=OURS)


NAMED = "no-literal-secret"
URL = "no-url-credentials"
PRIVATE_KEY = "no-private-key"
TOKEN = "no-known-token"
RANDOM = "no-random-literal"

# Put together here, so that no scanner takes this file for a leak.
WIREGUARD_KEY = base64.b64encode(bytes(range(7, 256, 8))).decode()  # 44 characters
HEX_32 = "0123456789abcdef" * 2
HEX_64 = "9d41f0c2" * 8
BCRYPT = "$2y$10$" + "abcdefghijklmnopqrstuv" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ01234"
ARGON2 = "$argon2id$v=19$m=65536,t=3,p=4$" + "c2FsdHNhbHRzYWx0" + "$" + "aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo"
PBKDF2 = "@ByteArray(c2FsdHNhbHRzYWx0c2FsdA==:" + "aGFzaGhhc2hoYXNoaGFzaGhhc2g=" + ")"
JWT = "eyJhbGciOiJIUzI1NiJ9" + "." + "eyJzdWIiOiJuZXh1cyJ9" + "." + "c2lnbmF0dXJlLW9mLWl0"
PEM = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END PRIVATE KEY-----"

# ---- secret by name ----

NAMES = [
    "PASSWORD",
    "password",
    "DB_PASSWORD",
    "dbPassword",
    "DBPASSWORD",
    "DB-PASSWD",
    "MYSQL_PWD",
    "PGPASS",
    "SMTP_PASS",
    "smtpPass",
    "PASSPHRASE",
    "RESTIC_PASSPHRASE",
    "SECRET",
    "CLIENT_SECRET",
    "clientSecret",
    "SECRET_1",
    "SECRET_ID",
    "TOKEN",
    "TOKEN_GITHUB",
    "accessToken",
    "API_KEY",
    "apikey",
    "apiKey",
    "X-Api-Key",
    "SONARR__AUTH__APIKEY",
    "PRIVATE_KEY",
    "WIREGUARD_PRIVATE_KEY",
    "WIREGUARD_PRESHARED_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "ENCRYPTION_KEY",
    "SIGNING_KEY",
    "PSK",
    "WIFI_PSK",
    "CREDENTIAL",
    "CREDENTIALS",
    "MY_CREDS",
    "AUTH",
    "REDIS_AUTH",
    "BASIC_AUTH",
    "REQUIREPASS",
    "POSTGRES_PASSWORD_1",
    "PUBLIC_PASSWORD",
    "GF_SECURITY_ADMIN_PASSWORD",
    "PASSWORD_FILE",  # with a value that is no path
    "POSTGRES_PASSWORD__FILE",
    "PASSWORD_NAME",
    "PASSWORD_HASH",
    "PASSWORD_LENGTH",
]
LITERAL = "hunter2-x"

FORMS: dict[str, Callable[[str, str], tuple[str, Props]]] = {
    "envs": lambda n, v: (CONTAINER, container(envs=["TZ=UTC", f"{n}={v}"])),
    "envs among unknowns": lambda n, v: (CONTAINER, container(envs=[UNKNOWN, f"{n}={v}", UNKNOWN])),
    "envs as a map": lambda n, v: (CONTAINER, container(envs={"TZ": "UTC", n: v})),
    "envs as pairs": lambda n, v: (CONTAINER, container(envs=[{"name": n, "value": v}])),
    "service env": lambda n, v: (SERVICE, service(env={n: v})),
    "plugin envs": lambda n, v: (PLUGIN, {"name": "p", "envs": [f"{n}={v}"]}),
    "labels": lambda n, v: (CONTAINER, container(labels=[{"label": n, "value": v}])),
    "labels as a map": lambda n, v: (CONTAINER, container(labels={n: v})),
    "labels as text": lambda n, v: (CONTAINER, container(labels=[f"{n}={v}"])),
    "volume labels": lambda n, v: (VOLUME, volume(labels=[{"label": n, "value": v}])),
    "service labels": lambda n, v: (SERVICE, service(labels=[{"label": n, "value": v}])),
    "log options": lambda n, v: (CONTAINER, container(logOpts={n: v})),
    "driver options": lambda n, v: (VOLUME, volume(driverOpts={"type": "cifs", "device": "//nas/x", n: v})),
    "driver options in o": lambda n, v: (VOLUME, volume(driverOpts={"type": "cifs", "o": f"vers=3.0,{n}={v},ro"})),
    "mount driver options": lambda n, v: (
        CONTAINER,
        container(mounts=[{"type": "volume", "target": "/x", "volumeOptions": {"driverOptions": {n: v}}}]),
    ),
    "build arguments": lambda n, v: (IMAGE, {"imageName": "x", "build": {"context": ".", "args": {n: v}}}),
    "flag with equals": lambda n, v: (CONTAINER, container(command=["app", f"--{n}={v}", "--debug"])),
    "flag, then value": lambda n, v: (CONTAINER, container(command=["app", f"--{n}", v, "--debug"])),
    "one dash": lambda n, v: (CONTAINER, container(command=["app", f"-{n}={v}"])),
    "command as text": lambda n, v: (CONTAINER, container(command=f"app --{n} {v} --debug")),
    "quoted flag": lambda n, v: (CONTAINER, container(command=["sh", "-c", f"exec app --{n} '{v}'"])),
    "in a shell": lambda n, v: (CONTAINER, container(command=["sh", "-c", f'{n}="{v}" exec app'])),
    "exported": lambda n, v: (
        CONTAINER,
        container(entrypoints=["/bin/bash", "-c", f"set -e; export {n}={v}; exec a"]),
    ),
    "service arguments": lambda n, v: (SERVICE, service(args=[f"--{n}={v}"])),
    "health check": lambda n, v: (CONTAINER, container(healthcheck={"tests": ["CMD", "app", f"--{n}={v}"]})),
    "health check in a shell": lambda n, v: (
        CONTAINER,
        container(healthcheck={"tests": ["CMD-SHELL", f"curl -fsS 'http://127.0.0.1/x?a=b&{n}={v}' || exit 1"]}),
    ),
    "header": lambda n, v: (
        CONTAINER,
        container(healthcheck={"tests": ["CMD", "curl", "-H", f"{n}: {v}", "http://127.0.0.1/"]}),
    ),
    "JSON in a variable": lambda n, v: (CONTAINER, container(envs=["CONFIG=" + json.dumps({"a": {n: v}})])),
    "JSON in an argument": lambda n, v: (CONTAINER, container(command=["app", json.dumps({n: v})])),
    "XML in a command": lambda n, v: (CONTAINER, container(command=["sh", "-c", f"echo '<{n}>{v}</{n}>' > /c"])),
    "YAML in a variable": lambda n, v: (CONTAINER, container(envs=[f"CONFIG=a: b\n  {n}: {v}\nc: d"])),
    "INI in a variable": lambda n, v: (CONTAINER, container(envs=[f"CONFIG=[a]\n{n} = {v}\n"])),
    "options in a variable": lambda n, v: (CONTAINER, container(envs=[f"JAVA_OPTS=-Xmx1g -D{n}={v}"])),
}


# Every name in four forms, and a name of each style in every form: what a name says does not depend on the form.
_MAIN_FORMS = ["envs", "labels", "flag with equals", "in a shell"]
_SAMPLES = ["password", "SONARR__AUTH__APIKEY", "clientSecret", "X-Api-Key", "WIFI_PSK", "AUTH"]
_NAMED_PAIRS = list(
    {(name, form): None for name in NAMES for form in _MAIN_FORMS}
    | {(name, form): None for name in _SAMPLES for form in FORMS}
)


@pytest.mark.parametrize(("name", "form"), _NAMED_PAIRS)
def test_a_literal_under_a_secret_name_is_refused(name: str, form: str) -> None:
    kind, props = FORMS[form](name, LITERAL)
    assert rules_of(judge(props, kind)) == {NAMED}


@pytest.mark.parametrize(
    "value",
    [
        "hunter2",
        "x",
        "changeme",
        "123456",
        "password",
        "correct horse battery staple",
        "$ecret1",
        "${NOT_SET:-hunter2}",
        "${NOT_SET:=hunter2}",
        "prefix-${REST}",
        "$(echo hunter2)",
        "$(printf %s hunter2)",
        "$(base64 -d <<< aHVudGVyMg==)",
        "`echo hunter2`",
        "$apr1$abcdefgh$0123456789abcdefghijkl",
        "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
        BCRYPT + "hunter2",
        HEX_32,
        HEX_64,
        WIREGUARD_KEY,
        "00000000-1111-2222-3333-444444444444",
        "[secret]",  # what an exported state shows for a Pulumi secret
    ],
)
def test_values_that_are_written_out(value: str) -> None:
    for kind, props in (
        (CONTAINER, container(envs=[f"ADMIN_PASSWORD={value}"])),
        (CONTAINER, container(envs={"ADMIN_PASSWORD": value})),
        (SERVICE, service(env={"ADMIN_PASSWORD": value})),
    ):
        assert NAMED in rules_of(judge(props, kind))


def test_a_number_under_a_secret_name_is_refused() -> None:
    assert rules_of(judge(service(env={"PASSWORD": 123456.0}), SERVICE)) == {NAMED}
    assert rules_of(judge(container(envs=["PASSWORD=123456"]))) == {NAMED}


def test_a_pulumi_secret_in_the_environment_of_an_exported_state_is_refused() -> None:
    assert rules_of(judge(container(envs=["A=1", "[secret]"]))) == {NAMED}
    assert rules_of(judge(container(labels=[{"label": "a", "value": "[secret]"}]))) == {NAMED}
    assert rules_of(judge(container(command=["app", "[secret]"]))) == {NAMED}


TOOLS = [
    "mysql -uroot -phunter2 -e 'select 1'",
    "mysqladmin ping -h localhost -phunter2",
    "mariadb-admin -phunter2 ping",
    "sshpass -p hunter2 ssh host",
    "sshpass -phunter2 ssh host",
    "docker login -u me -p hunter2 registry.example",
    "podman login -p=hunter2 registry.example",
    "mongosh -u me -p hunter2",
    "redis-cli -a hunter2 ping",
    "valkey-cli -h x -a hunter2 ping",
    "/usr/bin/redis-cli -a hunter2 ping",
    "ldapsearch -D cn=me -w hunter2",
    "curl -u admin:hunter2 http://127.0.0.1/",
    "curl -fsS --user admin:hunter2 http://127.0.0.1/",
    "curl --proxy-user 'a:hunter2' http://127.0.0.1/",
    "curl -uadmin:hunter2 http://127.0.0.1/",
    "smbclient -U me%hunter2 //nas/x",
    "7z a -phunter2 x.7z y",
    "zip -P hunter2 x.zip y",
    "mosquitto_pub -u me -P hunter2 -t x",
    "openssl enc -aes-256-cbc -pass pass:hunter2",
    "openssl enc -aes-256-cbc -k hunter2",
    "htpasswd -bB /etc/htpasswd admin hunter2",
    "htpasswd -nb admin hunter2",
    "rabbitmqctl add_user me hunter2",
    "echo root:hunter2 | chpasswd",
    "echo hunter2 | sudo -S true",
    "echo hunter2 | docker login --password-stdin x",
    "psql -c \"ALTER USER me PASSWORD 'hunter2'\"",
    "mysql -e \"CREATE USER me IDENTIFIED BY 'hunter2'\"",
    "gpg --passphrase hunter2 -d x",
    "wget --password=hunter2 http://x",
    "redis-server --requirepass hunter2",
]


@pytest.mark.parametrize("line", TOOLS)
def test_tools_that_take_a_password(line: str) -> None:
    for props in (
        container(command=["sh", "-c", line]),
        container(command=["sh", "-c", f"set -e; true && {line} && exec app"]),
        container(command=line),
        container(healthcheck={"tests": ["CMD-SHELL", line]}),
    ):
        assert rules_of(judge(props)) == {NAMED}


@pytest.mark.parametrize(
    "arguments",
    [
        ["redis-cli", "-a", "hunter2", "ping"],
        ["mysqladmin", "-phunter2", "ping"],
        ["curl", "-u", "admin:hunter2", "http://127.0.0.1/"],
        ["redis-server", "--requirepass", "hunter2"],
        ["sshpass", "-p", "hunter2", "ssh", UNKNOWN],
    ],
    ids=str,
)
def test_tools_with_arguments_one_by_one(arguments: list[Json]) -> None:
    assert rules_of(judge(container(command=arguments))) == {NAMED}
    assert rules_of(judge(container(healthcheck={"tests": ["CMD", *arguments]}))) == {NAMED}
    assert rules_of(judge(service(commands=arguments[:1], args=arguments), SERVICE)) == {NAMED}


# ---- shapes, wherever they stand ----

PLACES: dict[str, Callable[[str], tuple[str, Props]]] = {
    "envs": lambda t: (CONTAINER, container(envs=[UNKNOWN, f"A={t}"])),
    "envs, no name": lambda t: (CONTAINER, container(envs=[t])),
    "envs as a map": lambda t: (CONTAINER, container(envs={"A": t})),
    "service env": lambda t: (SERVICE, service(env={"A": t})),
    "labels": lambda t: (CONTAINER, container(labels=[{"label": "a", "value": t}])),
    "command": lambda t: (CONTAINER, container(command=["app", UNKNOWN, t])),
    "in a shell": lambda t: (CONTAINER, container(command=["sh", "-c", f"true; exec app '{t}' --x"])),
    "health check": lambda t: (CONTAINER, container(healthcheck={"tests": ["CMD", "app", t]})),
    "driver options": lambda t: (VOLUME, volume(driverOpts={"device": t})),
    "service configuration": lambda t: (SERVICE_CONFIG, {"name": "c", "dataRaw": f"a: 1\nb: {t}\n"}),
    "service configuration, base64": lambda t: (
        SERVICE_CONFIG,
        {"name": "c", "data": base64.b64encode(f"a: 1\nb: {t}\n".encode()).decode()},
    ),
    "host name": lambda t: (CONTAINER, container(hostname=t)),
    "wrapped in base64": lambda t: (CONTAINER, container(envs=["A=" + base64.b64encode(t.encode()).decode()])),
}

URLS = [
    "https://me:hunter2@example.net/x",
    "http://me:hunter2@127.0.0.1:8080",
    "postgres://sonarr:hunter2@db:5432/sonarr",
    "postgresql+psycopg://sonarr:hun/ter2@db/sonarr",
    "redis://:hunter2@valkey:6379/0",
    "amqp://guest:guest@mq/",
    "mongodb+srv://me:hunter2@cluster.example.net",
    "HTTPS://me:hunter2@example.net",
    "smtp://me:hunter%402@mail:587",
    "socks5://me:123456@proxy:1080",
    "sonarr:hunter2@tcp(db:3306)/sonarr",
]
KEYS = [
    PEM,
    PEM.replace("\n", "\\n"),
    PEM.replace("PRIVATE KEY", "RSA PRIVATE KEY"),
    PEM.replace("PRIVATE KEY", "EC PRIVATE KEY"),
    PEM.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
    PEM.replace("PRIVATE KEY", "OPENSSH PRIVATE KEY"),
    PEM.replace("PRIVATE KEY", "PGP PRIVATE KEY BLOCK"),
    PEM.casefold(),
    "b3BlbnNzaC1rZXktdjEA" + "AAAABG5vbmUAAAAEbm9uZQ",
    "PuTTY-User-Key-File-3: ssh-ed25519",
    "AGE-SECRET-KEY-1" + "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L" * 2,
]
TOKENS = [
    "AKIA" + "IOSFODNN7EXAMPLE",
    "ASIA" + "IOSFODNN7EXAMPLE",
    "ghp_" + "a1B2" * 9,
    "gho_" + "a1B2" * 9,
    "ghs_" + "a1B2" * 9,
    "github_pat_" + "a1B2" * 9,
    "glpat-" + "a1B2" * 5,
    "xoxb-" + "1234-5678-" + "abcdefgh",
    "https://hooks.slack.com/services/" + "T0000/B0000/" + "a1B2" * 6,
    "https://discord.com/api/webhooks/123456789/" + "a1B2" * 17,
    "123456789" + ":AA" + "a1B2_-" * 5 + "xyz",
    "pul-" + "0123456789abcdef" * 2 + "01234567",
    JWT,
    f"Authorization: Bearer {LITERAL}",
    f"authorization:Basic {base64.b64encode(b'me:hunter2').decode()}",
    "AIza" + "a1B2_" * 7,
    "sk_live_" + "a1B2" * 6,
    "sk-ant-" + "a1B2" * 8,
    "npm_" + "a1B2" * 9,
    "dckr_pat_" + "a1B2" * 7,
    "hvs." + "a1B2" * 8,
    "tskey-auth-" + "a1B2c3D4e5",
    "glsa_" + "a1B2" * 8 + "_0a1b2c3d",
    "dop_v1_" + HEX_64,
    "qbt_" + "a1B2" * 7,
    "claim-" + "a1B2_" * 4,
]


def _shapes(texts: list[str]) -> list[tuple[str, str]]:
    """Every text in two places, the first three in all."""
    pairs = {(text, place): None for text in texts for place in ("envs", "in a shell")}
    return list(pairs | {(text, place): None for text in texts[:3] for place in PLACES})


@pytest.mark.parametrize(("text", "place"), _shapes(URLS))
def test_credentials_in_an_address(text: str, place: str) -> None:
    kind, props = PLACES[place](text)
    assert URL in rules_of(judge(props, kind))


@pytest.mark.parametrize(("text", "place"), _shapes(KEYS))
def test_private_keys(text: str, place: str) -> None:
    kind, props = PLACES[place](text)
    assert PRIVATE_KEY in rules_of(judge(props, kind))


@pytest.mark.parametrize(("text", "place"), _shapes(TOKENS))
def test_known_tokens(text: str, place: str) -> None:
    kind, props = PLACES[place](text)
    assert TOKEN in rules_of(judge(props, kind))


# ---- randomness ----

RANDOMS = [
    WIREGUARD_KEY,
    HEX_32,
    HEX_32 + HEX_32[:16],
    HEX_32.upper(),
    "q7Xv2Lk9Rt4Zb8Nw3Jd6",
    "Zt8kQ2vXr5LmN9wJh3Pd7Bc4",
    "Zt8kQ2vXr5LmN9wJ-h3Pd7Bc4_KfY6sG",
    "x7k2q9v4m1z8r5t3w6p0n2j4",
    base64.b64encode(bytes(range(3, 243, 10))).decode(),
    base64.urlsafe_b64encode(bytes(range(250, 10, -10))).decode(),
]


@pytest.mark.parametrize("text", RANDOMS)
@pytest.mark.parametrize("name", ["A", "SETTING", "REMOTE", "x.y"])
def test_random_text_under_a_plain_name(name: str, text: str) -> None:
    for kind, props in (
        (CONTAINER, container(envs=[UNKNOWN, f"{name}={text}"])),
        (CONTAINER, container(envs={name: text})),
        (CONTAINER, container(labels=[{"label": name, "value": text}])),
        (CONTAINER, container(command=["app", f"--{name}={text}"])),
        (CONTAINER, container(command=["app", f"--{name}", text])),
        (CONTAINER, container(command=["sh", "-c", f"exec app {text}"])),
        (VOLUME, volume(driverOpts={name: text})),
        (SERVICE, service(env={name: text})),
    ):
        assert rules_of(judge(props, kind)) == {RANDOM}


@pytest.mark.parametrize(
    ("alphabet", "length", "share"),
    [
        (string.ascii_letters + string.digits, 24, 0.97),
        (string.ascii_letters + string.digits, 32, 0.98),
        (string.ascii_letters + string.digits + "-_", 43, 0.98),
        (string.ascii_lowercase + string.digits, 32, 0.95),
        ("0123456789abcdef", 32, 0.99),
        ("0123456789ABCDEF", 48, 0.99),
    ],
)
def test_most_random_text_is_recognised(alphabet: str, length: int, share: float) -> None:
    source = random.Random(7)
    texts = ["".join(source.choices(alphabet, k=length)) for _ in range(1000)]
    assert sum(map(literals.has_random, texts)) >= share * len(texts)


def test_names_of_files_are_hardly_ever_taken_for_random() -> None:
    names = {str(path) for path in Path(os.__file__).parent.rglob("*.py")}
    assert len(names) > 500
    taken = [name for name in names if literals.has_random(name)]
    assert len(taken) <= len(names) / 500, taken


@pytest.mark.parametrize("name", ["KEY", "WG_KEY", "SSH_KEY", "MY_PAT", "APP_JWT", "HMAC"])
@pytest.mark.parametrize("text", [WIREGUARD_KEY, HEX_32, HEX_64])
def test_random_text_under_a_name_that_hints(name: str, text: str) -> None:
    assert rules_of(judge(container(envs=[f"{name}={text}"]))) == {NAMED}


def test_randomness_keeps_quiet_where_another_rule_speaks() -> None:
    assert rules_of(judge(container(envs=[f"PASSWORD={WIREGUARD_KEY}"]))) == {NAMED}
    assert rules_of(judge(container(envs=["A=" + TOKENS[2]]))) == {TOKEN}


# ---- what passes ----

INNOCENT_VARIABLES = [
    # switches, numbers, methods
    "SONARR__AUTH__METHOD=External",
    "SONARR__AUTH__REQUIRED=Enabled",
    "GF_AUTH_ANONYMOUS_ENABLED=false",
    "GF_AUTH_BASIC_ENABLED=true",
    "GF_AUTH_DISABLE_LOGIN_FORM=true",
    "GF_AUTH_PROXY_HEADER_NAME=Remote-User",
    "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION=true",
    "GF_SECURITY_COOKIE_SECURE=true",
    "GF_SECURITY_ADMIN_USER=admin",
    "MYSQL_ALLOW_EMPTY_PASSWORD=yes",
    "MYSQL_RANDOM_ROOT_PASSWORD=1",
    "REQUIRE_PASSWORD=1",
    "USE_TOKEN=0",
    "PASSWORD_MIN_LENGTH=12",
    "MAX_TOKENS=4096",
    "ACCESS_TOKEN_EXPIRES_IN=7d",
    "TOKEN_TTL=1h30m",
    "SESSION_SECRET_ROTATION=30",
    "PASSWORD_ALGORITHM=argon2id",
    "JWT_ALGORITHM=HS256",
    "TOKEN_SIGNING_METHOD=RS256",
    "AUTH=none",
    "AUTH=basic",
    "AUTH_TYPE=oidc",
    "PROXY_AUTH=external",
    "AUTH_SERVER=authelia:9091",
    "TOKEN_URL=https://auth.example.net/token",
    "TOKEN_ISSUER=auth.example.net",
    "API_KEY_HEADER=X-Api-Key",
    "PASSWORD=",
    "PASSWORD",
    "TOKEN=***",
    # paths and references
    "POSTGRES_PASSWORD_FILE=/run/secrets/postgres_password",
    "GF_SECURITY_ADMIN_PASSWORD__FILE=/run/secrets/admin_password",
    "GF_SECURITY_SECRET_KEY__FILE=/run/secrets/secret_key",
    "WIREGUARD_PRIVATE_KEY_SECRETFILE=/run/secrets/wireguard_private_key",
    "FILE__SONARR__AUTH__APIKEY=/run/secrets/api_key",
    "HTTP_CONTROL_SERVER_AUTH_CONFIG_FILEPATH=/gluetun/auth/config.toml",
    'HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE={"auth":"none"}',
    "RESTIC_PASSWORD_FILE=/run/secrets/restic",
    "RESTIC_PASSWORD_COMMAND=cat /run/secrets/restic",
    "SECRETS_DIR=/run/secrets",
    "API_KEY=filepath:/run/secrets/api_key",
    "API_KEY=/run/secrets/api_key",
    "TLS_PRIVATE_KEY=/certs/live/tls.key",
    "SSH_AUTH_SOCK=/run/ssh/agent.sock",
    "PASSWORD=${ADMIN_PASSWORD}",
    "PASSWORD=$ADMIN_PASSWORD",
    "PASSWORD=${ADMIN_PASSWORD:?not set}",
    "PASSWORD=${ADMIN_PASSWORD:-}",
    "TOKEN={{HOMEPAGE_FILE_TOKEN}}",
    'TOKEN={{ env "TOKEN" }}',
    "TOKEN=!secret sonarr_token",
    "PWD=/app",
    "OLDPWD=/",
    "DATABASE_URL=postgres://sonarr@db:5432/sonarr",
    "DATABASE_URL=postgres://sonarr:${DB_PASSWORD}@db:5432/sonarr",
    "GIT_REMOTE=ssh://git@example.net:22/x.git",
    "HEALTH=http://127.0.0.1:8989/ping",
    "IMAGE=docker-image://alpine:3.19@sha256:" + HEX_64,
    # public by their nature
    f"WIREGUARD_PUBLIC_KEY={WIREGUARD_KEY}",
    f"SERVER_PUBKEY={WIREGUARD_KEY}",
    f"PEER_PUBLIC_KEY={WIREGUARD_KEY}",
    "SSH_PUBLIC_KEY=ssh-ed25519 " + "AAAAC3NzaC1lZDI1NTE5AAAAI" + "Q7xv2Lk9Rt4Zb8Nw3Jd6" + " me@host",
    "DEPLOY=ssh-ed25519 " + "AAAAC3NzaC1lZDI1NTE5AAAAI" + "Q7xv2Lk9Rt4Zb8Nw3Jd6",
    "RECIPIENT=age1" + "qpzry9x8gf2tvdw0s3jn54khce6mua7l" + "qpzry9x8gf2tvdw0s3jn54khce",
    "FINGERPRINT=SHA256:" + WIREGUARD_KEY[:-1],
    "INTEGRITY=sha384-" + WIREGUARD_KEY,
    "CERTIFICATE=-----BEGIN CERTIFICATE-----\n" + WIREGUARD_KEY + "\n-----END CERTIFICATE-----",
    # digests, ids, commits
    "IMAGE=ghcr.io/home-operations/sonarr:4.0.19.3001@sha256:" + HEX_64,
    "DIGEST=sha256:" + HEX_64,
    "SOURCE=" + HEX_64,
    "CONTAINER=" + HEX_64,
    "REVISION=" + HEX_64[:40],
    "COMMIT=" + HEX_64[:40],
    "CHECKSUM=" + HEX_32,
    "MACHINE_ID=" + HEX_32,
    "CLUSTER=00000000-1111-2222-3333-444444444444",
    "PASSWORD_SHA256=" + HEX_64,
    # verifiers: slow, salted hashes
    f"ADMIN_PASSWORD_HASH={BCRYPT}",
    f"ADMIN_PASSWORD={BCRYPT}",
    f"NTFY_AUTH_USERS=me:{BCRYPT}:admin",
    f"USERS=me:{BCRYPT.replace('$', '$$')}",
    f"PASSWORD={ARGON2}",
    f"PASSWORD_PBKDF2={PBKDF2}",
    # long, but words
    "CLASSPATH=/usr/share/java/elasticsearch/lib/ElasticSearchClient-Core.jar",
    "FEATURES=enableAnalyticsDashboardRefreshInterval,disableLegacyAuthorization",
    "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1",
    "S6_CMD_WAIT_FOR_SERVICES_MAXTIME=0",
    "VERSION=4.0.19.3001-ls294-amd64-20261121",
    "TZ=Europe/Berlin",
    "WIREGUARD_ADDRESSES=10.64.0.2/32,fd00::2/128",
    "WIREGUARD_PERSISTENT_KEEPALIVE_INTERVAL=25s",
    "FIREWALL_OUTBOUND_SUBNETS=10.0.0.0/8",
]


@pytest.mark.parametrize("variable", INNOCENT_VARIABLES)
def test_innocent_variables(variable: str) -> None:
    name, equals, value = variable.partition("=")
    assert judge(container(envs=[variable])) == []
    assert judge(service(env={name: value}), SERVICE) == []
    if equals:
        assert judge(container(labels=[{"label": name, "value": value}])) == []


INNOCENT_COMMANDS: list[list[Json]] = [
    [
        "/usr/bin/catatonit",
        "--",
        "/bin/bash",
        "-c",
        'export SONARR__AUTH__APIKEY="$(</run/secrets/api_key)"; exec /entrypoint.sh',
    ],
    ["sh", "-c", "PASSWORD=$(cat /run/secrets/p) TOKEN=`cat /run/secrets/t` exec app"],
    ["sh", "-c", 'password="$(tr -d \'\\n\' < /run/secrets/p)"; [ -n "$password" ] || exit 1; exec app'],
    ["sh", "-c", 'while read -r token; do app "$token"; done < /run/secrets/tokens'],
    ["sh", "-c", 'exec redis-server --requirepass "$(cat /run/secrets/redis)"'],
    ["sh", "-c", "exec app --password-file /run/secrets/p --token-ttl 1h --auth none --api-key=$API_KEY"],
    ["sh", "-c", 'curl -fsS -H "X-Api-Key: $(</run/secrets/api_key)" http://127.0.0.1:8989/api/v3/health'],
    ["sh", "-c", 'curl -u "admin:$(cat /run/secrets/p)" http://127.0.0.1/'],
    ["sh", "-c", 'curl -H "Authorization: Bearer $(cat /run/secrets/t)" http://127.0.0.1/'],
    ["sh", "-c", 'redis-cli -a "$REDIS_PASSWORD" ping | grep -q PONG'],
    ["sh", "-c", 'sed -i "s|^WebUI.Password_PBKDF2=.*|$(cat /run/secrets/line)|" /config/q.conf'],
    ["sh", "-c", "echo 'no password is set, see the manual' >&2; exit 1"],
    ["sh", "-c", "chown -R 1000:1000 /config && chmod 0700 /run/secrets && mkdir -p /config/tokens"],
    ["sh", "-c", "wg set wg0 private-key /run/secrets/wireguard_private_key peer X allowed-ips 0.0.0.0/0"],
    ["sh", "-c", "ps -p 1 && mkdir -p /data && nc -z 127.0.0.1 8080"],
    [
        "-logtostderr",
        "-port=8080",
        "--docker=unix:///srv/x.socket",
        "--docker_only=true",
        "--store_container_labels=false",
        "--housekeeping_interval=30s",
        "--disable_metrics=percpu,sched,tcp,udp,disk,diskIO,hugetlb,referenced_memory,cpu_topology,resctrl,cpuset,"
        "advtcp,memory_numa",
    ],
    [
        "-listenip=0.0.0.0",
        "-allowfrom=0.0.0.0/0",
        r"-allowGET=/v1\..{1,2}/(version|info|_ping|containers/(json|[0-9a-f]{64}/json)|images/.*/json|events.*)",
        "-allowHEAD=/_ping",
        "-allowhealthcheck",
        "-loglevel=info",
    ],
    [
        "--path.procfs=/host/proc",
        "--collector.filesystem.mount-points-exclude=^/(dev|proc|sys|run/credentials/.+|var/lib/docker/.+)($|/)",
        "--collector.netclass.ignored-devices=^(veth.*|br-[0-9a-f]{12}|docker0)$",
    ],
    [
        "--config.file=/etc/prometheus/prometheus.yml",
        "--storage.tsdb.path=/prometheus",
        "--storage.tsdb.retention.time=15d",
        "--web.enable-lifecycle",
    ],
    ["--configfile=/etc/traefik/traefik.yml"],
    ["restic", "--password-file", "/run/secrets/restic", "--repository-file", "/run/secrets/repository", "backup"],
    ["app", "--secret-name", "my-secret", "--public-key", WIREGUARD_KEY, "--show-token=false"],
    ["app", "--password", UNKNOWN],
    ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:3000/api/health"],
]


@pytest.mark.parametrize("command", INNOCENT_COMMANDS, ids=str)
def test_innocent_commands(command: list[Json]) -> None:
    assert judge(container(command=command)) == []
    assert judge(container(entrypoints=command)) == []
    assert judge(container(healthcheck={"tests": ["CMD", *command]})) == []


def test_innocent_labels_of_an_edge() -> None:
    labels: list[Json] = [
        {"label": "traefik.http.middlewares.sso.forwardauth.address", "value": "http://authelia:9091/api/authz"},
        {"label": "traefik.http.middlewares.sso.forwardauth.authResponseHeaders", "value": "Remote-User,Remote-Name"},
        {"label": "traefik.http.routers.x.middlewares", "value": "auth@file"},
        {"label": "traefik.http.middlewares.b.basicauth.users", "value": f"admin:{BCRYPT}"},
        {"label": "org.opencontainers.image.revision", "value": HEX_64[:40]},
        {"label": "com.docker.compose.config-hash", "value": HEX_64},
        {"label": "nexus.seed", "value": HEX_64},
    ]
    assert judge(container(labels=labels)) == []


def test_a_fast_hash_is_as_good_as_the_password() -> None:
    for value in ("admin:$apr1$abcdefgh$0123456789abcdefghijkl", "admin:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "a:b"):
        labels: list[Json] = [{"label": "traefik.http.middlewares.b.basicauth.users", "value": value}]
        assert rules_of(judge(container(labels=labels))) == {NAMED}


# ---- files ----


def upload(text: str, name: str = "/run/config/app.conf", *, encoded: bool = False) -> Props:
    """A container that is given a file."""
    content = base64.b64encode(text.encode()).decode() if encoded else text
    return container(uploads=[{"file": name, "contentBase64" if encoded else "content": content}])


@pytest.mark.parametrize("name", ["/run/secrets/x", "/run/secrets/a/b.yml", "/var/run/secrets/x", "/run//secrets/x"])
@pytest.mark.parametrize("encoded", [False, True])
def test_an_upload_of_a_secret_file_passes(name: str, encoded: bool) -> None:
    """It is the road by which a generated secret reaches its file, and it comes here in clear."""
    for text in (PEM, TOKENS[0], URLS[0], f"PASSWORD={LITERAL}", f"password: {LITERAL}", WIREGUARD_KEY, "[secret]"):
        assert judge(upload(text, name, encoded=encoded)) == []
        # A member too many is none that is read.
        both: Json = [{"file": name, "content": text, "contentBase64": base64.b64encode(text.encode()).decode()}]
        assert judge(container(uploads=both)) == []


@pytest.mark.parametrize(
    "name",
    [
        "/run/config/app.conf",
        "/run/secretsx/app.conf",
        "/run/secrets/../config/app.conf",
        "/srv/run/secrets/app.conf",
        "/RUN/SECRETS/app.conf",
        "run/secrets/app.conf",
        "/run/secrets",
        "/etc/app",
        "",
    ],
)
def test_an_upload_to_any_other_place_is_judged(name: str) -> None:
    for encoded in (False, True):
        assert rules_of(judge(upload(f"a = 1\npassword = {LITERAL}\n", name, encoded=encoded))) == {NAMED}
        assert PRIVATE_KEY in rules_of(judge(upload(PEM, name, encoded=encoded)))
    assert rules_of(judge(upload("[secret]", name))) == {NAMED}


def test_an_upload_to_an_unknown_place_is_judged_when_it_is_known() -> None:
    assert judge(container(uploads=[{"file": UNKNOWN, "content": f"password: {LITERAL}"}])) == []
    assert judge(container(uploads=[{"file": "/run/config/x", "content": UNKNOWN}, UNKNOWN])) == []


@pytest.mark.parametrize("key", ["source", "file"])
def test_what_is_no_content_is_no_road(key: str) -> None:
    assert rules_of(judge(container(uploads=[{"file": "/run/secrets/x", key: TOKENS[2]}]))) == {TOKEN}


# Files as people write them, each with one secret: name, text, the rule, the line.
FILES: list[tuple[str, str, str, int]] = [
    ("app.env", f"A=1\nPASSWORD={LITERAL}\n", NAMED, 2),
    ("app.env", f"A=1\nexport API_KEY='{LITERAL}'\n", NAMED, 2),
    ("app.env", f"A=1\n# PASSWORD={LITERAL}\n", NAMED, 2),
    ("app.ini", f"[a]\nb = 1\npassword = {LITERAL}\n", NAMED, 3),
    ("app.ini", f"[a]\n;password = {LITERAL}\n", NAMED, 2),
    ("app.properties", f"a.b=1\na.password={LITERAL}\n", NAMED, 2),
    ("redis.conf", f"bind 0.0.0.0\nrequirepass {LITERAL}\n", NAMED, 2),
    ("redis.conf", f"bind 0.0.0.0\nmasterauth {LITERAL}\n", NAMED, 2),
    ("nginx.conf", f"server {{\n  set $a b;\n  proxy_password {LITERAL};\n}}\n", NAMED, 3),
    ("nginx.conf", f'a;\nproxy_set_header Authorization "Bearer {LITERAL}";\n', TOKEN, 2),
    ("wg0.conf", f"[Interface]\nPrivateKey = {WIREGUARD_KEY}\n", NAMED, 2),
    ("wg0.conf", f"[Peer]\nPresharedKey = {WIREGUARD_KEY}\n", NAMED, 2),
    (".netrc", f"machine a.example\n  login me\n  password {LITERAL}\n", NAMED, 3),
    (".netrc", f"\nmachine a.example login me password {LITERAL}\n", NAMED, 2),
    ("users", "\nadmin:$apr1$abcdefgh$0123456789abcdefghijkl\n", NAMED, 2),
    ("users", "\nadmin:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n", NAMED, 2),
    ("config.xml", f"<Config>\n  <ApiKey>{LITERAL}</ApiKey>\n</Config>\n", NAMED, 2),
    ("app.json", json.dumps({"a": {"password": LITERAL}}, indent=1), NAMED, 3),
    ("app.json", f'{{"a":\n{{"clientSecret":"{LITERAL}"}}}}', NAMED, 2),
    ("app.toml", f'[a]\nb = 1\npassword = "{LITERAL}"\n', NAMED, 3),
    ("app.yml", f"a:\n  password: {LITERAL}\n", NAMED, 2),
    ("app.yml", f"a:\n  - password: '{LITERAL}'\n", NAMED, 2),
    ("app.yml", f"a:\n  b: {{user: me, password: {LITERAL}}}\n", NAMED, 2),
    ("app.yml", f"a:\n  # password: {LITERAL}\n", NAMED, 2),
    ("app.yml", f"a: |\n  x\n  password={LITERAL}\n", NAMED, 3),
    ("app.yml", f"a: &x {{}}\npassword: !custom {LITERAL}\n", NAMED, 2),
    ("start.sh", f"#!/bin/sh\nset -eu\nexport PASSWORD={LITERAL}\n", NAMED, 3),
    ("start.sh", f"#!/bin/sh\nexec app \\\n  --password {LITERAL}\n", NAMED, 3),
    ("start.sh", f"#!/bin/sh\ncurl -u admin:{LITERAL} http://127.0.0.1/\n", NAMED, 2),
    ("any.conf", f"a\nurl = {URLS[2]}\n", URL, 2),
    ("any.conf", f"a\nx {TOKENS[2]}\n", TOKEN, 2),
    ("any.conf", f"a\n{PEM}\n", PRIVATE_KEY, 2),
    ("any.conf", f"a\nremote = {WIREGUARD_KEY}\n", RANDOM, 2),
    ("any.conf", f"a\n{HEX_32}\n", RANDOM, 2),
    # Prometheus and Alertmanager
    ("prometheus.yml", f"remote_write:\n- basic_auth: {{username: me, password: {LITERAL}}}\n", NAMED, 2),
    ("prometheus.yml", f"basic_auth:\n  username: me\n  password: {LITERAL}\n", NAMED, 3),
    ("prometheus.yml", f"authorization:\n  type: Bearer\n  credentials: {LITERAL}\n", NAMED, 3),
    ("prometheus.yml", f"- job_name: a\n  bearer_token: {LITERAL}\n", NAMED, 2),
    ("prometheus.yml", f"static_configs:\n- targets:\n  - http://me:{LITERAL}@a:9090\n", URL, 3),
    ("alertmanager.yml", f"global:\n  smtp_auth_password: {LITERAL}\n", NAMED, 2),
    ("alertmanager.yml", f"slack_configs:\n- api_url: {TOKENS[8]}\n", TOKEN, 2),
    ("blackbox.yml", f"headers:\n  Authorization: Bearer {LITERAL}\n", TOKEN, 2),
    # Traefik and Grafana
    ("routes.yml", "basicAuth:\n  users:\n  - a:$apr1$abcdefgh$0123456789abcdefghijkl\n", NAMED, 3),
    ("routes.yml", "headers:\n  customRequestHeaders:\n    X-Api-Key: hunter2-x\n", NAMED, 3),
    ("routes.yml", f"servers:\n- url: http://me:{LITERAL}@sonarr:8989\n", URL, 2),
    ("datasource.yaml", f"secureJsonData:\n  password: {LITERAL}\n", NAMED, 2),
    ("grafana.ini", f"[security]\nadmin_password = {LITERAL}\n", NAMED, 2),
]


@pytest.mark.parametrize(("name", "text", "rule", "line"), FILES)
def test_a_secret_in_a_file_is_refused_with_its_line(name: str, text: str, rule: str, line: int) -> None:
    for encoded in (False, True):
        violations = judge(upload(text, f"/run/config/{name}", encoded=encoded))
        assert rules_of(violations) == {rule}
        place = f"sonarr: uploads[0].{'contentBase64' if encoded else 'content'}[{line}] "
        assert violations[0].message.startswith(place), violations[0].message
    raw = judge({"name": name, "dataRaw": text}, SERVICE_CONFIG)
    assert (rules_of(raw), raw[0].message.split()[1]) == ({rule}, f"dataRaw[{line}]")
    data = base64.b64encode(text.encode()).decode()
    assert rules_of(judge({"name": name, "data": data}, SERVICE_CONFIG)) == {rule}


# What no line shows by itself.
STRUCTURED: list[tuple[str, str, str]] = [
    ("a.yml", f"password: >-\n  {LITERAL}\n", NAMED),
    ("a.yml", f"password:\n  {LITERAL}\n", NAMED),
    ("a.yml", f"passwords:\n- {LITERAL}\n", NAMED),
    ("a.yml", f'env: [{{name: "PASSWORD", value: {LITERAL}}}]\n', NAMED),
    ("a.yml", f"digestAuth:\n  users:\n  - me:traefik:{HEX_32}\n", NAMED),
    ("a.yml", "basicAuth: {users: ['me:hunter2']}\n", NAMED),
    ("a.json", f'{{"password":\n\n"{LITERAL}"}}', NAMED),
    ("a.yml", 'password: "hun\\x74er2"\n', NAMED),
    ("a.yml", f"http_headers:\n  X-Foo:\n    secrets: [{LITERAL}]\n", NAMED),
    ("a.yml", f"remote:\n- {WIREGUARD_KEY}\n", RANDOM),
    ("a.txt", base64.encodebytes(("x" * 60 + PEM + "y" * 60).encode()).decode(), PRIVATE_KEY),
]


@pytest.mark.parametrize(("name", "text", "rule"), STRUCTURED)
def test_a_secret_that_no_single_line_shows(name: str, text: str, rule: str) -> None:
    assert rule in rules_of(judge(upload(text, f"/run/config/{name}")))


def test_every_line_of_a_file_is_told() -> None:
    violations = judge(upload(f"a = 1\npassword = {LITERAL}\nb = 2\ntoken = {LITERAL}\nurl = {URLS[0]}\n"))
    assert [violation.message.split()[1] for violation in violations] == [
        "uploads[0].content[2]",
        "uploads[0].content[4]",
        "uploads[0].content[5]",
    ]


INNOCENT_FILES: list[tuple[str, str]] = [
    (
        "prometheus.yml",
        "scrape_configs:\n- job_name: a\n  authorization: {type: Bearer, credentials_file: /run/secrets/token}\n"
        "  basic_auth:\n    username: user1\n    password_file: /run/secrets/p\n"
        "  oauth2: {client_id: nexus, client_secret_file: /run/secrets/s, token_url: 'https://a.example/token'}\n"
        "  static_configs: [{targets: ['sonarr:8989', 'http://vpn:8080/']}]\n"
        "  tls_config: {ca_file: /etc/ca.crt, key_file: /run/secrets/tls.key, insecure_skip_verify: false}\n",
    ),
    (
        "alertmanager.yml",
        "global: {smtp_auth_username: nexus, smtp_auth_password_file: /run/secrets/p, smtp_require_tls: true}\n"
        "receivers:\n- name: a\n  webhook_configs: [{url_file: /run/secrets/url, send_resolved: true}]\n"
        "  slack_configs: [{api_url_file: /run/secrets/slack, title: '{{ .CommonLabels.alertname }}'}]\n",
    ),
    (
        "routes.yml",
        "http:\n  middlewares:\n    login: {basicAuth: {usersFile: /run/secrets/users, realm: NEXUS}}\n"
        f"    known: {{basicAuth: {{users: ['admin:{BCRYPT}', 'me:{BCRYPT}']}}}}\n"
        "    sso: {forwardAuth: {address: 'http://authelia:9091/api', authResponseHeaders: [Remote-User, X-Token]}}\n"
        "  routers: {a: {rule: 'Host(`a.example`) && PathPrefix(`/api/token`)', service: api@internal}}\n"
        "tls: {certificates: [{certFile: /run/secrets/tls.crt, keyFile: /run/secrets/tls.key}]}\n",
    ),
    (
        "datasource.yaml",
        "datasources:\n- {name: a, uid: P7Xv2Lk9Rt4Zb8Nw3Jd6A, url: 'http://prometheus:9090'}\n"
        "  # password: see the manual\n",
    ),
    ("secure.yaml", "secureJsonData: {password: '$__file{/run/secrets/p}', token: $__env{TOKEN}}\n"),
    (
        "grafana.ini",
        "[a]\nadmin_user = admin\nadmin_password = $__file{/run/secrets/p}\ncookie_secure = true\n",
    ),
    ("sops.yaml", "password: ENC[AES256_GCM,data:q7Xv2Lk9Rt4Zb8Nw3Jd6,iv:Zt8kQ2vXr5LmN9wJh3Pd7Bc4,tag:x,type:str]\n"),
    ("qBittorrent.conf", f'[Preferences]\nWebUI\\Username=admin\nWebUI\\Password_PBKDF2="{PBKDF2}"\n'),
    ("users", f"admin:{BCRYPT}\nme:{ARGON2}\n"),
    (
        "config.xml",
        "<Config>\n  <AuthenticationMethod>External</AuthenticationMethod>\n  <ApiKey/>\n</Config>",
    ),
    ("wg0.conf", f"[Peer]\nPublicKey = {WIREGUARD_KEY}\nAllowedIPs = 10.0.0.0/8, fd00::/8\n"),
    ("known_hosts", f"a.example ssh-ed25519 {'AAAAC3NzaC1lZDI1NTE5AAAAI' + 'Q7xv2Lk9Rt4Zb8Nw3Jd6'}\n"),
    ("ca.crt", f"-----BEGIN CERTIFICATE-----\n{WIREGUARD_KEY}\n{WIREGUARD_KEY}\n-----END CERTIFICATE-----\n"),
    ("ca.pem", f"# the root\n-----BEGIN PUBLIC KEY-----\n{WIREGUARD_KEY}\n-----END PUBLIC KEY-----\n"),
    ("keys.yml", f"public_keys:\n- {WIREGUARD_KEY}\n- {WIREGUARD_KEY}\n"),
    ("pins.json", json.dumps({"image": {"digest": HEX_64, "id": "0" * 7 + HEX_32}, "commit": HEX_64[:40]})),
    ("uuid.toml", 'cluster = "00000000-1111-2222-3333-444444444444"\n'),
    (
        "start.sh",
        "#!/bin/sh\nset -eu\n# Reads its token from /run/secrets and PASSWORD from the environment.\n"
        'export API_KEY="$(cat /run/secrets/key)"\npassword=$1\ntoken=$(tr -d "\\n" </run/secrets/token)\n'
        'wg set wg0 private-key /run/secrets/key peer "$CLIENT_PUBLIC_KEY" allowed-ips "$CLIENT/32"\n'
        'echo "no password is set: see the manual" >&2\nexec app --token-file /run/secrets/t --auth=none\n',
    ),
    ("notes.txt", "The token is made by the app.\npassword: at least twelve characters\nkey: the first one\n"),
    ("mosquitto.conf", "password_file /run/secrets/passwords\nallow_anonymous false\nlistener 1883\n"),
    (
        "redis.conf",
        "bind 0.0.0.0\naclfile /run/secrets/users.acl\nprotected-mode yes\nmaxmemory-policy noeviction\n",
    ),
    ("nginx.conf", "auth_basic off;\nauth_request /auth;\nproxy_set_header Authorization $http_authorization;\n"),
    ("search.yml", "tokenizer: standard\npassTLSClientCert: {pem: true}\npassHostHeader: true\nbypass: a\n"),
    ("empty.yml", ""),
    ("broken.yml", "a: [\n"),
    ("image.bin", "\u0000\u0001"),
]


@pytest.mark.parametrize(("name", "text"), INNOCENT_FILES, ids=[name for name, _ in INNOCENT_FILES])
def test_innocent_files(name: str, text: str) -> None:
    for encoded in (False, True):
        assert judge(upload(text, f"/run/config/{name}", encoded=encoded)) == []
    assert judge({"name": name, "dataRaw": text}, SERVICE_CONFIG) == []
    assert judge({"name": name, "data": base64.b64encode(text.encode()).decode()}, SERVICE_CONFIG) == []


@pytest.mark.parametrize("choice", CHOICES)
def test_what_the_platform_uploads_passes(choice: str) -> None:
    stack = declared(choice)
    names = [
        str(upload["file"])
        for one in stack.of("Container")
        for upload in (one.props.get("uploads") or [])  # type: ignore[union-attr]
        if isinstance(upload, dict)
    ]
    assert {"/run/config/routes.yml", "/run/config/prometheus.yml", "/run/config/alertmanager.yml"} <= set(names)
    assert any(name.startswith("/run/secrets/") for name in names)
    for rule in secrets.RULES:
        found = [verdict.message for verdict in rule.verdicts(stack, {})]
        assert found == [], rule.name


def test_the_platforms_files_are_judged() -> None:
    """The same files elsewhere: what is under /run/secrets would be refused anywhere else."""
    refused = set()
    for one in declared("dev").of("Container"):
        moved = json.loads(json.dumps(one.props).replace("/run/secrets/", "/run/config/"))
        found = [f for rule in secrets.RULES for f in rule.judge(dataclasses.replace(one, props=moved), {})]  # type: ignore[misc]
        refused |= {one.name} if found else set()
    # What the others hold there is a verifier, or too short to be told from a word.
    assert refused == {f"{name}-seed" for name in ("sonarr", "radarr", "prowlarr", "vpn", "vpn-peer", "traefik")}


# ---- connection strings, basic authentication, wrappings ----

CONNECTIONS = [
    ("Server=db;Database=sonarr;User Id=sa;Password=hunter2;", NAMED),
    ("Server=db; User Id = sa; Password = hunter2", NAMED),
    ("Data Source=db;Pwd=hunter2", NAMED),
    ("DefaultEndpointsProtocol=https;AccountName=a;AccountKey=" + WIREGUARD_KEY, NAMED),
    ("Endpoint=sb://a.example/;SharedAccessKeyName=a;SharedAccessKey=" + WIREGUARD_KEY, NAMED),
    ("host=db port=5432 user=sonarr password=hunter2 dbname=sonarr", NAMED),
    ("redis:6379,password=hunter2,ssl=True", NAMED),
    ("jdbc:postgresql://db/sonarr?user=sonarr&password=hunter2", NAMED),
    ("jdbc:oracle:thin:scott/hunter2@db:1521:x", URL),
    ("postgres://sonarr:hunter2@db/sonarr", URL),
    ("amqp://me:hunter2@mq:5672/vhost", URL),
    ("rediss://:hunter2@valkey:6379", URL),
    ("mysql+pymysql://me:hunter2@db/x", URL),
    ("ftp://me:hunter2@nas", URL),
    ("//me:hunter2@nas/share", URL),
    ("sonarr:hunter2@db:5432", URL),
    ("sonarr:hunter2@db.example.net:5432/sonarr", URL),
    ("postgres%3A%2F%2Fsonarr%3Ahunter2%40db%2Fsonarr", URL),
    ("https://me:hunter%402@example.net", URL),
]
BASIC = base64.b64encode(b"me:hunter2").decode()
HEADERS = [
    f"Authorization: Basic {BASIC}",
    f"authorization: basic {BASIC}",
    f"Proxy-Authorization: Basic {BASIC}",
    f"X-Forwarded-Auth: Basic {BASIC}",
    f"Basic {BASIC}",
    f'{{"Authorization": "Basic {BASIC}"}}',
    f"Authorization=Bearer {LITERAL}",
    f"Authorization: Token {LITERAL}",
    f"Authorization%3A%20Basic%20{BASIC}",
]


@pytest.mark.parametrize(("text", "rule"), CONNECTIONS)
def test_connection_strings(text: str, rule: str) -> None:
    for props in (
        container(envs=[f"CONNECTION={text}"]),
        container(envs={"ConnectionStrings__Main": text}),
        container(labels=[{"label": "db", "value": text}]),
        container(command=["app", "--connection", text]),
        container(healthcheck={"tests": ["CMD", "app", "check", text]}),
        upload(f"connection: '{text}'\n", "/run/config/a.yml"),
        upload(json.dumps({"ConnectionStrings": {"Main": text}}), "/run/config/a.json"),
        upload(f"[a]\nconnection = {text}\n"),
    ):
        assert rule in rules_of(judge(props)), props


@pytest.mark.parametrize("text", HEADERS)
def test_headers_with_a_credential(text: str) -> None:
    for props in (
        container(envs=[f"HEADER={text}"]),
        container(command=["curl", "-H", text, "http://127.0.0.1/"]),
        container(healthcheck={"tests": ["CMD-SHELL", f"wget --header '{text}' http://127.0.0.1/"]}),
        upload(f"a: 1\nb: '{text}'\n", "/run/config/a.yml"),
    ):
        assert TOKEN in rules_of(judge(props)), props


WRAPPED = [
    ("postgres://sonarr:hunter2@db/sonarr", URL),
    (PEM, PRIVATE_KEY),
    (TOKENS[2], TOKEN),
    (f"Authorization: Bearer {LITERAL}", TOKEN),
    (f"password={LITERAL}", NAMED),
    (json.dumps({"password": LITERAL}), NAMED),
    (f"db:\n  password: {LITERAL}\n", NAMED),
    ("Server=db;Password=hunter2;", NAMED),
    ("admin:$apr1$abcdefgh$0123456789abcdefghijkl", NAMED),
    (f"x {WIREGUARD_KEY}", RANDOM),
]
_ENCODINGS: list[Callable[[bytes], bytes]] = [
    base64.b64encode,
    base64.urlsafe_b64encode,
    lambda raw: base64.b64encode(raw).rstrip(b"="),
    lambda raw: base64.b64encode(raw.decode().encode("utf-16-le")),
]


@pytest.mark.parametrize(("text", "rule"), WRAPPED)
@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("encode", _ENCODINGS, ids=["standard", "for addresses", "unpadded", "UTF-16"])
def test_a_wrapped_secret(text: str, rule: str, times: int, encode: Callable[[bytes], bytes]) -> None:
    wrapped = text.encode()
    for _ in range(times):
        wrapped = encode(wrapped)
    for props in (
        container(envs=[f"A={wrapped.decode()}"]),
        container(labels=[{"label": "a", "value": wrapped.decode()}]),
        container(command=["sh", "-c", f"echo {wrapped.decode()} | base64 -d > /a"]),
        upload(f"a: {wrapped.decode()}\n", "/run/config/a.yml"),
    ):
        assert rule in rules_of(judge(props)), props


@pytest.mark.parametrize(
    "text",
    [
        "hello, this is a text that anybody may read",
        json.dumps({"log": {"level": "info"}, "url": "http://sonarr:8989"}),
        f"-----BEGIN CERTIFICATE-----\n{WIREGUARD_KEY}\n-----END CERTIFICATE-----\n",
        "password_file=/run/secrets/p",
        f"sha256:{HEX_64}",
    ],
)
def test_an_innocent_text_that_is_wrapped(text: str) -> None:
    once = base64.b64encode(text.encode())
    for wrapped in (once.decode(), base64.b64encode(once).decode()):
        assert judge(container(envs=[f"A={wrapped}"])) == []
        assert judge(upload(f"a: {wrapped}\n", "/run/config/a.yml")) == []


@pytest.mark.parametrize("variable", ["A=//cdn.example.net/x.js", "B=user@host:22", "C=a:b", "D=basic information"])
def test_what_only_resembles_them(variable: str) -> None:
    assert judge(container(envs=[variable])) == []


UPLOADS = upload(f"a: 1\npassword: {LITERAL}\n", "/run/config/a.yml")


@pytest.mark.parametrize("where", [where for where in positions(UPLOADS) if where[0] == "uploads"], ids=str)
def test_odd_files_never_raise(where: tuple[str | int, ...]) -> None:
    odd: list[Json] = [None, True, 3.5, "", [], {}, [[]], [None], {"": None}, UNKNOWN, "%%%", "a: &a [*a]", "\ud800"]
    for value in odd:
        judge(replaced(UPLOADS, where, value))


def test_roads_that_are_meant_for_secrets() -> None:
    assert judge({"name": "s", "data": base64.b64encode(PEM.encode()).decode()}, "docker:index/secret:Secret") == []
    assert judge(service() | {"auth": {"serverAddress": "x", "username": "me", "password": TOKENS[2]}}, SERVICE) == []


# ---- unknown and secret values, messages ----

BAD = container(
    envs=["A=1", f"ADMIN_PASSWORD={LITERAL}", f"B={TOKENS[2]}"],
    labels=[{"label": "a", "value": URLS[0]}, {"label": "api.key", "value": LITERAL}],
    command=["app", "--token", LITERAL, f"--x={WIREGUARD_KEY}"],
    healthcheck={"tests": ["CMD-SHELL", f"curl -u a:{LITERAL} http://x"], "interval": "30s"},
    logOpts={"splunk-token": LITERAL, "tag": "x"},
    hostname=TOKENS[0],
)
BAD_PLACES = {
    "envs[1]": ("envs", 1),
    "envs[2]": ("envs", 2),
    "labels[0].value": ("labels", 0, "value"),
    "labels[1].value": ("labels", 1, "value"),
    "command[2]": ("command", 2),
    "command[3]": ("command", 3),
    "healthcheck.tests[1]": ("healthcheck", "tests", 1),
    "logOpts.splunk-token": ("logOpts", "splunk-token"),
    "hostname": ("hostname",),
}
# A value is only known to be a secret by the name beside it.
NEEDS = {
    ("labels", 1, "label"): "labels[1].value",
    ("command", 1): "command[2]",
}


ODD: list[Json] = [None, True, 3.5, "", [], {}, [[]], [None], {"": None}]


def _places(props: Props) -> set[str]:
    return {violation.message.split()[1] for violation in judge(props)}


def test_each_place_is_named_once_with_its_variable() -> None:
    messages = [violation.message for violation in judge(BAD)]
    assert sorted(message.split()[1] for message in messages) == sorted(BAD_PLACES)
    assert "sonarr: envs[1] (ADMIN_PASSWORD) holds a secret, by its name. Hand it over as a file" in messages[0]


@pytest.mark.parametrize("unknown", list(positions(BAD)), ids=str)
def test_an_unknown_hides_only_itself(unknown: tuple[str | int, ...]) -> None:
    hidden = {text for text, place in BAD_PLACES.items() if place[: len(unknown)] == unknown}
    hidden |= {NEEDS[unknown]} if unknown in NEEDS else set()
    assert _places(replaced(BAD, unknown, UNKNOWN)) == set(BAD_PLACES) - hidden


@pytest.mark.parametrize("where", list(positions(BAD)), ids=str)
def test_odd_shapes_never_raise_nor_hide_the_rest(where: tuple[str | int, ...]) -> None:
    hidden = {text for text, place in BAD_PLACES.items() if place[: len(where)] == where}
    hidden |= {NEEDS[where]} if where in NEEDS else set()
    for odd in ODD:
        assert _places(replaced(BAD, where, odd)) >= set(BAD_PLACES) - hidden


@pytest.mark.parametrize("wrapper", [SECRET, OUTPUT])
@pytest.mark.parametrize("where", [("envs",), ("envs", 1), ("labels", 1), ("command", 2)], ids=str)
def test_a_wrapped_value_is_judged_like_a_plain_one(where: tuple[str | int, ...], wrapper: str) -> None:
    wrapped = replaced(BAD, where, {SIGNATURE: wrapper, "value": at(BAD, where)})
    assert {v.message for v in judge_raw(wrapped)} == {v.message for v in judge_raw(BAD)}
    if wrapper == SECRET:
        assert {v.message for v in judge(wrapped)} == {v.message for v in judge(BAD)}


@pytest.mark.parametrize("name", [TOKENS[2], JWT, WIREGUARD_KEY, PEM, "a b c", ""])
def test_a_name_that_is_itself_a_secret_is_not_printed(name: str) -> None:
    text = f"{name}={URLS[0]}"
    for props in (container(envs={name: URLS[0]}), container(envs=[text]), container(labels={name: URLS[0]})):
        violations = judge(props)
        assert violations
        for violation in violations:
            assert not name.strip() or name not in violation.message


@pytest.mark.parametrize(
    "kind", ["pulumi:providers:docker", "random:index/randomPassword:RandomPassword", "nexus:a:B"]
)
def test_other_resources_are_not_judged(kind: str) -> None:
    assert judge(BAD, kind) == []
