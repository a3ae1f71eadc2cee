"""HTTP of batch ingestion. Behaviour: platform-collect.md §5.

Files are streamed to disk as they come, never held in memory.
"""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any

import re2
from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from amity.access.guard import needs
from amity.access.principal import Principal
from amity.kernel.errors import TooLarge, WrongMediaType
from amity.kernel.limits import BATCH_FILE_BYTES_MAX, BODY_BYTES_MAX
from amity.platform.catalog.render import shown_batch
from amity.platform.ingestion.batch_files import Draft
from amity.platform.ingestion.batches import BatchImport
from amity.platform.ingestion.errors import BadBatch, FileTooLarge
from amity.platform.ingestion.validation import parsed
from amity.tabular.formats import InputFormat
from amity.tabular.read import rows

BASE = "/data/foundation/import/batches"
FILE = f"{BASE}/{{batch}}/datasets/{{dataset}}/files/{{name:path}}"
PREVIEW_ROWS_MAX = 10
Loader = Annotated[Principal, needs("ingest-data")]

_RANGE = re2.compile(r"^bytes[ =](\d{1,15})-(\d{1,15})(?:/(?:\d{1,15}|\*))?$")


def router(imports: BatchImport) -> APIRouter:
    """`/data/foundation/import/batches/…`."""
    routes = APIRouter(tags=["batch ingestion"])
    _batches(routes, imports)
    _files(routes, imports)
    _preview(routes, imports)
    return routes


def _batches(routes: APIRouter, imports: BatchImport) -> None:
    async def create(request: Request, principal: Loader) -> JSONResponse:
        """Create a batch (PATCH: a client's way to replace batches)."""
        body = await _json(request)
        batch = await run_in_threadpool(imports.create, principal.scope, body)
        return JSONResponse(shown_batch(principal.scope, batch), status_code=201)

    routes.post(BASE, status_code=201, name="create batch")(create)
    routes.patch(BASE, status_code=201, name="replace batches")(create)

    @routes.post(f"{BASE}/{{batch}}")
    async def act(batch: str, principal: Loader, action: Annotated[str, Query()]) -> dict[str, Any]:
        """COMPLETE, ABORT, FAIL or REVERT; COMPLETE is an acceptance, not yet a success."""
        done = await imports.act(principal.scope, batch, action)
        return shown_batch(principal.scope, done)


def _files(routes: APIRouter, imports: BatchImport) -> None:
    @routes.put(FILE)
    async def put(
        request: Request, batch: str, dataset: str, name: str, principal: Loader
    ) -> JSONResponse:
        """Put a small file; putting it again replaces it."""
        if request.headers.get("content-type", "").lower().startswith("multipart/"):
            raise WrongMediaType(
                "send the file itself as application/octet-stream, not as a multipart form"
            )
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > BATCH_FILE_BYTES_MAX:
            raise FileTooLarge(
                f"a file put in one request has at most {BATCH_FILE_BYTES_MAX} bytes: upload it in "
                "parts (?action=INITIALIZE)"
            )
        draft = await run_in_threadpool(imports.draft, principal.scope, batch, dataset, name)
        created = await _received(request, draft)
        return JSONResponse({"path": name, "created": created}, status_code=201 if created else 200)

    @routes.post(FILE)
    async def act(
        batch: str, dataset: str, name: str, principal: Loader, action: Annotated[str, Query()]
    ) -> JSONResponse:
        """INITIALIZE or COMPLETE a large file."""
        match action.upper():
            case "INITIALIZE":
                verb, status = imports.begin_large, 201
            case "COMPLETE":
                verb, status = imports.complete_large, 200
            case _:
                raise BadBatch(
                    f"action {action[:40]!r} is not known for a file: take INITIALIZE or COMPLETE"
                )
        await run_in_threadpool(verb, principal.scope, batch, dataset, name=name)
        return JSONResponse({"path": name}, status_code=status)

    @routes.patch(FILE)
    async def part(
        request: Request, batch: str, dataset: str, name: str, principal: Loader
    ) -> dict[str, Any]:
        """A part of a large file; `Content-Range: bytes first-last`."""
        span = _span(request.headers.get("content-range", ""))
        draft = await run_in_threadpool(
            imports.part, principal.scope, batch, dataset, name=name, span=span
        )
        await _received(request, draft)
        return {"path": name, "range": f"bytes {span[0]}-{span[1]}"}

    @routes.head(FILE)
    def head(batch: str, dataset: str, name: str, principal: Loader) -> Response:
        """Which ranges of a large file were received."""
        spans = imports.received(principal.scope, batch, dataset, name=name)
        told = ",".join(f"{first}-{last}" for first, last in spans)
        return Response(headers={"Range": f"bytes={told}"} if told else {})


def _preview(routes: APIRouter, imports: BatchImport) -> None:
    @routes.get(f"{BASE}/{{batch}}/datasets/{{dataset}}/preview")
    def preview(
        request: Request,
        batch: str,
        dataset: str,
        principal: Loader,
        nrow: Annotated[int, Query(ge=1, lt=PREVIEW_ROWS_MAX)] = 5,
        format: str = "",
    ) -> dict[str, Any]:
        """The first rows of the files put so far."""
        folder, declared = imports.previewed(principal.scope, batch, dataset)
        options = {key: value for key, value in request.query_params.items() if key in _CSV_OPTIONS}
        fmt = InputFormat.parse({**declared, "format": format, **options} if format else declared)
        found = (row for info in folder.listed() for row in rows(folder.path(info.name), fmt))
        shown = ({"_error": row.error} if row.value is None else row.value for row in found)
        return {"data": list(islice(shown, nrow))}


_CSV_OPTIONS = frozenset({"delimiter", "quote", "escape", "charset"})


async def _json(request: Request) -> Any:
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > BODY_BYTES_MAX:
            raise TooLarge(f"the description of a batch has at most {BODY_BYTES_MAX} bytes")
    value, broken = parsed(bytes(raw))
    if broken:
        raise BadBatch(f"the body is {broken.message}")
    return value


async def _received(request: Request, draft: Draft) -> bool:
    with draft:
        async for chunk in request.stream():
            draft.write(chunk)
        return await run_in_threadpool(draft.commit)


def _span(header: str) -> tuple[int, int]:
    found = _RANGE.match(header.strip())
    if found is None:
        raise BadBatch(
            f"Content-Range {header[:60]!r} is not of the form `bytes 0-1048575`",
            header=header[:60],
        )
    return int(found.group(1)), int(found.group(2))
