"""Family `secrets`: what is found, under which names and in which shapes and places, and what must pass."""

from __future__ import annotations

import base64
import json
from typing import Final

import pytest

from policies.rules.secrets import RULES
from tests.policies.harness import UNKNOWN, Json, Props, places

RULE: Final = "no-literal-secret"
LITERAL: Final = "hunter2-x"

# Put together here, so that no scanner takes this file for a leak.
WIREGUARD_KEY = base64.b64encode(bytes(range(7, 256, 8))).decode()  # 44 characters
HEX_32 = "0123456789abcdef" * 2
HEX_64 = "9d41f0c2" * 8
BCRYPT = "$2y$10$" + "abcdefghijklmnopqrstuv" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ01234"
ARGON2 = "$argon2id$v=19$m=65536,t=3,p=4$" + "c2FsdHNhbHRzYWx0" + "$" + "aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo"
PBKDF2 = "@ByteArray(c2FsdHNhbHRzYWx0c2FsdA==:" + "aGFzaGhhc2hoYXNoaGFzaGhhc2g=" + ")"
JWT = "eyJhbGciOiJIUzI1NiJ9" + "." + "eyJzdWIiOiJuZXh1cyJ9" + "." + "c2lnbmF0dXJlLW9mLWl0"
PEM = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END PRIVATE KEY-----"


def refused(props: Props) -> list[str]:
    return places(props, name="x-container", rules=RULES).get(RULE, [])


def upload(text: Json, file: Json = "/run/config/app.conf") -> Props:
    return {"uploads": [{"file": file, "content": text, "permissions": "0400"}]}


def in_each_place(text: str, name: str = "A") -> list[tuple[Props, str]]:
    """A text in each place of a container, with where that is."""
    return [
        ({"envs": [UNKNOWN, f"{name}={text}"]}, f"envs[1] ({name})"),
        ({"labels": [{"label": name, "value": text}]}, f"labels[0].value ({name})"),
        ({"command": ["app", UNKNOWN, f"--{name}={text}"]}, "command[2]"),
        ({"entrypoints": ["sh", "-c", f"exec app --{name} '{text}'"]}, "entrypoints[2]"),
        ({"healthcheck": {"tests": ["CMD", "app", f"--{name}={text}"]}}, "healthcheck.tests[2]"),
        (upload(f"a = b\n{name} = {text}\n"), "uploads[0].content[2]"),
    ]


NAMES: Final = (
    "PASSWORD", "dbPassword", "DB-PASSWD", "MYSQL_PWD", "PGPASS", "smtpPass", "RESTIC_PASSPHRASE", "CLIENT_SECRET",
    "SECRET_1", "SECRET_ID", "TOKEN_GITHUB", "accessToken", "API_KEY", "apikey", "X-Api-Key", "SONARR__AUTH__APIKEY",
    "WIREGUARD_PRIVATE_KEY", "WIREGUARD_PRESHARED_KEY", "AWS_SECRET_ACCESS_KEY", "SIGNING_KEY", "WIFI_PSK",
    "MY_CREDS", "BASIC_AUTH", "REQUIREPASS", "PUBLIC_PASSWORD", "PASSWORD_FILE", "POSTGRES_PASSWORD__FILE",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_says_secret(name: str) -> None:
    assert refused({"envs": [f"{name}={LITERAL}"]}) == [f"envs[0] ({name})"]


@pytest.mark.parametrize("name", ["KEY", "SSH_KEY", "MY_PAT", "HMAC"])
@pytest.mark.parametrize(("value", "found"), [(HEX_32, True), (WIREGUARD_KEY, True), ("tv-sonarr", False)])
def test_a_name_that_hints_takes_random_text(name: str, value: str, found: bool) -> None:
    assert bool(refused({"envs": [f"{name}={value}"]})) is found


@pytest.mark.parametrize(("props", "place"), in_each_place(LITERAL, "API_KEY"))
def test_where_a_named_secret_is_found(props: Props, place: str) -> None:
    assert refused(props) == [place]


FORMS: Final = (
    'API_KEY="{}" exec app', "set -e; export API_KEY={}; exec a", "curl 'http://127.0.0.1/x?a=b&API_KEY={}' || false",
    "curl -H 'X-Api-Key: {}' http://127.0.0.1/", "echo '<ApiKey>{}</ApiKey>' > /c", 'app \'{{"apiKey": "{}"}}\'',
    "printf 'a: b\n  password: {}\n' > /c", "java -Xmx1g -Dpassword={}", "Server=db;Database=x;Password={};",
    'OPTS="-Xmx1g -Dpassword={}" exec app', "host=db port=5432 user=me password={} dbname=x",
    "DefaultEndpointsProtocol=https;AccountName=a;AccountKey={}", "redis-server --requirepass {}",
    "curl -H 'Authorization: Bearer {}' http://x", "curl -fsS --user admin:{} http://127.0.0.1/",
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_in_each_form(form: str) -> None:
    assert refused({"command": ["sh", "-c", form.format(LITERAL)]}) == ["command[2]"]


@pytest.mark.parametrize(
    ("words", "place"),
    [(["curl", "-u", f"admin:{LITERAL}"], "command"), (["app", "--password", LITERAL], "command[2] (password)")],
)
def test_a_secret_in_words_of_its_own(words: list[Json], place: str) -> None:
    assert refused({"command": words}) == [place]


@pytest.mark.parametrize(
    "value",
    [
        "hunter2", "x", "changeme", "123456", "password", "correct horse battery staple", "${NOT_SET:-hunter2}",
        "${NOT_SET:=hunter2}", "prefix-${REST}", "$(echo hunter2)", "$(base64 -d <<< aHVudGVyMg==)", "`echo hunter2`",
        "$apr1$abcdefgh$0123456789abcdefghijkl", "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", HEX_32, WIREGUARD_KEY,
        "00000000-1111-2222-3333-444444444444", "[secret]",
    ],
)  # fmt: skip
def test_values_that_are_written_out(value: str) -> None:
    assert refused({"envs": [f"ADMIN_PASSWORD={value}"]})


@pytest.mark.parametrize(
    "props",
    [{"envs": ["A=1", "[secret]"]}, {"labels": [{"label": "a", "value": "[secret]"}]}, {"command": ["[secret]"]}],
)
def test_a_pulumi_secret_in_an_exported_state_is_refused(props: Props) -> None:
    assert refused(props)


SHAPES: Final = (
    "https://me:hunter2@example.net/x", "postgres://sonarr:hunter2@db:5432/sonarr", "redis://:hunter2@valkey:6379/0",
    "mongodb+srv://me:hunter2@cluster.example.net", "HTTPS://me:hunter2@example.net", "smtp://me:hunter%402@mail:587",
    "socks5://me:123456@proxy:1080", "mysql+pymysql://me:hunter2@db/x",
    PEM, PEM.replace("\n", "\\n"), PEM.replace("PRIVATE KEY", "RSA PRIVATE KEY"),
    PEM.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), PEM.replace("PRIVATE KEY", "OPENSSH PRIVATE KEY"),
    PEM.replace("PRIVATE KEY", "PGP PRIVATE KEY BLOCK"), "PuTTY-User-Key-File-3: ssh-ed25519",
    "AGE-SECRET-KEY-1" + "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L" * 2,
    "AKIA" + "IOSFODNN7EXAMPLE", "ghp_" + "a1B2" * 9, "github_pat_" + "a1B2" * 9, "glpat-" + "a1B2" * 5,
    "xoxb-" + "1234-5678-" + "abcdefgh", "https://hooks.slack.com/services/" + "T0000/B0000/" + "a1B2" * 6,
    "https://discord.com/api/webhooks/123456789/" + "a1B2" * 17, "123456789" + ":AA" + "a1B2_-" * 5 + "xyz",
    "pul-" + "0123456789abcdef" * 2 + "01234567", JWT, "sk_live_" + "a1B2" * 6, "dckr_pat_" + "a1B2" * 7,
    "glsa_" + "a1B2" * 8 + "_0a1b2c3d", "qbt_" + "a1B2" * 7, "claim-" + "a1B2_" * 4,
)  # fmt: skip


@pytest.mark.parametrize("text", SHAPES)
def test_a_shape_needs_no_name(text: str) -> None:
    assert refused({"envs": [f"A={text}"]})


@pytest.mark.parametrize("text", [SHAPES[1], PEM, "ghp_" + "a1B2" * 9])
def test_where_a_shape_is_found(text: str) -> None:
    assert refused({"hostname": text}) == ["hostname"]
    for props, place in in_each_place(text.partition("\n")[0]):
        assert refused(props) == [place]


INNOCENT: Final = (
    "SONARR__AUTH__METHOD=External", "GF_AUTH_ANONYMOUS_ENABLED=false", "GF_SECURITY_ADMIN_USER=admin",
    "MYSQL_ALLOW_EMPTY_PASSWORD=yes", "REQUIRE_PASSWORD=1", "PASSWORD_MIN_LENGTH=12", "MAX_TOKENS=4096",
    "ACCESS_TOKEN_EXPIRES_IN=7d", "TOKEN_TTL=1h30m", "JWT_ALGORITHM=HS256", "TOKEN_URL=https://auth.example.net/token",
    "API_KEY_HEADER=X-Api-Key", "PASSWORD=", "PASSWORD", "TOKEN=***", "SECRETS_DIR=/run/secrets",
    "GF_SECURITY_ADMIN_PASSWORD__FILE=/run/secrets/admin_password",
    "WIREGUARD_PRIVATE_KEY_SECRETFILE=/run/secrets/wireguard_private_key",
    "HTTP_CONTROL_SERVER_AUTH_CONFIG_FILEPATH=/gluetun/auth/config.toml",
    "RESTIC_PASSWORD_COMMAND=cat /run/secrets/restic", "API_KEY=filepath:/run/secrets/api_key",
    "TLS_PRIVATE_KEY=/certs/live/tls.key", "PASSWORD=${ADMIN_PASSWORD}", "PASSWORD=$ADMIN_PASSWORD",
    "PASSWORD=${ADMIN_PASSWORD:?not set}", "PASSWORD=${ADMIN_PASSWORD:-}", 'TOKEN={{ env "TOKEN" }}', "PWD=/app",
    "PASSWORD=$__file{/run/secrets/x}", "DATABASE_URL=postgres://sonarr@db:5432/sonarr",
    "DATABASE_URL=postgres://sonarr:${DB_PASSWORD}@db:5432/sonarr", "GIT_REMOTE=ssh://git@example.net:22/x.git",
    "HEALTH=http://127.0.0.1:8989/ping", "IMAGE=docker-image://alpine:3.19@sha256:" + HEX_64,
    f"WIREGUARD_PUBLIC_KEY={WIREGUARD_KEY}", f"SERVER_PUBKEY={WIREGUARD_KEY}", "SOURCE=" + HEX_64,
    "CERTIFICATE=-----BEGIN CERTIFICATE-----\n" + WIREGUARD_KEY + "\n-----END CERTIFICATE-----",
    "PASSWORD_SHA256=" + HEX_64, f"ADMIN_PASSWORD_HASH={BCRYPT}", f"ADMIN_PASSWORD={BCRYPT}", f"PASSWORD={ARGON2}",
    f"PASSWORD={BCRYPT.replace('$', '$$')}", f"PASSWORD_PBKDF2={PBKDF2}", "TZ=Europe/Berlin",
    "CLASSPATH=/usr/share/java/elasticsearch/lib/ElasticSearchClient-Core.jar",
)  # fmt: skip


@pytest.mark.parametrize("variable", INNOCENT)
def test_innocent_variables(variable: str) -> None:
    assert refused({"envs": [variable]}) == []


INNOCENT_COMMANDS: Final[tuple[list[Json], ...]] = (
    ["sh", "-c", "PASSWORD=$(cat /run/secrets/p) TOKEN=`cat /run/secrets/t` exec app"],
    ["sh", "-c", 'password="$(tr -d \'\\n\' < /run/secrets/p)"; [ -n "$password" ] || exit 1; exec app'],
    ["sh", "-c", 'while read -r token; do app --token "$token"; done < /run/secrets/tokens'],
    ["sh", "-c", "exec app --password-file /run/secrets/p --token-ttl 1h --auth none --api-key=$API_KEY"],
    ["sh", "-c", 'curl -fsS -H "X-Api-Key: $(</run/secrets/api_key)" http://127.0.0.1:8989/api/v3/health'],
    ["sh", "-c", 'curl -u "admin:$(cat /run/secrets/p)" http://127.0.0.1/'],
    ["sh", "-c", 'curl -H "Authorization: Bearer $(cat /run/secrets/t)" http://127.0.0.1/'],
    ["sh", "-c", 'sed -i "s|^WebUI.Password_PBKDF2=.*|$(cat /run/secrets/line)|" /config/q.conf'],
    ["sh", "-c", "echo 'no password is set, see the manual' >&2; exit 1"],
    ["sh", "-c", "wg set wg0 private-key /run/secrets/wireguard_private_key peer X allowed-ips 0.0.0.0/0"],
    ["app", "--secret-name", "my-secret", "--public-key", f"{WIREGUARD_KEY}", "--show-token=false"],
    ["app", "--password", UNKNOWN],
)


@pytest.mark.parametrize("command", INNOCENT_COMMANDS)
def test_innocent_commands(command: list[Json]) -> None:
    assert refused({"command": command, "healthcheck": {"tests": ["CMD", *command]}}) == []


@pytest.mark.parametrize("file", ["/run/secrets/x", "/run/secrets/a/b", "/var/run/secrets/x", UNKNOWN])
def test_a_secret_file_is_where_a_secret_is_meant_to_be(file: str) -> None:
    for text in (PEM, SHAPES[0], f"password: {LITERAL}", "[secret]"):
        assert refused(upload(text, file)) == []


@pytest.mark.parametrize(
    "file", ["/run/secretsx/a", "/run/secrets/../config/a", "/srv/run/secrets/a", "/RUN/SECRETS/a"]
)
def test_any_other_place_is_not(file: str) -> None:
    assert refused(upload(f"a = 1\npassword = {LITERAL}\n", file)) == ["uploads[0].content[2]"]


# Files as people write them, each with one secret: name, text, the line.
FILES: Final = (
    ("app.env", f"A=1\nexport API_KEY='{LITERAL}'\n", 2),
    ("app.env", f"A=1\n# PASSWORD={LITERAL}\n", 2),
    ("app.ini", f"[a]\nb = 1\npassword = {LITERAL}\n", 3),
    ("redis.conf", f"bind 0.0.0.0\nrequirepass {LITERAL}\n", 2),
    ("nginx.conf", f"server {{\n  set $a b;\n  proxy_password {LITERAL};\n}}\n", 3),
    ("wg0.conf", f"[Interface]\nPrivateKey = {WIREGUARD_KEY}\n", 2),
    ("config.xml", f"<Config>\n  <ApiKey>{LITERAL}</ApiKey>\n</Config>\n", 2),
    ("app.json", json.dumps({"a": {"password": LITERAL}}, indent=1), 3),
    ("app.yml", f"a:\n  b: {{user: me, password: {LITERAL}}}\n", 2),
    ("app.yml", f"a:\n  # password: {LITERAL}\n", 2),
    ("app.yml", f"a: |\n  x\n  password={LITERAL}\n", 3),
    ("start.sh", f"#!/bin/sh\nexec app \\\n  --password {LITERAL}\n", 3),
    ("any.conf", f"a\n{PEM}\n", 2),
    ("prometheus.yml", f"static_configs:\n- targets:\n  - http://me:{LITERAL}@a:9090\n", 3),
    ("blackbox.yml", f"headers:\n  Authorization: Bearer {LITERAL}\n", 2),
)


@pytest.mark.parametrize(("name", "text", "line"), FILES)
def test_a_secret_in_a_file_is_refused_with_its_line(name: str, text: str, line: int) -> None:
    assert refused(upload(text, f"/run/config/{name}")) == [f"uploads[0].content[{line}]"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yml", f"password: >-\n  {LITERAL}\n"),
        ("a.yml", f"passwords:\n- {LITERAL}\n"),
        ("a.json", f'{{"password":\n\n"{LITERAL}"}}'),
        ("a.yml", 'password: "hun\\x74er2"\n'),
    ],
)
def test_a_secret_that_no_single_line_shows(name: str, text: str) -> None:
    assert refused(upload(text, f"/run/config/{name}"))


@pytest.mark.parametrize("text", ["x" * 100_000, "a=" * 20_000, "a." * 50_000, "\t" * 100_000, "curl " * 20_000])
def test_a_long_text_hides_nothing(text: str) -> None:
    """And is read to its end: without bounds this takes minutes, or ends at Python's limit of recursion."""
    assert refused(upload(f"{text}\npassword = {LITERAL}\n")) == ["uploads[0].content[2]"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("qBittorrent.conf", f'[Preferences]\nWebUI\\Username=admin\nWebUI\\Password_PBKDF2="{PBKDF2}"\n'),
        ("users", f"admin:{BCRYPT}\nme:{ARGON2}\n"),
        ("wg0.conf", f"[Peer]\nPublicKey = {WIREGUARD_KEY}\nAllowedIPs = 10.0.0.0/8, fd00::/8\n"),
        ("ca.pem", f"# the root\n-----BEGIN PUBLIC KEY-----\n{WIREGUARD_KEY}\n-----END PUBLIC KEY-----\n"),
        ("broken.yml", "a: [\n"),
    ],
)
def test_innocent_files(name: str, text: str) -> None:
    assert refused(upload(text, f"/run/config/{name}")) == []
