"""Did a person follow the link, or a machine?

A short list, as data: programs that name themselves, security gateways that follow every link, mail
clients that load every picture unseen. What is set apart here still counts as a hit, marked as such.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import re2

MACHINES = (
    "bot", "crawl", "spider", "slurp", "preview", "scan", "monitor", "validator", "fetch",
    "curl/", "wget/", "libwww", "python-", "aiohttp", "httpx", "okhttp", "go-http-client", "java/",
    "apache-httpclient", "headless", "phantomjs", "puppeteer", "playwright",
    "barracuda", "proofpoint", "mimecast", "messagelabs", "symantec", "fireeye", "trendmicro",
    "safelinks", "forcepoint", "cloudmark", "facebookexternalhit", "whatsapp",
)  # fmt: skip
"""Parts of user agents that no person's program has. Lower case."""

UNSEEN = frozenset({"mozilla/5.0", "mozilla/4.0"})
"""Whole user agents of those who load pictures before anybody looks (Apple's mail proxy, scanners)."""

PREFETCH = ("purpose", "sec-purpose", "x-purpose", "x-moz")
"""Headers by which a browser says that nobody has asked for the page yet."""

_NAMED = re2.compile("|".join(re2.escape(one) for one in MACHINES))
_UNASKED = re2.compile(r"(?i)prefetch|preview|prerender")


def is_machine(user_agent: str, headers: Mapping[str, str]) -> bool:
    """Whether a machine is asking, by what it says of itself.

    >>> is_machine("Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", {})
    False
    >>> is_machine("Mozilla/5.0", {})
    True
    """
    name = user_agent.strip().lower()
    if not name or name in UNSEEN or _NAMED.search(name):
        return True
    return any(_UNASKED.search(headers.get(header, "")) for header in PREFETCH)


def shortened(address: str) -> str:
    """An IP address that no longer names a household: /24, or /48 of IPv6.

    >>> shortened("203.0.113.77")
    '203.0.113.0'
    >>> shortened("2001:db8:1:2::5")
    '2001:db8:1::'
    >>> shortened("unix")
    ''
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return ""
    prefix = 24 if ip.version == 4 else 48
    return str(ipaddress.ip_network((ip, prefix), strict=False).network_address)
