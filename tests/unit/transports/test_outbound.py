"""A configured address must not reach what only this machine can reach."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from amity.kernel.errors import Unavailable
from amity.transports.azure_blob import AzureBlobConfig, AzureBlobStore
from amity.transports.errors import AddressRefused, BadAddress
from amity.transports.outbound import Outbound

_NAMES = {
    "files.example.test": ["93.184.216.34"],
    "localhost": ["127.0.0.1", "::1"],
    "metadata": ["169.254.169.254"],
    "office": ["10.0.0.8"],
    "both": ["93.184.216.34", "10.0.0.8"],
    "six": ["fd00::1"],
    "mapped": ["::ffff:127.0.0.1"],
    "zero": ["0.0.0.0"],  # noqa: S104 - an address under test
    "cgnat": ["100.64.0.1"],
}


def _resolve(host: str, port: int) -> Sequence[str]:
    if host not in _NAMES:
        raise Unavailable(host)
    return _NAMES[host]


def test_a_public_address_is_called_with_tls_only() -> None:
    """Https passes, http does not."""
    outbound = Outbound(resolve=_resolve)
    assert not outbound.check("https://files.example.test/x")
    with pytest.raises(BadAddress, match="TLS"):
        outbound.check("http://files.example.test/x")


@pytest.mark.parametrize(
    "host", ["localhost", "metadata", "office", "both", "six", "mapped", "zero", "cgnat"]
)
def test_a_private_address_is_refused_unless_allowed(host: str) -> None:
    """One private address among several is enough."""
    with pytest.raises(AddressRefused, match=host):
        Outbound(resolve=_resolve).check(f"https://{host}/")
    Outbound(allow_private=True, resolve=_resolve).check(f"https://{host}/")


def test_loopback_may_be_called_without_tls_where_private_ones_are_allowed() -> None:
    """The emulator's case; another private machine needs TLS."""
    outbound = Outbound(allow_private=True, resolve=_resolve)
    assert outbound.check("http://localhost:10000/account")
    with pytest.raises(BadAddress, match="TLS"):
        outbound.check("http://office/")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://files.example.test",
        "files.example.test",
        "https://",
        "https://u:p@x/",
        "http://[",
        "https://x:99999/",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    """Other schemes, and names or passwords within, are not taken."""
    with pytest.raises(BadAddress):
        Outbound(resolve=_resolve).check(url)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "AccountName=a",
        "UseDevelopmentStorage=true",
        "AccountKey=a2V5;BlobEndpoint=",
    ],
)
def test_a_connection_string_names_an_account_and_a_key(text: str) -> None:
    """What is missing is said, the key never."""
    with pytest.raises(BadAddress) as raised:
        AzureBlobStore(
            AzureBlobConfig(connection_string=text, container="c"),
            outbound=Outbound(resolve=_resolve),
        )
    assert "a2V5" not in str(raised.value)


def test_an_account_address_is_judged() -> None:
    """A connection string cannot point at a neighbour."""
    text = "AccountName=a;AccountKey=a2V5;BlobEndpoint=https://office/a"
    with pytest.raises(AddressRefused):
        AzureBlobStore(
            AzureBlobConfig(connection_string=text, container="c"),
            outbound=Outbound(resolve=_resolve),
        )
