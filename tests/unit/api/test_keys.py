"""API keys: form, making, hashing."""

import random
import secrets

import pytest

from overspill_api.keys import key_hash, new_key, parse_key

PEPPER = b"pepper"


def test_a_new_key_reads_back_with_its_public_id() -> None:
    """What new_key makes, parse_key reads: the id between the first two dashes."""
    key = new_key(random.Random(1))

    parsed = parse_key(key)

    assert parsed is not None
    assert parsed.text == key
    assert key.split("-")[1] == parsed.id


def test_keys_differ_with_the_random_source() -> None:
    """The same seed gives the same key, the system's source never the same one twice."""
    assert new_key(random.Random(1)) == new_key(random.Random(1))
    assert new_key(secrets.SystemRandom()) != new_key(secrets.SystemRandom())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sk-abc",
        "osk-abcdefghijk-" + "a" * 40,
        "osk-ABCDEFGHIJKL-" + "a" * 40,
        "osk-abcdefghijkl-" + "a" * 31,
        "osk-abcdefghijkl-" + "a" * 257,
        "osk-abcdefghijkl-" + "a" * 39 + "\n",
        "osk-abcdefghijkl-" + "a" * 40 + "\n",
        "osk-abcdefghijkl-" + "é" * 40,
        "osk-abcdefghijk\u0665-" + "a" * 40,
        " osk-abcdefghijkl-" + "a" * 40,
    ],
)
def test_what_has_not_the_form_of_a_key_is_none(text: str) -> None:
    """Foreign, short, long, non-ASCII or padded texts are not keys; none of them raises."""
    assert parse_key(text) is None


def test_the_hash_depends_on_pepper_and_every_character() -> None:
    """A hash is 64 hex digits, and another pepper or another last character gives another one."""
    key = new_key(random.Random(1))

    digest = key_hash(PEPPER, key)

    assert len(bytes.fromhex(digest)) == 32
    assert digest != key_hash(b"other", key)
    assert digest != key_hash(PEPPER, key[:-1] + ("a" if key[-1] != "a" else "b"))


def test_the_secret_is_not_shown() -> None:
    """The repr of a parsed key, which may reach a log, holds the id and not the secret."""
    key = new_key(random.Random(2))
    parsed = parse_key(key)
    assert parsed is not None
    assert key.split("-")[2] not in repr(parsed)
