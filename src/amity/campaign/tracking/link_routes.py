"""HTTP of the links in messages: public, for whoever holds a signed one.

``/r`` leads on, ``/o`` is the open pixel, ``/m`` the mirror page, ``/u`` unsubscribes. A GET or HEAD
never unsubscribes, whoever sends it: only a POST by the mail program (RFC 8058) or from the page.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response

from amity.access.guard import signed
from amity.campaign.tracking import pages
from amity.campaign.tracking.link_door import Asking, LinkDoor
from amity.kernel.errors import NotFound, TooLarge, Unprocessable

FORM_BYTES_MAX = 8 * 1024
"""Body of a request to unsubscribe. Ours: it holds one word."""

FORM_FIELDS_MAX = 8
ONE_CLICK = ("List-Unsubscribe", "One-Click")
"""What a mail program posts. Behaviour: campaign.md §3 (RFC 8058)."""

BOTH = ["GET", "HEAD"]
Holder = Annotated[None, signed()]
"""Nobody logs in here: the path holds a signature, which the route checks first."""

_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow, noarchive",
    "X-Content-Type-Options": "nosniff",
}


def router(door: LinkDoor) -> APIRouter:
    """`/r`, `/o`, `/m` and `/u`."""
    routes = APIRouter(tags=["links in messages"], include_in_schema=False)

    @routes.api_route("/r/{token}", methods=BOTH)
    async def redirect(token: str, request: Request, _: Holder) -> Response:
        """Record the click, then lead on."""
        return await _or_lost(_redirect(door, token, request))

    @routes.api_route("/o/{token}.gif", methods=BOTH)
    async def pixel(token: str, request: Request, _: Holder) -> Response:
        """Record the open, then answer one transparent point."""
        return await _or_lost(_pixel(door, token, request))

    @routes.api_route("/m/{token}", methods=BOTH)
    async def mirror(token: str, request: Request, _: Holder) -> Response:
        """The message as a page."""
        return await _or_lost(_mirror(door, token, request))

    @routes.api_route("/u/{token}", methods=BOTH)
    async def ask(token: str, _: Holder) -> Response:
        """Ask whether to unsubscribe. Changes nothing."""
        return await _or_lost(_ask(door, token))

    @routes.post("/u/{token}")
    async def unsubscribe(token: str, request: Request, _: Holder) -> Response:
        """Unsubscribe: by one click of a mail program, or as the page's button says."""
        return await _or_lost(_unsubscribe(door, token, request))

    return routes


async def _or_lost(answer: Awaitable[Response]) -> Response:
    """The answer, or a page for people where a link leads nowhere."""
    try:
        return await answer
    except (NotFound, Unprocessable):
        return _html(pages.not_ours(), status=404)


async def _redirect(door: LinkDoor, token: str, request: Request) -> Response:
    link = door.opened("r", token)
    target = await door.target(link)
    if request.method == "GET":
        await door.record("click", link, _asking(request))
    return Response(status_code=302, headers={**_HEADERS, "Location": target})


async def _pixel(door: LinkDoor, token: str, request: Request) -> Response:
    link = door.opened("o", token)
    if request.method == "GET":
        await door.record("open", link, _asking(request))
    return Response(pages.PIXEL, media_type="image/gif", headers=_HEADERS)


async def _mirror(door: LinkDoor, token: str, request: Request) -> Response:
    link = door.opened("m", token)
    page = await door.mirror(link)
    if request.method == "GET":
        await door.record("mirror", link, _asking(request))
    return _html(page, policy=pages.MIRROR_POLICY)


async def _ask(door: LinkDoor, token: str) -> Response:
    return _html(pages.confirm(await door.about(door.opened("u", token))))


async def _unsubscribe(door: LinkDoor, token: str, request: Request) -> Response:
    link = door.opened("u", token)
    how = _how(await _form(request))
    if not how:
        return _html(pages.not_confirmed(), status=400)
    await door.about(link)  # what nothing is known of any more must not be said to be done
    await door.opt_out(link, _asking(request), how)
    return _html(pages.done())


async def _form(request: Request) -> dict[str, str]:
    body = await request.body()
    if len(body) > FORM_BYTES_MAX:
        raise TooLarge(f"a request to unsubscribe has at most {FORM_BYTES_MAX} bytes")
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == "multipart/form-data":
        form = await request.form(max_files=0, max_fields=FORM_FIELDS_MAX)
        return {name: value for name, value in form.items() if isinstance(value, str)}
    try:
        return dict(parse_qsl(body.decode("ascii", "replace"), max_num_fields=FORM_FIELDS_MAX))
    except ValueError:
        return {}


def _how(form: dict[str, str]) -> str:
    name, value = ONE_CLICK
    if form.get(name, "").strip().lower() == value.lower():
        return "one-click"
    return "page" if form.get(pages.CONFIRM_FIELD) == pages.CONFIRM_VALUE else ""


def _asking(request: Request) -> Asking:
    return Asking.of(request.headers, request.client.host if request.client else "")


def _html(page: str, *, policy: str = pages.PAGE_POLICY, status: int = 200) -> Response:
    headers = {**_HEADERS, "Content-Security-Policy": policy}
    return Response(page, status_code=status, media_type="text/html", headers=headers)
