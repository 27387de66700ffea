"""Low, hosts: the one rule of which hosts are not loaded from, in every spelling that leads to one."""

from __future__ import annotations

import pytest

from antenna_orchestration.domain import addresses


@pytest.mark.parametrize(
    "host",
    [
        # Circled, wide and superscript digits; full stops of IDNA; escapes.
        "①②⑦.⓪.⓪.①", "１２７.0.0.1", "127。0。0。1", "127｡0｡0｡1", "¹²⁷.0.0.1", "%31%32%37.0.0.1", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
        "LOCALHOST.",
        "①②⑦.①", "①⑥⑨.②⑤④.①⑥⑨.②⑤④",
        # As the C library reads them.
        "127.1", "127.0.1", "0x7f.1", "0x7F.0x0.0x0.0x1", "2130706433", "017700000001", "0177.0.0.1", "0x7f000001", "0",
        "127.0.0.1.", "127.0.0.1..",
        # Of a site, of a tunnel, inside IPv6.
        "fec0::1", "feff::1", "::127.0.0.1", "::7f00:1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::", "5f00::1", "3fff::1",
        "2001:db8::1", "::", "::1", "::1%lo", "fe80::1%25eth0", "fd00::1", "ff02::1",
        "0.0.0.0", "10.0.0.1", "100.64.0.1", "169.254.169.254", "192.0.0.8", "192.168.1.1", "224.0.0.1", "240.0.0.1",
    ],
)  # fmt: skip
def test_private_hosts_are_refused_in_every_spelling(host: str) -> None:
    assert addresses.why_refused(host) == "is a loopback, link-local or private address"


@pytest.mark.parametrize(
    "host", ["1.1", "134744072", "4294967296", "08.8.8.8", "8.8.8", "traps.0x7", "127.0.0.1%00.org"]
)
def test_numbers_that_are_no_plain_address_are_refused(host: str) -> None:
    assert (addresses.why_refused(host) or "").startswith("is not an address")


@pytest.mark.parametrize(
    "host",
    ["example.org", "bücher.example", "8.8.8.8", "2606:4700::1111", "2002:808:808::", "1e100.net", "127.0.0.1.nip.io"],
)
def test_public_hosts_are_let_through(host: str) -> None:
    assert addresses.why_refused(host) is None
