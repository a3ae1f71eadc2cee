"""The unchanged Web SDK in a real browser, its requests led to a server on this machine.

The SDK speaks https to a host without a port: Chromium is told where the host lies, and a certificate
made for the test is trusted.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from playwright.sync_api import Page, Request, sync_playwright

ALLOY_VERSION = "2.33.1"
CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # The page's address is made up; without this the browser would ask whether it may reach this
    # machine's.
    "--disable-features=LocalNetworkAccessChecks",
)
# What a site puts into its pages so that calls wait until the SDK is there.
STUB = """
window.__alloyNS = ["alloy"];
window.alloy = (...call) => new Promise((good, bad) => window.alloy.q.push([good, bad, call]));
window.alloy.q = [];
"""


def package() -> Path:
    """Where `scripts/alloy` installs it."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return (
        (Path(base) / "amity" / f"alloy-{ALLOY_VERSION}" / "node_modules" / "@adobe" / "alloy")
        / "dist"
        / "alloy.min.js"
    )


def available() -> bool:
    """Whether SDK and browser are on this machine."""
    return CHROMIUM is not None and package().exists()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for this machine's address, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edge.shop.test")])
    now = datetime.now(UTC)
    names = [x509.DNSName("edge.shop.test"), x509.IPAddress(IPv4Address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_file, key_file


@dataclass(kw_only=True)
class Site:
    """A page of a shop with the SDK on it, and what the SDK has sent."""

    page: Page
    requests: list[Request] = field(default_factory=list)

    def alloy(self, command: str, options: dict[str, Any] | None = None) -> Any:
        """Give the SDK a command and wait for its answer."""
        script = "([command, options]) => window.alloy(command, options)"
        return self.page.evaluate(script, [command, options or {}])

    def cookies(self) -> dict[str, str]:
        """The cookies of the page's site."""
        found = self.page.context.cookies("https://www.shop.test/")
        return {one["name"]: one["value"] for one in found}

    def sent(self, call: str) -> list[dict[str, Any]]:
        """The bodies of the requests to a door."""
        found = [one for one in self.requests if f"/{call}?" in one.url]
        return [one.post_data_json for one in found]


@contextmanager
def site(port: int, org: str, datastream: str, edge_domain: str) -> Iterator[Site]:
    """A page at https://www.shop.test/ whose SDK speaks to the server at `port`."""
    rules = f"MAP {edge_domain}:443 127.0.0.1:{port}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*FLAGS, f"--host-resolver-rules={rules}"]
        )
        page = browser.new_context(ignore_https_errors=True).new_page()
        made = Site(page=page)
        page.on("request", lambda one: made.requests.append(one) if "/ee/" in one.url else None)
        body = f"<!doctype html><title>Shop</title><script>{STUB}</script>"
        page.route(
            "https://www.shop.test/**",
            lambda route: route.fulfill(content_type="text/html", body=body),
        )
        page.goto("https://www.shop.test/shoes")
        page.add_script_tag(path=package())
        configure(made, org, datastream, edge_domain)
        try:
            yield made
        finally:
            browser.close()


def configure(made: Site, org: str, datastream: str, edge_domain: str) -> None:
    """Configure the SDK with nothing but a host, an organisation and a data stream."""
    made.alloy(
        "configure",
        {
            "datastreamId": datastream,
            "orgId": org,
            "edgeDomain": edge_domain,
            "thirdPartyCookiesEnabled": False,
            "clickCollectionEnabled": False,
        },
    )
