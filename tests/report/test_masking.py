"""What looks like a secret is hidden in every shape; what a reviewer has to read is not."""

from __future__ import annotations

import json
from typing import Final

import pytest

from scripts.report import masking
from scripts.wire import MASK, SIGNATURE, Json
from tests.report import recording

S: Final = "swordfish"
SHAPES: Final[list[Json]] = [
    {SIGNATURE: "1b47061264138c4ac30d75fd1eb44270", "ciphertext": f"v1:{S}"},
    {"password": S},
    {"passwords": [S]},
    {"credentials": {"value": S}},
    [{"label": "db.password", "value": S}],
    [{"name": "apiKey", "value": S}],
    [{"file": "/run/secrets/db", "content": S}],
    ["app", "--db-password", S],
    ["app", "requirepass", S],
    ["sh", "-c", f"curl -fsS --user admin:{S} http://x"],
    ["curl", "-u", f"admin:{S}", "http://x"],
    ["-H", f"Authorization: Bearer {S}"],
    [{"content": f"user = me\npassword = {S}\n"}],
    [{"content": f"db:\n  password: {S}\n  port: 1\n"}],
    [{"content": f"db:\n  password: |\n    {S}\n  port: 1\n"}],
    [{"content": f"<password>\n  {S}\n</password>\n"}],
    [{"content": f"#requirepass {S}\nport 1\n"}],
    f'{{"a": {{"password": "{S}"}}}}',
    f'{{\n "password":\n "{S}"\n}}',
    f"run --password \\\n  {S}\n",
    f"PASSWORD='one\n{S}'\n",
    f"PASSWORD={S}",
    f"PASSWORD=one {S}",
    f"DEBUG=1 PASSWORD={S} app",
    f"JAVA_OPTS=-Dpassword={S}",
    f"postgres://me:{S}@db/x",
    f"http://x/?token={S}",
]


@pytest.mark.parametrize("value", SHAPES, ids=str)
def test_a_secret_that_nobody_marked_is_hidden(value: Json) -> None:
    shown = json.dumps(masking.masked(value))
    assert S not in shown
    assert MASK in shown


def test_a_number_under_the_name_of_a_secret_is_hidden() -> None:
    assert masking.masked({"password": 123456, "memory": 64, "on": True}) == {
        "password": MASK,
        "memory": 64,
        "on": True,
    }


def test_what_is_too_long_to_look_into_is_hidden() -> None:
    assert masking.masked_text("a " * 60_000) == MASK


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"connecting postgres://me:{S}@db/x failed", f"connecting {MASK} failed"),
        (f"user = me\npassword = {S}\nport = 3", f"user = me\npassword = {MASK}\nport = 3"),
        (f"PASSWORD={S}", f"PASSWORD={MASK}"),
    ],
)
def test_what_stands_beside_a_secret_is_shown(text: str, shown: str) -> None:
    assert masking.masked_text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "LOG_LEVEL=info",
        "PASSWORD_FILE=/run/secrets/db",
        "redis-cli -a $(cat /run/secrets/redis) ping",
        "Pulumi.prod.yaml: nexus:vpn: private key is missing; set it with scripts/config secret vpn.privateKey",
        "PULUMI_CONFIG_PASSPHRASE: must be set",
        'resource "urn:pulumi:test::nexus::random:index/randomPassword:RandomPassword::admin-password" cannot be '
        "deleted\nbecause it is protected. To unprotect the resource, use the command:\n`pulumi state "
        "unprotect 'urn:pulumi:test::nexus::random:index/randomPassword:RandomPassword::admin-password'`",
    ],
)
def test_what_is_no_secret_is_shown(text: str) -> None:
    assert masking.masked_text(text) == text


def test_what_policies_say_is_shown() -> None:
    events = [json.loads(line) for line in recording.events("violation").read_text(encoding="utf-8").splitlines()]
    said = [event["policyEvent"]["message"].strip().rpartition("\n")[2] for event in events if "policyEvent" in event]
    assert len(said) > 10
    for message in said:
        _, _, rest = message.partition(": ")
        assert masking.masked_text(rest) == rest
