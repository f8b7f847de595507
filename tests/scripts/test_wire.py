"""The marks of the engine's JSON are the engine's own, wherever they are written down."""

from __future__ import annotations

from pulumi.runtime import rpc

from policies.rules import props
from scripts import wire


def test_the_marks_of_a_secret_are_the_engines() -> None:
    assert (rpc._special_sig_key, rpc._special_secret_sig) == (wire.SIGNATURE, wire.SECRET)


def test_the_policy_pack_knows_the_same() -> None:
    assert props.SIGNATURE == wire.SIGNATURE
    assert wire.SECRET in props.WRAPPERS


def test_a_secret_is_masked_wherever_it_stands() -> None:
    secret = {wire.SIGNATURE: wire.SECRET, "plaintext": "swordfish"}
    assert wire.masked({"a": [secret, 1], "b": secret}) == {"a": [wire.MASK, 1], "b": wire.MASK}
