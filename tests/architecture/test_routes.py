"""Every route of the control plane says who may call it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import get_args

import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from amity.access.guard import PUBLIC_PATHS, Needs, Signed
from amity.access.principal import Permission
from amity.app.folder import DataFolder
from amity.app.http_side import build_http
from amity.app.init import create_organisation


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    """The application as `amity serve` puts it together; its worker is not started."""
    folder = DataFolder(tmp_path_factory.mktemp("amity") / "data")
    create_organisation(folder, "Test shop", "admin@example.test")
    side = build_http(folder, clock="", public_url="http://127.0.0.1")
    yield side.control
    side.appender.close()
    side.core.close()


def every(routes: Iterable[BaseRoute]) -> Iterator[BaseRoute]:
    """Routes, those of included routers too."""
    for route in routes:
        included = getattr(route, "original_router", None)
        yield from [route] if included is None else every(included.routes)


def permissions(dependant: Dependant) -> set[str]:
    """The permissions that a route's dependencies ask for."""
    own = {dependant.call.permission} if isinstance(dependant.call, Needs) else set()
    return own.union(*map(permissions, dependant.dependencies))


def asked(route: BaseRoute) -> set[str]:
    """The permissions a route asks for; none when it is no route of an API."""
    return permissions(route.dependant) if isinstance(route, APIRoute) else set()


def for_holders(route: BaseRoute) -> bool:
    """Whether a route lets in whoever holds a signed link."""
    own = route.dependant.dependencies if isinstance(route, APIRoute) else []
    return any(isinstance(one.call, Signed) for one in own)


def test_every_route_is_guarded(control: FastAPI) -> None:
    """A route asks for a permission, for a signed link, or is one of the few public ones."""
    routes = list(every(control.routes))
    open_ones = {
        getattr(route, "path", "")
        for route in routes
        if not asked(route) and not for_holders(route)
    }

    assert len(routes) > 50
    assert open_ones <= PUBLIC_PATHS


def test_signed_routes_hold_a_token(control: FastAPI) -> None:
    """A route for holders of a signed link has the link's token in its path, and no permission."""
    routes = [route for route in every(control.routes) if for_holders(route)]

    assert [] == [route for route in routes if "{token}" not in getattr(route, "path", "")]
    assert [] == [route for route in routes if asked(route)]


def test_permissions_exist(control: FastAPI) -> None:
    """No route asks for a permission that nobody can be given."""
    named = {one for route in every(control.routes) for one in asked(route)}

    assert named
    assert named <= set(get_args(Permission))
