"""The HTTP process: it holds the data folder, takes everything that comes in, keeps the worker."""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from amity.app.campaign_core import CampaignOptions
from amity.app.folder import DataFolder, write_json
from amity.app.garbage import collect_less
from amity.app.http_side import build_http
from amity.kernel.errors import Invalid
from amity.transports.outbound import Outbound

SHUTDOWN_S_MAX = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What `amity serve` was told."""

    host: str = "127.0.0.1"
    port: int = 8080
    public_url: str = ""
    clock: str = ""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    allow_private: bool = False
    """Whether destinations may lie at private addresses."""

    smtp: str = ""
    """``HOST:PORT`` that takes the messages; "" while there is none."""

    sftp_port: int | None = None
    """Port of the campaign's own SFTP server; None for none, 0 for a free one."""

    bounce_port: int | None = None
    """Port that takes bounces by SMTP; None for none, 0 for a free one."""

    bounce_domain: str = "bounces.example.test"
    """Domain of the envelope senders, so that bounces come back."""


def serve(folder: DataFolder, options: ServeOptions) -> None:
    """Serve until SIGTERM or SIGINT; refused when another server holds the folder."""
    if (options.tls_cert is None) != (options.tls_key is None):
        raise Invalid("--tls-cert and --tls-key go together: give both or neither")
    _end_well_when_asked()
    folder.hold(f"process {os.getpid()} (http://{options.host}:{options.port})")
    listening = _listen(options.host, options.port)
    port: int = listening.getsockname()[1]
    scheme = "https" if options.tls_cert else "http"
    base = f"{scheme}://{options.host}:{port}"
    side = build_http(
        folder,
        clock=options.clock,
        public_url=options.public_url or base,
        worker_options=_worker_options(options),
        outbound=Outbound(allow_private=options.allow_private, allow_loopback=_is_local(options)),
        campaign=CampaignOptions(
            public_url=options.public_url or base,
            smtp=options.smtp,
            bounce_domain=options.bounce_domain,
            host=options.host,
            sftp_port=options.sftp_port,
            bounce_port=options.bounce_port,
        ),
    )

    def listening_on(ports: dict[str, int]) -> None:
        others = {name: f"{options.host}:{found}" for name, found in ports.items()}
        write_json(
            folder.endpoints,
            {"http": base, "public_url": options.public_url or base, **others},
        )

    try:
        side.start()
        collect_less()
        config = uvicorn.Config(
            side.application(listening_on),
            loop="uvloop",
            http="httptools",
            lifespan="on",
            access_log=False,
            log_level="warning",
            timeout_graceful_shutdown=SHUTDOWN_S_MAX,
            timeout_keep_alive=75,
            ssl_certfile=options.tls_cert,
            ssl_keyfile=options.tls_key,
            server_header=False,
        )
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        side.stop()
        folder.release()


def _end_well_when_asked() -> None:
    """Let a signal to end unwind the stack: the worker is stopped, the folder let go, status 0.

    The HTTP server raises the signals it has obeyed once more for whoever started it; without a
    handler that would end the process on the spot.
    """

    def end(*_: Any) -> None:
        raise SystemExit(0)

    for asked in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked, end)


def _is_local(options: ServeOptions) -> bool:
    """A server that only this machine can reach may reach this machine."""
    return options.host in {"127.0.0.1", "localhost", "::1"}


def _worker_options(options: ServeOptions) -> list[str]:
    return [
        *(["--allow-loopback"] if _is_local(options) else []),
        *(["--allow-private"] if options.allow_private else []),
    ]


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        raise Invalid(
            f"cannot listen on {host}:{port}: {error.strerror}; take another --port"
        ) from error
    listening.listen(2_048)
    return listening
