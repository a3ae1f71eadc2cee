"""What every destination must do; run over the whole registry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from azure.storage.blob import BlobServiceClient

from amity.platform.activation.destination import DestinationSpec, Job, Means
from amity.platform.activation.destinations import DESTINATIONS
from amity.platform.activation.errors import BadConnection
from amity.platform.activation.targets import read_config, specs_of
from amity.testing.azurite import Azurite, start_azurite
from amity.testing.own_sftp import PASSWORD, own_sftp
from amity.transports.azure_blob import AzureBlobConfig, AzureBlobStore
from amity.transports.errors import StoreRefused
from amity.transports.local import LocalStore
from amity.transports.outbound import Outbound
from amity.transports.ports import Store

SPECS = specs_of(DESTINATIONS)
OUTBOUND = Outbound(allow_private=True)
BLOB = {"adobe_campaign": "Azure Blob", "azure_blob": "ConnectionString"}
LOCAL: dict[str, dict[str, Any]] = {
    "adobe_campaign": {"mode": "LOCAL", "path": "out"},
    "local_folder": {"path": "out"},
}
COLUMNS = ("shop_id", "segmentMembership_status")


def job(**more: Any) -> Job:
    facts: dict[str, Any] = {
        "org": "A@AmityOrg",
        "sandbox": "prod",
        "destination": "Shop",
        "flow": "flow1",
        "flow_name": "To shop",
        "audience": "aud1",
        "audience_name": "Rich",
        "merge_policy": "mp",
        "merge_policy_name": "Default",
        "run": "run1",
        "scheduled_ms": 1_509_321_600_000,
        "mode": "full",
        "since_revision": 0,
        "until_revision": 7,
        "filename": "",
        "columns": COLUMNS,
    }
    return Job(**(facts | more))


def batch(*rows: tuple[str | None, str]) -> pa.RecordBatch:
    cells = zip(*rows, strict=True)
    return pa.record_batch([pa.array(one, pa.string()) for one in cells], names=list(COLUMNS))


def written(spec: DestinationSpec, auth: dict[str, Any], params: dict[str, Any], to: Path) -> str:
    """Write the same file set twice and one that is discarded; the stem of the file's name."""
    config = read_config(spec, {"auth": auth}, {"params": params})
    means = Means(to / "exports", to / "work", OUTBOUND)
    destination = spec.make(config, means=means)
    for _ in range(2):
        files = destination.open(job())
        files.write(batch(("1", destination.words.realized)))
        files.write(batch(("2", destination.words.exited), (None, destination.words.realized)))
        published = files.publish()
    dropped = destination.open(job(run="run2", scheduled_ms=1_509_408_000_000))
    dropped.write(batch(("3", destination.words.realized)))
    dropped.discard()
    assert list((to / "work").iterdir()) == []
    assert (published.rows, len(published.files)) == (3, 1)
    assert published.manifest == "out/manifest-flow1-run1.json"
    return published.files[0]


def check(store: Store, name: str) -> None:
    """One file set lies there, as its manifest says."""
    assert {name, "out/manifest-flow1-run1.json"} == {stat.path for stat in store.list("out/")}
    assert name.startswith("out/Shop_segmentaud1_20171030000000.")
    manifest = json.loads(store.get("out/manifest-flow1-run1.json"))
    assert (manifest["flowRunId"], manifest["rows"]) == ("run1", 3)
    assert manifest["scheduledTime"] == "2017-10-30T00:00:00Z"
    (result,) = manifest["exportResults"]
    assert result["size"] == len(store.get(name))
    first = store.get(name).decode().splitlines()[0]
    assert first.replace("\t", ",") == "shop_id,segmentMembership_status"


@pytest.mark.parametrize("name", sorted(LOCAL))
def test_a_folder_gets_one_file_set(name: str, tmp_path: Path) -> None:
    """Published twice it is there once; discarded it never was."""
    file = written(SPECS[name], {"specName": "Local"}, LOCAL[name], tmp_path)

    check(LocalStore(tmp_path / "exports"), file)


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """A real blob service."""
    with start_azurite(tmp_path_factory.mktemp("azurite")) as running:
        yield running


@pytest.mark.parametrize("name", sorted(BLOB))
def test_a_container_gets_one_file_set(name: str, azurite: Azurite, tmp_path: Path) -> None:
    """The same in Azure Blob Storage."""
    box = f"c-{name.replace('_', '-')}"
    with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
        service.create_container(box)
    auth = {
        "specName": BLOB[name],
        "params": {"connectionString": azurite.connection_string},
    }
    params = {"container": box, "path": "out"}
    if name == "adobe_campaign":
        params["mode"] = "AZURE_BLOB"

    file = written(SPECS[name], auth, params, tmp_path)

    place = AzureBlobConfig(connection_string=azurite.connection_string, container=box)
    check(AzureBlobStore(place, outbound=OUTBOUND), file)


SFTP = {"adobe_campaign": {"mode": "FTP"}, "sftp": {}}


@pytest.mark.parametrize("name", sorted(SFTP))
def test_an_sftp_server_gets_one_file_set(name: str, tmp_path: Path) -> None:
    """The same on an SFTP server whose host key is pinned; the platform's parameters suffice."""
    with own_sftp(tmp_path / "own", "shop") as server:
        auth = {
            "specName": "SFTP with Password",
            "params": {
                "domain": "127.0.0.1",
                "port": server.port,
                "username": "shop",
                "password": PASSWORD,
                "hostKey": server.fingerprint,
            },
        }

        file = written(SPECS[name], auth, {"remotePath": "out", **SFTP[name]}, tmp_path)

        check(LocalStore(server.root / "shop"), file)


def test_an_unknown_host_key_is_told(tmp_path: Path) -> None:
    """Without a pinned key nothing is sent, not even the password; the key shown is told."""
    with own_sftp(tmp_path / "own", "shop") as server:
        params = {"domain": "127.0.0.1", "username": "shop", "password": PASSWORD}
        auth = {"specName": "SFTP with Password", "params": {**params, "port": server.port}}

        with pytest.raises(StoreRefused, match="SHA256:"):
            written(SPECS["sftp"], auth, {"remotePath": "out"}, tmp_path)
        assert server.events == []


def test_every_destination_is_covered() -> None:
    """A new destination joins this suite."""
    assert set(SPECS) == set(LOCAL) | set(BLOB) | set(SFTP)


@pytest.mark.parametrize(
    ("preset", "suffix", "delimiter", "left"),
    [
        ("campaign_v7", ".txt", "\t", "expired"),
        ("campaign_v7_csv", ".csv", ",", "expired"),
        ("campaign_standard", ".csv", ",", "expired"),
    ],
)
def test_campaign_presets(
    preset: str, suffix: str, delimiter: str, left: str, tmp_path: Path
) -> None:
    """Each preset is what its reader reads."""
    params = LOCAL["adobe_campaign"] | {"preset": preset}
    file = written(SPECS["adobe_campaign"], {"specName": "Local"}, params, tmp_path)

    assert file.endswith(suffix)
    text = (tmp_path / "exports" / file).read_text()
    assert text.splitlines()[2] == f"2{delimiter}{left}"


@pytest.mark.parametrize(
    ("name", "auth", "params", "said"),
    [
        ("adobe_campaign", {"specName": "Local"}, {"mode": "S3"}, "S3"),
        ("adobe_campaign", {"specName": "Local"}, {"mode": "AZURE_BLOB"}, "container"),
        ("adobe_campaign", {"specName": "Azure Blob"}, {"mode": "AZURE_BLOB"}, "connectionString"),
        ("azure_blob", {"specName": "Local"}, {}, "none of azure_blob's"),
        ("local_folder", {"specName": "Local"}, {"fileType": "XML"}, "XML"),
    ],
)
def test_wrong_parameters_are_refused(
    name: str, auth: dict[str, Any], params: dict[str, Any], said: str
) -> None:
    """Before anything is written, with what is wrong."""
    with pytest.raises(BadConnection, match=said):
        read_config(SPECS[name], {"auth": auth}, {"params": params})
