"""What every source must do; run over the whole registry, against real services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import BlobServiceClient

from amity.exchange.errors import ManifestDiffers
from amity.exchange.log_file import LOG_FILES, LogExportFacts, LogFileWriter
from amity.platform.ingestion.source import SourceMeans
from amity.platform.ingestion.source_flows import SourceSpecs
from amity.platform.ingestion.sources import SOURCES
from amity.testing.azurite import Azurite, start_azurite
from amity.testing.own_sftp import PASSWORD, own_sftp
from amity.transports.azure_blob import AzureBlobConfig, AzureBlobStore
from amity.transports.local import LocalStore
from amity.transports.outbound import Outbound
from amity.transports.ports import Store
from amity.transports.sftp import SftpConfig, SftpStore

OUTBOUND = Outbound(allow_private=True)
AT = 1_509_321_600_000
CELLS = {
    "id": "1",
    "externalId": "c1",
    "status": "sent",
    "eventDate": "2017-10-30T00:00:00.000Z",
    "lastModified": "2017-10-30T00:00:00.000Z",
}


def export(store: Store, folder: Path, number: int) -> None:
    """Publish an export of one row."""
    facts = LogExportFacts(
        id=f"{number}" * 32,
        kind="broadLog",
        at_ms=AT + number * 1_000,
        since_ms=0,
        until_ms=AT,
        folder="logs",
    )
    writer = LogFileWriter(store=store, spool=folder / "spool", facts=facts)
    writer.write([tuple((CELLS | {"id": str(number)}).get(name) for name in columns())])
    writer.publish()


def columns() -> tuple[str, ...]:
    return LOG_FILES["broadLog"].columns


def read_back(store: Store, folder: Path, **config: Any) -> None:
    """Lots come oldest first, each with its rows; a changed file is refused as a whole."""
    spec = SOURCES["campaign_logs"]
    made = spec.config(logs="broadLog", path="/logs/", external_namespace="crm", **config)
    means = SourceMeans(folder / "exports", folder / "work", OUTBOUND, "shop")
    source = spec.make(made, means=means)
    for number in (1, 2):
        export(store, folder, number)
    lots = list(source.lots())
    found = [[row.record for row in lot.rows()] for lot in lots]

    assert [["1"], ["2"]] == [
        [body["_experience"]["campaign"]["broadlogID"] for body in bodies if body]
        for bodies in found
    ]
    assert [lot.digest for lot in lots] == [lot.digest for lot in source.lots()]
    store.put("logs/broadLog_20171030000002.csv", b"id\n1\n")
    with pytest.raises(ManifestDiffers):
        list(lots[1].rows())
    assert list((folder / "work").iterdir()) == []


def test_from_a_folder(tmp_path: Path) -> None:
    """A folder of this installation."""
    read_back(LocalStore(tmp_path / "exports"), tmp_path, authentication="Local")


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """A real blob service."""
    with start_azurite(tmp_path_factory.mktemp("azurite")) as running:
        yield running


def test_from_a_container(azurite: Azurite, tmp_path: Path) -> None:
    """Azure Blob Storage."""
    string = azurite.connection_string
    with BlobServiceClient.from_connection_string(string) as service:
        service.create_container("logs")
    place = AzureBlobConfig(connection_string=string, container="logs")
    read_back(
        AzureBlobStore(place, outbound=OUTBOUND),
        tmp_path,
        authentication="ConnectionString",
        connection_string=string,
        container="logs",
    )


def test_from_an_sftp_server(tmp_path: Path) -> None:
    """An SFTP server whose host key is pinned."""
    with own_sftp(tmp_path / "own", "shop") as server:
        account = {"port": server.port, "username": "shop", "password": PASSWORD}
        place = SftpConfig(host="127.0.0.1", host_key=server.fingerprint, **account)
        read_back(
            SftpStore(place, outbound=OUTBOUND),
            tmp_path,
            authentication="SFTP with Password",
            domain="127.0.0.1",
            host_key=server.fingerprint,
            **account,
        )


def test_every_source_is_covered() -> None:
    """A new source joins this suite, and no two serve the same connection spec."""
    specs = SourceSpecs(SOURCES).all
    served = [id for spec in specs for id in spec.connection_specs]

    assert set(SOURCES) == {"campaign_logs"}
    assert len(served) == len(set(served))
