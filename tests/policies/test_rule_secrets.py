"""Family `secrets`: what is found, under which names and in which shapes and places, and what must pass."""

from __future__ import annotations

import base64
import json
import random
import string
from typing import Final

import pytest

from policies.rules import literals
from policies.rules.secrets import RULES
from tests.policies.harness import UNKNOWN, Json, Props, places

NAMED: Final = "no-literal-secret"
URL: Final = "no-url-credentials"
PRIVATE_KEY: Final = "no-private-key"
TOKEN: Final = "no-known-token"
RANDOM: Final = "no-random-literal"
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


def refused(props: Props) -> dict[str, list[str]]:
    return places(props, name="x-container", rules=RULES)


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
        ({"driverOpts": {name: text}}, f"driverOpts.{name}"),
    ]


NAMES: Final = (
    "PASSWORD", "password", "DB_PASSWORD", "dbPassword", "DBPASSWORD", "DB-PASSWD", "MYSQL_PWD", "PGPASS",
    "SMTP_PASS", "smtpPass", "PASSPHRASE", "RESTIC_PASSPHRASE", "SECRET", "CLIENT_SECRET", "clientSecret",
    "SECRET_1", "SECRET_ID", "TOKEN", "TOKEN_GITHUB", "accessToken", "API_KEY", "apikey", "apiKey", "X-Api-Key",
    "SONARR__AUTH__APIKEY", "PRIVATE_KEY", "WIREGUARD_PRIVATE_KEY", "WIREGUARD_PRESHARED_KEY",
    "AWS_SECRET_ACCESS_KEY", "ENCRYPTION_KEY", "SIGNING_KEY", "PSK", "WIFI_PSK", "CREDENTIAL", "CREDENTIALS",
    "MY_CREDS", "AUTH", "REDIS_AUTH", "BASIC_AUTH", "REQUIREPASS", "POSTGRES_PASSWORD_1", "PUBLIC_PASSWORD",
    "GF_SECURITY_ADMIN_PASSWORD", "PASSWORD_FILE", "POSTGRES_PASSWORD__FILE",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_says_secret(name: str) -> None:
    assert literals.named_secret(name, LITERAL)
    assert refused({"envs": [f"{name}={LITERAL}"]}) == {NAMED: [f"envs[0] ({name})"]}


@pytest.mark.parametrize(("props", "place"), in_each_place(LITERAL, "API_KEY"))
def test_where_a_named_secret_is_found(props: Props, place: str) -> None:
    assert refused(props) == {NAMED: [place]}


FORMS: Final = (
    'API_KEY="{}" exec app', "set -e; export API_KEY={}; exec a", "curl 'http://127.0.0.1/x?a=b&API_KEY={}' || false",
    "curl -H 'X-Api-Key: {}' http://127.0.0.1/", "echo '<ApiKey>{}</ApiKey>' > /c", 'app \'{{"apiKey": "{}"}}\'',
    "printf 'a: b\n  password: {}\n' > /c", "java -Xmx1g -Dpassword={}", "Server=db;Database=x;Password={};",
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_name_in_each_form(form: str) -> None:
    assert refused({"command": ["sh", "-c", form.format(LITERAL)]}) == {NAMED: ["command[2]"]}


@pytest.mark.parametrize(
    "value",
    [
        "hunter2", "x", "changeme", "123456", "password", "correct horse battery staple", "$ecret1",
        "${NOT_SET:-hunter2}", "${NOT_SET:=hunter2}", "prefix-${REST}", "$(echo hunter2)", "$(printf %s hunter2)",
        "$(base64 -d <<< aHVudGVyMg==)", "`echo hunter2`", "$apr1$abcdefgh$0123456789abcdefghijkl",
        "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", BCRYPT + "hunter2", HEX_32, HEX_64, WIREGUARD_KEY,
        "00000000-1111-2222-3333-444444444444", "[secret]",
    ],
)  # fmt: skip
def test_values_that_are_written_out(value: str) -> None:
    assert NAMED in refused({"envs": [f"ADMIN_PASSWORD={value}"]})


@pytest.mark.parametrize(
    "props",
    [{"envs": ["A=1", "[secret]"]}, {"labels": [{"label": "a", "value": "[secret]"}]}, {"command": ["[secret]"]}],
)
def test_a_pulumi_secret_in_an_exported_state_is_refused(props: Props) -> None:
    assert list(refused(props)) == [NAMED]


@pytest.mark.parametrize(
    "line",
    [
        "mysql -uroot -phunter2 -e 'select 1'", "mariadb-admin -phunter2 ping", "sshpass -p hunter2 ssh host",
        "docker login -u me -p hunter2 registry.example", "/usr/bin/redis-cli -a hunter2 ping",
        "valkey-cli -h x -a hunter2 ping", "curl -u admin:hunter2 http://127.0.0.1/", "7z a -phunter2 x.7z y",
        "curl -fsS --user admin:hunter2 http://127.0.0.1/", "gpg --passphrase hunter2 -d x",
        "redis-server --requirepass hunter2",
    ],
)  # fmt: skip
def test_tools_that_take_a_password(line: str) -> None:
    assert list(refused({"command": ["sh", "-c", f"true && {line} && exec app"]})) == [NAMED]
    assert list(refused({"command": [*line.split()]})) == [NAMED]


URLS: Final = (
    "https://me:hunter2@example.net/x", "http://me:hunter2@127.0.0.1:8080",
    "postgres://sonarr:hunter2@db:5432/sonarr", "postgresql+psycopg://sonarr:hun/ter2@db/sonarr",
    "redis://:hunter2@valkey:6379/0", "amqp://guest:guest@mq/", "mongodb+srv://me:hunter2@cluster.example.net",
    "HTTPS://me:hunter2@example.net", "smtp://me:hunter%402@mail:587", "socks5://me:123456@proxy:1080",
    "sonarr:hunter2@tcp(db:3306)/sonarr",
)  # fmt: skip
KEYS: Final = (
    PEM, PEM.replace("\n", "\\n"), PEM.replace("PRIVATE KEY", "RSA PRIVATE KEY"),
    PEM.replace("PRIVATE KEY", "EC PRIVATE KEY"), PEM.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
    PEM.replace("PRIVATE KEY", "OPENSSH PRIVATE KEY"), PEM.replace("PRIVATE KEY", "PGP PRIVATE KEY BLOCK"),
    PEM.casefold(), "b3BlbnNzaC1rZXktdjEA" + "AAAABG5vbmUAAAAEbm9uZQ", "PuTTY-User-Key-File-3: ssh-ed25519",
    "AGE-SECRET-KEY-1" + "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L" * 2,
)  # fmt: skip
TOKENS: Final = (
    "AKIA" + "IOSFODNN7EXAMPLE", "ASIA" + "IOSFODNN7EXAMPLE", "ghp_" + "a1B2" * 9, "gho_" + "a1B2" * 9,
    "ghs_" + "a1B2" * 9, "github_pat_" + "a1B2" * 9, "glpat-" + "a1B2" * 5, "xoxb-" + "1234-5678-" + "abcdefgh",
    "https://hooks.slack.com/services/" + "T0000/B0000/" + "a1B2" * 6,
    "https://discord.com/api/webhooks/123456789/" + "a1B2" * 17, "123456789" + ":AA" + "a1B2_-" * 5 + "xyz",
    "pul-" + "0123456789abcdef" * 2 + "01234567", JWT, f"Authorization: Bearer {LITERAL}",
    f"authorization:Basic {base64.b64encode(b'me:hunter2').decode()}", "AIza" + "a1B2_" * 7,
    "sk_live_" + "a1B2" * 6, "sk-ant-" + "a1B2" * 8, "npm_" + "a1B2" * 9, "dckr_pat_" + "a1B2" * 7,
    "hvs." + "a1B2" * 8, "tskey-auth-" + "a1B2c3D4e5", "glsa_" + "a1B2" * 8 + "_0a1b2c3d", "dop_v1_" + HEX_64,
    "qbt_" + "a1B2" * 7, "claim-" + "a1B2_" * 4,
)  # fmt: skip
SHAPES: Final = (
    *((URL, text) for text in URLS),
    *((PRIVATE_KEY, text) for text in KEYS),
    *((TOKEN, text) for text in TOKENS),
)


@pytest.mark.parametrize(("rule", "text"), SHAPES)
def test_a_shape_needs_no_name(rule: str, text: str) -> None:
    assert rule in refused({"envs": [f"A={text}"]})


@pytest.mark.parametrize(("rule", "text"), [(URL, URLS[2]), (PRIVATE_KEY, PEM), (TOKEN, TOKENS[2])])
def test_where_a_shape_is_found(rule: str, text: str) -> None:
    wrapped = base64.b64encode(base64.b64encode(text.encode())).decode()
    assert rule in refused({"hostname": text})
    for props, _ in (*in_each_place(text), *in_each_place(wrapped)):
        assert rule in refused(props), props


CONNECTIONS: Final = (
    ("Server=db;Database=sonarr;User Id=sa;Password=hunter2;", NAMED),
    ("Server=db; User Id = sa; Password = hunter2", NAMED), ("Data Source=db;Pwd=hunter2", NAMED),
    ("DefaultEndpointsProtocol=https;AccountName=a;AccountKey=" + WIREGUARD_KEY, NAMED),
    ("Endpoint=sb://a.example/;SharedAccessKeyName=a;SharedAccessKey=" + WIREGUARD_KEY, NAMED),
    ("host=db port=5432 user=sonarr password=hunter2 dbname=sonarr", NAMED),
    ("redis:6379,password=hunter2,ssl=True", NAMED),
    ("jdbc:postgresql://db/sonarr?user=sonarr&password=hunter2", NAMED),
    ("postgres://sonarr:hunter2@db/sonarr", URL), ("amqp://me:hunter2@mq:5672/vhost", URL),
    ("rediss://:hunter2@valkey:6379", URL), ("mysql+pymysql://me:hunter2@db/x", URL),
    ("ftp://me:hunter2@nas", URL), ("sonarr:hunter2@db:5432", URL),
    ("sonarr:hunter2@db.example.net:5432/sonarr", URL), ("postgres%3A%2F%2Fsonarr%3Ahunter2%40db%2Fsonarr", URL),
    ("https://me:hunter%402@example.net", URL),
)  # fmt: skip


@pytest.mark.parametrize(("text", "rule"), CONNECTIONS)
def test_connection_strings(text: str, rule: str) -> None:
    assert rule in refused({"envs": [f"CONNECTION={text}"]})


RANDOMS: Final = (
    WIREGUARD_KEY, HEX_32, HEX_32 + HEX_32[:16], HEX_32.upper(), "q7Xv2Lk9Rt4Zb8Nw3Jd6",
    "Zt8kQ2vXr5LmN9wJh3Pd7Bc4", "Zt8kQ2vXr5LmN9wJ-h3Pd7Bc4_KfY6sG", "x7k2q9v4m1z8r5t3w6p0n2j4",
    base64.b64encode(bytes(range(3, 243, 10))).decode(),
    base64.urlsafe_b64encode(bytes(range(250, 10, -10))).decode(),
)  # fmt: skip


@pytest.mark.parametrize("text", RANDOMS)
def test_random_text_under_a_plain_name(text: str) -> None:
    for props, place in in_each_place(text, "REMOTE"):
        assert refused(props) == {RANDOM: [place]}


@pytest.mark.parametrize("name", ["KEY", "SSH_KEY", "MY_PAT", "HMAC"])
def test_random_text_under_a_name_that_hints(name: str) -> None:
    assert list(refused({"envs": [f"{name}={HEX_64}"]})) == [NAMED]


@pytest.mark.parametrize(
    ("alphabet", "length", "share"),
    [
        (string.ascii_letters + string.digits, 24, 0.97),
        (string.ascii_letters + string.digits + "-_", 43, 0.98),
        (string.ascii_lowercase + string.digits, 32, 0.95),
        ("0123456789abcdef", 32, 0.99),
    ],
)
def test_most_random_text_is_recognised(alphabet: str, length: int, share: float) -> None:
    source = random.Random(7)
    texts = ["".join(source.choices(alphabet, k=length)) for _ in range(500)]
    assert sum(map(literals.has_random, texts)) >= share * len(texts)


INNOCENT: Final = (
    "SONARR__AUTH__METHOD=External", "SONARR__AUTH__REQUIRED=Enabled", "GF_AUTH_ANONYMOUS_ENABLED=false",
    "GF_AUTH_BASIC_ENABLED=true", "GF_AUTH_DISABLE_LOGIN_FORM=true", "GF_AUTH_PROXY_HEADER_NAME=Remote-User",
    "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION=true", "GF_SECURITY_COOKIE_SECURE=true",
    "GF_SECURITY_ADMIN_USER=admin", "MYSQL_ALLOW_EMPTY_PASSWORD=yes", "MYSQL_RANDOM_ROOT_PASSWORD=1",
    "REQUIRE_PASSWORD=1", "USE_TOKEN=0", "PASSWORD_MIN_LENGTH=12", "MAX_TOKENS=4096", "ACCESS_TOKEN_EXPIRES_IN=7d",
    "TOKEN_TTL=1h30m", "SESSION_SECRET_ROTATION=30", "PASSWORD_ALGORITHM=argon2id", "JWT_ALGORITHM=HS256",
    "TOKEN_SIGNING_METHOD=RS256", "AUTH=none", "AUTH=basic", "AUTH_TYPE=oidc", "PROXY_AUTH=external",
    "AUTH_SERVER=authelia:9091", "TOKEN_URL=https://auth.example.net/token", "TOKEN_ISSUER=auth.example.net",
    "API_KEY_HEADER=X-Api-Key", "PASSWORD=", "PASSWORD", "TOKEN=***",
    "POSTGRES_PASSWORD_FILE=/run/secrets/postgres_password",
    "GF_SECURITY_ADMIN_PASSWORD__FILE=/run/secrets/admin_password",
    "GF_SECURITY_SECRET_KEY__FILE=/run/secrets/secret_key",
    "WIREGUARD_PRIVATE_KEY_SECRETFILE=/run/secrets/wireguard_private_key",
    "FILE__SONARR__AUTH__APIKEY=/run/secrets/api_key",
    "HTTP_CONTROL_SERVER_AUTH_CONFIG_FILEPATH=/gluetun/auth/config.toml",
    'HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE={"auth":"none"}', "RESTIC_PASSWORD_FILE=/run/secrets/restic",
    "RESTIC_PASSWORD_COMMAND=cat /run/secrets/restic", "SECRETS_DIR=/run/secrets",
    "API_KEY=filepath:/run/secrets/api_key", "API_KEY=/run/secrets/api_key", "TLS_PRIVATE_KEY=/certs/live/tls.key",
    "SSH_AUTH_SOCK=/run/ssh/agent.sock", "PASSWORD=${ADMIN_PASSWORD}", "PASSWORD=$ADMIN_PASSWORD",
    "PASSWORD=${ADMIN_PASSWORD:?not set}", "PASSWORD=${ADMIN_PASSWORD:-}", "TOKEN={{HOMEPAGE_FILE_TOKEN}}",
    'TOKEN={{ env "TOKEN" }}', "TOKEN=!secret sonarr_token", "PWD=/app", "OLDPWD=/",
    "DATABASE_URL=postgres://sonarr@db:5432/sonarr",
    "DATABASE_URL=postgres://sonarr:${DB_PASSWORD}@db:5432/sonarr", "GIT_REMOTE=ssh://git@example.net:22/x.git",
    "HEALTH=http://127.0.0.1:8989/ping", "IMAGE=docker-image://alpine:3.19@sha256:" + HEX_64,
    f"WIREGUARD_PUBLIC_KEY={WIREGUARD_KEY}", f"SERVER_PUBKEY={WIREGUARD_KEY}", f"PEER_PUBLIC_KEY={WIREGUARD_KEY}",
    "SSH_PUBLIC_KEY=ssh-ed25519 " + "AAAAC3NzaC1lZDI1NTE5AAAAI" + "Q7xv2Lk9Rt4Zb8Nw3Jd6" + " me@host",
    "DEPLOY=ssh-ed25519 " + "AAAAC3NzaC1lZDI1NTE5AAAAI" + "Q7xv2Lk9Rt4Zb8Nw3Jd6",
    "RECIPIENT=age1" + "qpzry9x8gf2tvdw0s3jn54khce6mua7l" + "qpzry9x8gf2tvdw0s3jn54khce",
    "FINGERPRINT=SHA256:" + WIREGUARD_KEY[:-1], "INTEGRITY=sha384-" + WIREGUARD_KEY,
    "CERTIFICATE=-----BEGIN CERTIFICATE-----\n" + WIREGUARD_KEY + "\n-----END CERTIFICATE-----",
    "IMAGE=ghcr.io/home-operations/sonarr:4.0.19.3001@sha256:" + HEX_64, "DIGEST=sha256:" + HEX_64,
    "SOURCE=" + HEX_64, "CONTAINER=" + HEX_64, "REVISION=" + HEX_64[:40], "COMMIT=" + HEX_64[:40],
    "CHECKSUM=" + HEX_32, "MACHINE_ID=" + HEX_32, "CLUSTER=00000000-1111-2222-3333-444444444444",
    "PASSWORD_SHA256=" + HEX_64, f"ADMIN_PASSWORD_HASH={BCRYPT}", f"ADMIN_PASSWORD={BCRYPT}",
    f"NTFY_AUTH_USERS=me:{BCRYPT}:admin", f"USERS=me:{BCRYPT.replace('$', '$$')}", f"PASSWORD={ARGON2}",
    f"PASSWORD_PBKDF2={PBKDF2}", "CLASSPATH=/usr/share/java/elasticsearch/lib/ElasticSearchClient-Core.jar",
    "FEATURES=enableAnalyticsDashboardRefreshInterval,disableLegacyAuthorization",
    "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1", "S6_CMD_WAIT_FOR_SERVICES_MAXTIME=0",
    "VERSION=4.0.19.3001-ls294-amd64-20261121", "TZ=Europe/Berlin", "WIREGUARD_ADDRESSES=10.64.0.2/32,fd00::2/128",
    "WIREGUARD_PERSISTENT_KEEPALIVE_INTERVAL=25s", "FIREWALL_OUTBOUND_SUBNETS=10.0.0.0/8",
)  # fmt: skip


@pytest.mark.parametrize("variable", INNOCENT)
def test_innocent_variables(variable: str) -> None:
    assert refused({"envs": [variable]}) == {}


INNOCENT_COMMANDS: Final[tuple[list[Json], ...]] = (
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
    ["--configfile=/etc/traefik/traefik.yml"],
    ["restic", "--password-file", "/run/secrets/restic", "--repository-file", "/run/secrets/repository", "backup"],
    ["app", "--secret-name", "my-secret", "--public-key", f"{WIREGUARD_KEY}", "--show-token=false"],
    ["app", "--password", UNKNOWN],
    ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:3000/api/health"],
)


@pytest.mark.parametrize("command", INNOCENT_COMMANDS)
def test_innocent_commands(command: list[Json]) -> None:
    assert refused({"command": command, "healthcheck": {"tests": ["CMD", *command]}}) == {}


@pytest.mark.parametrize("file", ["/run/secrets/x", "/run/secrets/a/b", "/var/run/secrets/x", UNKNOWN])
def test_a_secret_file_is_where_a_secret_is_meant_to_be(file: str) -> None:
    for text in (PEM, TOKENS[0], URLS[0], f"password: {LITERAL}", "[secret]"):
        assert refused(upload(text, file)) == {}


@pytest.mark.parametrize(
    "file", ["/run/secretsx/a", "/run/secrets/../config/a", "/srv/run/secrets/a", "/RUN/SECRETS/a"]
)
def test_any_other_place_is_not(file: str) -> None:
    assert refused(upload(f"a = 1\npassword = {LITERAL}\n", file)) == {NAMED: ["uploads[0].content[2]"]}


# Files as people write them, each with one secret: name, text, the rule, the line.
FILES: Final = (
    ("app.env", f"A=1\nPASSWORD={LITERAL}\n", NAMED, 2),
    ("app.env", f"A=1\nexport API_KEY='{LITERAL}'\n", NAMED, 2),
    ("app.env", f"A=1\n# PASSWORD={LITERAL}\n", NAMED, 2),
    ("app.ini", f"[a]\nb = 1\npassword = {LITERAL}\n", NAMED, 3),
    ("app.ini", f"[a]\n;password = {LITERAL}\n", NAMED, 2),
    ("redis.conf", f"bind 0.0.0.0\nrequirepass {LITERAL}\n", NAMED, 2),
    ("nginx.conf", f"server {{\n  set $a b;\n  proxy_password {LITERAL};\n}}\n", NAMED, 3),
    ("nginx.conf", f'a;\nproxy_set_header Authorization "Bearer {LITERAL}";\n', TOKEN, 2),
    ("wg0.conf", f"[Interface]\nPrivateKey = {WIREGUARD_KEY}\n", NAMED, 2),
    ("config.xml", f"<Config>\n  <ApiKey>{LITERAL}</ApiKey>\n</Config>\n", NAMED, 2),
    ("app.json", json.dumps({"a": {"password": LITERAL}}, indent=1), NAMED, 3),
    ("app.toml", f'[a]\nb = 1\npassword = "{LITERAL}"\n', NAMED, 3),
    ("app.yml", f"a:\n  password: {LITERAL}\n", NAMED, 2),
    ("app.yml", f"a:\n  b: {{user: me, password: {LITERAL}}}\n", NAMED, 2),
    ("app.yml", f"a:\n  # password: {LITERAL}\n", NAMED, 2),
    ("app.yml", f"a: |\n  x\n  password={LITERAL}\n", NAMED, 3),
    ("start.sh", f"#!/bin/sh\nset -eu\nexport PASSWORD={LITERAL}\n", NAMED, 3),
    ("start.sh", f"#!/bin/sh\nexec app \\\n  --password {LITERAL}\n", NAMED, 3),
    ("start.sh", f"#!/bin/sh\ncurl -u admin:{LITERAL} http://127.0.0.1/\n", NAMED, 2),
    ("any.conf", f"a\nurl = {URLS[2]}\n", URL, 2),
    ("any.conf", f"a\nx {TOKENS[2]}\n", TOKEN, 2),
    ("any.conf", f"a\n{PEM}\n", PRIVATE_KEY, 2),
    ("any.conf", f"a\nremote = {WIREGUARD_KEY}\n", RANDOM, 2),
    ("any.conf", f"a\n{HEX_32}\n", RANDOM, 2),
    ("prometheus.yml", f"basic_auth:\n  username: me\n  password: {LITERAL}\n", NAMED, 3),
    ("prometheus.yml", f"static_configs:\n- targets:\n  - http://me:{LITERAL}@a:9090\n", URL, 3),
    ("alertmanager.yml", f"slack_configs:\n- api_url: {TOKENS[8]}\n", TOKEN, 2),
    ("blackbox.yml", f"headers:\n  Authorization: Bearer {LITERAL}\n", TOKEN, 2),
    ("routes.yml", "basicAuth:\n  users:\n  - a:$apr1$abcdefgh$0123456789abcdefghijkl\n", NAMED, 3),
    ("routes.yml", f"servers:\n- url: http://me:{LITERAL}@sonarr:8989\n", URL, 2),
)


@pytest.mark.parametrize(("name", "text", "rule", "line"), FILES)
def test_a_secret_in_a_file_is_refused_with_its_line(name: str, text: str, rule: str, line: int) -> None:
    assert refused(upload(text, f"/run/config/{name}")) == {rule: [f"uploads[0].content[{line}]"]}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yml", f"password: >-\n  {LITERAL}\n"),
        ("a.yml", f"password:\n  {LITERAL}\n"),
        ("a.yml", f"passwords:\n- {LITERAL}\n"),
        ("a.yml", "basicAuth: {users: ['me:hunter2']}\n"),
        ("a.json", f'{{"password":\n\n"{LITERAL}"}}'),
        ("a.yml", 'password: "hun\\x74er2"\n'),
    ],
)
def test_a_secret_that_no_single_line_shows(name: str, text: str) -> None:
    assert list(refused(upload(text, f"/run/config/{name}"))) == [NAMED]


INNOCENT_FILES: Final = (
    ("qBittorrent.conf", f'[Preferences]\nWebUI\\Username=admin\nWebUI\\Password_PBKDF2="{PBKDF2}"\n'),
    ("users", f"admin:{BCRYPT}\nme:{ARGON2}\n"),
    ("wg0.conf", f"[Peer]\nPublicKey = {WIREGUARD_KEY}\nAllowedIPs = 10.0.0.0/8, fd00::/8\n"),
    ("ca.pem", f"# the root\n-----BEGIN PUBLIC KEY-----\n{WIREGUARD_KEY}\n-----END PUBLIC KEY-----\n"),
    ("broken.yml", "a: [\n"),
)


@pytest.mark.parametrize(("name", "text"), INNOCENT_FILES)
def test_innocent_files(name: str, text: str) -> None:
    assert refused(upload(text, f"/run/config/{name}")) == {}
