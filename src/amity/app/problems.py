"""How does an error become an HTTP answer?

In this one place: problem details (RFC 9457) that also carry the fields the followed system's
clients read (`error_code` and `message` of the gateway, `report` of the registry).
"""

from __future__ import annotations

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from amity.kernel.errors import AmityError, Transient

LOG = structlog.get_logger()


class Unforeseen(AmityError):
    """Something went wrong that should not have: the server's log tells more."""


def problem(error: AmityError) -> dict[str, Any]:
    """The problem-details object of an error; extra members come from its `data`.

    >>> problem(AmityError("the disk is full"))["detail"]
    'the disk is full'
    """
    body: dict[str, Any] = {
        "type": _type(error),
        "title": _title(type(error).__name__),
        "status": error.status,
        "detail": error.message,
    }
    if error.code and error.code.isdigit():
        body |= {"error_code": error.code, "message": error.message}
    elif error.code:
        body["error_code"] = error.code
    return body | error.data


def answer(error: AmityError) -> JSONResponse:
    """The whole HTTP answer of an error."""
    headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, Transient) else {}
    return JSONResponse(
        problem(error),
        status_code=error.status,
        headers=headers,
        media_type="application/problem+json",
    )


def install(app: FastAPI) -> None:
    """Teach an application to answer every error as a problem."""

    @app.exception_handler(AmityError)
    async def _amity(request: Request, error: AmityError) -> JSONResponse:
        if error.status >= 500:
            LOG.error("request failed", path=request.url.path, error=error.message)
        return answer(error)

    @app.exception_handler(Exception)
    async def _unforeseen(_: Request, __: Exception) -> JSONResponse:
        # The error itself goes on to the front, which logs it, masked.
        return answer(Unforeseen())

    @app.exception_handler(RequestValidationError)
    async def _form(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = "/".join(str(part) for part in first["loc"])
        body = {
            "type": "urn:amity:problem:invalid",
            "title": "Invalid",
            "status": 400,
            "detail": f"{place}: {first['msg']}",
            "errors": [
                {"place": "/".join(str(p) for p in one["loc"]), "message": one["msg"]}
                for one in error.errors()
            ],
        }
        return JSONResponse(body, status_code=400, media_type="application/problem+json")

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        detail = error.detail
        if error.status_code == 404 and detail == "Not Found":
            detail = f"there is nothing at {request.method} {request.url.path}; see /openapi.json"
        body = {
            "type": "about:blank",
            "title": error.detail,
            "status": error.status_code,
            "detail": detail,
        }
        return JSONResponse(
            body,
            status_code=error.status_code,
            headers=error.headers,
            media_type="application/problem+json",
        )


def _type(error: AmityError) -> str:
    if error.code and "-" in error.code:
        return f"http://ns.adobe.com/aep/errors/{error.code}"
    return f"urn:amity:problem:{_title(type(error).__name__).lower().replace(' ', '-')}"


def _title(name: str) -> str:
    return "".join(
        f" {letter}" if letter.isupper() and at else letter for at, letter in enumerate(name)
    )
