"""What is sealed can be read with its key and in its place, and nowhere else."""

import base64

import pytest

from store.key_ring import KeyRing, Tampered, UnknownKey, parse
from tests.support.sealing import NEW, OLD


def test_the_first_key_seals_and_every_key_opens() -> None:
    before, between, after = parse(OLD), parse(f"{OLD},{NEW}"), parse(f"{NEW}\n{OLD}\n")
    kept = before.seal_text("bk_1", "customer/c-1")
    fresh = after.seal_text("bk_1", "customer/c-1")

    assert (kept.split(":")[1], fresh.split(":")[1]) == ("old", "new")
    for ring in (between, after):
        assert ring.open_text(kept, "customer/c-1") == "bk_1"
        assert ring.open_text(fresh, "customer/c-1") == "bk_1"


def test_a_key_that_is_not_there_is_named_with_what_to_do() -> None:
    kept = parse(OLD).seal_text("bk_1", "customer/c-1")

    for ring in (parse(NEW), KeyRing()):
        with pytest.raises(UnknownKey, match="'old', which is not in PAYLOAD_KEYS"):
            ring.open_text(kept, "customer/c-1")


def test_what_stands_elsewhere_or_was_changed_is_refused() -> None:
    ring = parse(OLD)
    kept = ring.seal(b"bk_1", b"customer/c-1")

    with pytest.raises(Tampered):
        ring.open("old", kept, b"customer/c-2")
    for place in range(len(kept)):
        changed = bytearray(kept)
        changed[place] ^= 1
        with pytest.raises(Tampered):
            ring.open("old", bytes(changed), b"customer/c-1")
    for length in range(len(kept)):
        with pytest.raises(Tampered):
            ring.open("old", kept[:length], b"customer/c-1")


def test_without_keys_texts_stay_as_they_are_and_are_read_after_keys_came() -> None:
    in_clear = KeyRing().seal_text("bk_1", "customer/c-1")

    assert in_clear == "bk_1"
    assert parse(OLD).open_text(in_clear, "customer/c-1") == "bk_1"


def test_what_is_sealed_twice_looks_different() -> None:
    ring = parse(OLD)
    assert ring.seal_text("bk_1", "c-1") != ring.seal_text("bk_1", "c-1")


KEY = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "text",
    [
        *("", "   ", KEY, f":{KEY}", f"a b:{KEY}", f"{'k' * 33}:{KEY}", f"ключ:{KEY}"),
        *("k:", "k:AAAA", f"k:{KEY}{KEY}", f"k:{KEY[:-4]}", "k:" + "*" * 44),
        *(f"k:{KEY},", f"k:{KEY},k:{KEY}"),
    ],
)
def test_a_ring_that_is_none_is_refused_without_showing_a_key(text: str) -> None:
    with pytest.raises(ValueError, match=r"needs an id of its own|is not 32 bytes") as refused:
        parse(text)
    assert KEY[:8] not in str(refused.value)


def test_a_ring_shows_no_key() -> None:
    assert "AESGCM" not in repr(parse(OLD))
    assert OLD.partition(":")[2] not in repr(parse(OLD))
