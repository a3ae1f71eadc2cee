"""Is it alive, is it ready, how much is it doing?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The process's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "amity_http_requests",
            "Requests answered, by status class.",
            ["method", "status"],
            registry=self.registry,
        )
        self.lag = Gauge(
            "amity_lag_records", "Log records not yet handled.", registry=self.registry
        )
        self.worker_restarts = Gauge(
            "amity_worker_restarts", "Times the worker was started again.", registry=self.registry
        )
        self.pending = Gauge(
            "amity_door_pending_entries", "Entries waiting for the log.", registry=self.registry
        )

    def count(self, method: str, status: int) -> None:
        """One request was answered; a method that nobody knows makes no series of its own."""
        known = method if method in _METHODS else "other"
        self.requests.labels(known, f"{status // 100}xx").inc()


def router(
    roles: dict[str, Callable[[], bool]], metrics: Metrics, refresh: Callable[[], None]
) -> APIRouter:
    """`/livez`, `/readyz`, `/healthz`, `/metrics`.

    Args:
        roles: Name of each role and whether it is ready.
        metrics: What `/metrics` prints.
        refresh: Brings gauges up to date before they are printed.
    """
    routes = APIRouter(tags=["health"])

    def report() -> JSONResponse:
        states = {name: "ready" if ready() else "not ready" for name, ready in roles.items()}
        well = all(state == "ready" for state in states.values())
        body: dict[str, Any] = {"status": "ok" if well else "degraded", "roles": states}
        return JSONResponse(body, status_code=200 if well else 503)

    @routes.get("/livez")
    def livez() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/readyz")
    def readyz() -> JSONResponse:
        return report()

    @routes.get("/healthz")
    def healthz() -> JSONResponse:
        return report()

    @routes.get("/metrics")
    def prometheus() -> PlainTextResponse:
        refresh()
        return PlainTextResponse(generate_latest(metrics.registry).decode())

    return routes
