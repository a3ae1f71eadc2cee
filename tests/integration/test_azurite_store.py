"""A container of a real blob service keeps files as the port says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from azure.storage.blob import (
    BlobServiceClient,
    ContainerSasPermissions,
    generate_container_sas,
)

from amity.kernel.clock import RealSystemClock
from amity.kernel.ids import digest
from amity.testing.azurite import Azurite, start_azurite
from amity.testing.transport_suite import TransportSuite
from amity.transports.azure_blob import AzureBlobConfig, AzureBlobStore
from amity.transports.errors import AddressRefused, NoSuchFile, StoreRefused, StoreUnavailable
from amity.transports.outbound import Outbound

_LOCAL = Outbound(allow_private=True)


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with start_azurite(tmp_path_factory.mktemp("azurite")) as running:
        yield running


@pytest.fixture
def container(azurite: Azurite, request: pytest.FixtureRequest) -> Iterator[str]:
    """A container of its own for each test."""
    name = f"c{digest(request.node.nodeid)}"
    with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
        service.create_container(name)
        yield name
        service.delete_container(name)


def _config(azurite: Azurite, container: str, prefix: str = "") -> AzureBlobConfig:
    return AzureBlobConfig(
        connection_string=azurite.connection_string, container=container, prefix=prefix
    )


class TestAzureBlobStore(TransportSuite):
    @pytest.fixture
    def store(self, azurite: Azurite, container: str) -> AzureBlobStore:
        return AzureBlobStore(_config(azurite, container), outbound=_LOCAL)


class TestAzureBlobStoreUnderPrefix(TransportSuite):
    @pytest.fixture
    def store(self, azurite: Azurite, container: str) -> AzureBlobStore:
        return AzureBlobStore(_config(azurite, container, "/a folder/in/"), outbound=_LOCAL)


def test_the_service_s_own_client_reads_what_we_put(azurite: Azurite, container: str) -> None:
    """Name, bytes and content type as another program sees them."""
    store = AzureBlobStore(_config(azurite, container, "out"), outbound=_LOCAL)
    store.put("m/ä%20.csv", b"a,b\n1,2\n", content_type="text/csv")

    with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
        blob = service.get_blob_client(container, "out/m/ä%20.csv")
        assert blob.download_blob().readall() == b"a,b\n1,2\n"
        assert blob.get_blob_properties().content_settings.content_type == "text/csv"


def test_what_the_credentials_do_not_allow_is_refused(azurite: Azurite, container: str) -> None:
    """A read-only signature reads and does not write; a wrong key does neither."""
    AzureBlobStore(_config(azurite, container), outbound=_LOCAL).put("x", b"1")
    end_ms = RealSystemClock().now_ms() + 3_600_000
    signature = generate_container_sas(
        azurite.account,
        container,
        azurite.key,
        permission=ContainerSasPermissions(read=True, list=True),
        expiry=datetime.fromtimestamp(end_ms / 1000, UTC),
    )
    text = f"BlobEndpoint={azurite.endpoint};AccountName={azurite.account};SharedAccessSignature={signature}"
    reader = AzureBlobStore(
        AzureBlobConfig(connection_string=text, container=container), outbound=_LOCAL
    )
    assert reader.get("x") == b"1"
    with pytest.raises(StoreRefused, match="connection string"):
        reader.put("x", b"2")

    wrong = azurite.connection_string.replace(azurite.key, "d3Jvbmc=")
    stranger = AzureBlobStore(
        AzureBlobConfig(connection_string=wrong, container=container), outbound=_LOCAL
    )
    with pytest.raises(StoreRefused) as raised:
        stranger.get("x")
    assert "d3Jvbmc" not in str(raised.value)


def test_a_private_address_is_refused_by_default(azurite: Azurite, container: str) -> None:
    """The emulator is on this machine: it is reached only where that is allowed."""
    with pytest.raises(AddressRefused):
        AzureBlobStore(_config(azurite, container), outbound=Outbound())


def test_a_container_that_is_not_there(azurite: Azurite) -> None:
    """Putting into it fails with its name."""
    store = AzureBlobStore(_config(azurite, "nosuch"), outbound=_LOCAL)
    with pytest.raises((StoreUnavailable, NoSuchFile), match="nosuch"):
        store.put("x", b"1")
