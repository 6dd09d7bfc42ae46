"""Which address a client has: what it says of itself is not believed."""

from ipaddress import ip_network

import pytest

from api.address import UNKNOWN, client_address, counted_as

PROXY, INNER, STRANGER = "10.0.0.7", "10.0.1.9", "203.0.113.5"
TRUSTED = (ip_network("10.0.0.0/16"), ip_network("fd00::/8"))


def address(peer: str | None, *forwarded: str, trusted: bool = True) -> str:
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    client = None if peer is None else (peer, 40_000)
    scope = {"type": "http", "client": client, "headers": headers}
    return client_address(scope, TRUSTED if trusted else ())


def test_behind_a_proxy_of_ours_it_is_what_the_proxy_saw() -> None:
    assert address(PROXY, STRANGER) == STRANGER


def test_what_a_client_says_of_itself_stands_left_of_it_and_is_not_believed() -> None:
    assert address(PROXY, f"10.0.0.1, 127.0.0.1, {STRANGER}") == STRANGER
    assert address(PROXY, "10.0.0.1", STRANGER) == STRANGER, "in a header of its own"


def test_a_stranger_who_speaks_to_us_directly_is_not_believed_at_all() -> None:
    assert address(STRANGER, "10.0.0.1") == STRANGER


def test_two_proxies_of_ours_are_both_passed_over() -> None:
    assert address(PROXY, f"198.51.100.1, {STRANGER}, {INNER}") == STRANGER


def test_without_proxies_of_ours_the_header_is_not_read() -> None:
    assert address(PROXY, STRANGER, trusted=False) == PROXY


def test_when_a_proxy_calls_by_itself_it_is_the_client() -> None:
    assert address(PROXY) == PROXY
    assert address(PROXY, INNER) == INNER


@pytest.mark.parametrize(
    "junk", ["", "unknown", "_hidden", "1.2.3", "[::1", "a" * 5_000, "1.2.3.4:x"]
)
def test_what_is_no_address_ends_the_way_at_whoever_wrote_it(junk: str) -> None:
    assert address(PROXY, f"{STRANGER}, {junk}") == PROXY


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("203.0.113.5:4711", STRANGER),
        ("::ffff:203.0.113.5", STRANGER),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("  203.0.113.5 ", STRANGER),
    ],
)
def test_an_address_has_one_form_however_a_proxy_writes_it(written: str, meant: str) -> None:
    assert address(PROXY, written) == meant


def test_over_a_unix_socket_there_is_none() -> None:
    assert address(None, STRANGER) == UNKNOWN
    assert counted_as(UNKNOWN) == UNKNOWN


def test_a_whole_network_of_ipv6_counts_as_one() -> None:
    assert counted_as("2001:db8:0:1::1") == counted_as("2001:db8:0:1:ffff::2")
    assert counted_as("2001:db8:0:1::1") != counted_as("2001:db8:0:2::1")
    assert counted_as(STRANGER) == STRANGER
