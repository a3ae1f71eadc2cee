"""What do the pages of docs/reference say?

All of it is read off the code, so that it is never behind it: `amity reference` writes the pages, a
test holds the committed ones equal to what the code says now. The same code gives the same bytes.
"""

from __future__ import annotations

import ast
import inspect
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType
from typing import Any, NamedTuple

import msgspec
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts
from typer import Typer
from typer.main import get_command

import amity
from amity.access.guard import Needs, Signed
from amity.app.folder import DataFolder
from amity.app.http_side import build_http
from amity.app.init import create_organisation
from amity.campaign.delivery.channels import CHANNELS
from amity.campaign.workflow.activities import ACTIVITIES
from amity.campaign.workflow.activity import ActivitySpec
from amity.campaign.workflow.templates import TEMPLATES
from amity.expression.reference import page as pql_page
from amity.expression.xtk.reference import page as conditions_page
from amity.kernel.errors import AmityError
from amity.kernel.registry import Registry
from amity.platform.activation.destination import DestinationSpec
from amity.platform.activation.destinations import DESTINATIONS
from amity.platform.ingestion.segment_spec import CALLS
from amity.platform.ingestion.source import SourceSpec
from amity.platform.ingestion.sources import SOURCES
from amity.transports.registry import TRANSPORTS

MADE = "_Read off the code by `amity reference`; do not edit._"

DOORS = (
    (
        "/collection/{inlet}",
        "one XDM message; `?syncValidation=true` answers what is wrong at once",
    ),
    ("/collection/batch/{inlet}", "XDM messages under `messages`; an answer for each"),
    ("/v1/batch", "calls of the Segment specification under `batch`, the write key as Basic user"),
    ("/v1/import", "the same as `/v1/batch`"),
    *((f"/v1/{call}", f"one `{call}` call of the Segment specification") for call in sorted(CALLS)),
)

_NOT_TOLD = ("amity.testing", "amity.app.demo")
"""What is no part of a server."""

_LIMIT_PAGES = ("amity.kernel.limits", "amity.exchange.guardrails")
_LIMIT_ENDS = ("_MAX", "_MIN")
_NOT_LIMITS = frozenset({"INT64_MAX", "INT64_MIN"})
_TOPIC_END = "_TOPIC"

_VERBS: Mapping[str, str] = {
    "DELETE": "Delete",
    "GET": "Read",
    "HEAD": "Look at",
    "PATCH": "Change",
    "POST": "Post to",
    "PUT": "Replace",
}


PLUG_INS: Mapping[str, Registry[Any]] = {
    "Destinations": DESTINATIONS,
    "Sources": SOURCES,
    "Transports": TRANSPORTS,
    "Activities of workflows": ACTIVITIES,
    "Templates of workflows": TEMPLATES,
    "Channels": CHANNELS,
}

_NO_NOUNS = frozenset({"custom", "v2", "v3"})
"""Parts of paths that say nothing about what lies there."""


class Constant(NamedTuple):
    """A named value at the head of a module, and the docstring under it."""

    module: str
    name: str
    value: Any
    doc: str


class Route(NamedTuple):
    """A route of the control plane as its page tells it."""

    group: str
    path: str
    method: str
    permission: str
    summary: str


def write_pages(folder: Path, commands: Typer) -> list[Path]:
    """Write all pages; where they lie."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in pages(commands).items():
        path = folder / name
        path.write_text(text)
        written.append(path)
    return written


def pages(commands: Typer) -> dict[str, str]:
    """File name → text of every page.

    Args:
        commands: The command line, handed in because it is what calls this.
    """
    modules = list(_modules())
    constants = [one for module in modules for one in _constants(module)]
    with tempfile.TemporaryDirectory(prefix="amity-reference-") as folder:
        http = _http_page(_routes(Path(folder) / "data"))
    return {
        "cli.md": _cli_page(commands),
        "conditions.md": conditions_page(),
        "errors.md": _errors_page(),
        "http-api.md": http,
        "limits.md": _limits_page(constants),
        "plug-ins.md": _plugins_page(),
        "pql.md": pql_page(),
        "topics.md": _topics_page(constants, _readers(modules)),
    }


# -- HTTP ---------------------------------------------------------------------------------------


def _routes(data: Path) -> list[Route]:
    """The routes of a server on a new data folder; it is put together and not started."""
    folder = DataFolder(data)
    create_organisation(folder, "Reference", "admin@example.test")
    side = build_http(folder, clock="", public_url="http://127.0.0.1:8080")
    try:
        return sorted(_routes_of(side.control))
    finally:
        side.appender.close()
        side.core.close()


def _routes_of(control: FastAPI) -> Iterator[Route]:
    for route in iter_route_contexts(control.routes):
        path = route.path or ""
        dependant = getattr(route.original_route, "dependant", None)
        asked = sorted(_permissions(dependant)) if dependant is not None else []
        tags = getattr(route.original_route, "tags", None) or ["server"]
        for method in sorted(route.methods or ()):
            if method == "HEAD" and "GET" in (route.methods or ()):
                continue
            told = _first_sentence(route.endpoint) if dependant is not None else ""
            yield Route(
                group=str(tags[0]),
                path=path,
                method=method,
                permission=", ".join(asked) or _open_to(dependant),
                summary=told or _what(method, path),
            )


def _permissions(dependant: Dependant) -> set[str]:
    own = {str(dependant.call.permission)} if isinstance(dependant.call, Needs) else set()
    return own.union(*(_permissions(one) for one in dependant.dependencies))


def _open_to(dependant: Dependant | None) -> str:
    """Who may call a route that asks for no permission."""
    inner = dependant.dependencies if dependant is not None else []
    return "signed link" if any(isinstance(one.call, Signed) for one in inner) else "public"


def _first_sentence(thing: Any) -> str:
    lines = (inspect.getdoc(thing) or "").splitlines() if thing is not None else []
    return lines[0] if lines else ""


def _what(method: str, path: str) -> str:
    """What a route without a docstring does, by its path.

    >>> _what("GET", "/data/core/ups/segment/definitions/{id}")
    'Read one of `definitions`'
    """
    parts = path.strip("/").split("/")
    nouns = [part for part in parts if not (part.startswith("{") or part in _NO_NOUNS)]
    one_of = "one of " if parts[-1].startswith("{") else ""
    return f"{_VERBS[method]} {one_of}`{nouns[-1]}`"


def _http_page(routes: Sequence[Route]) -> str:
    parts = [
        "# HTTP API",
        MADE,
        (
            "Everything is served on one port; a trailing slash is ignored. `GET /openapi.json` of a "
            "running server has parameters and bodies. Platform calls carry `Authorization: Bearer`, "
            "`x-api-key`, `x-gw-ims-org-id` and `x-sandbox-name` (default `prod`). Errors are problem "
            "details ([errors](errors.md))."
        ),
        "## Doors",
        (
            "They take what streams in: `POST`, answered once the records are durable. An inlet may ask "
            "for a bearer token; the others take the write key."
        ),
        _table(("path", "takes"), ((f"`{path}`", what) for path, what in DOORS)),
    ]
    for group in sorted({route.group for route in routes}):
        parts += [
            f"## {group.capitalize()}",
            _table(
                ("method", "path", "permission", "what"),
                (
                    (one.method, f"`{one.path}`", one.permission, one.summary)
                    for one in routes
                    if one.group == group
                ),
            ),
        ]
    return _page(parts)


# -- command line -------------------------------------------------------------------------------


def _cli_page(commands: Typer) -> str:
    parts = [
        "# Command line",
        MADE,
        (
            "`init` and `serve` work on a data folder; every other command but `demo` and `reference` "
            "calls the server that runs on it. An error is one sentence on stderr and exit status 1."
        ),
        *_command_parts("amity", get_command(commands)),
    ]
    return _page(parts)


def _command_parts(name: str, command: Any) -> Iterator[str]:
    if name != "amity":
        yield f"## `{name}`"
        yield command.help or ""
        rows = [_parameter(one) for one in command.params if getattr(one, "name", "") != "help"]
        if rows:
            yield _table(("parameter", "default", "what"), rows)
    for inner, found in sorted(getattr(command, "commands", {}).items()):
        if not found.hidden:
            yield from _command_parts(f"{name} {inner}", found)


def _parameter(one: Any) -> tuple[str, str, str]:
    options = getattr(one, "secondary_opts", [])
    shown = ", ".join(f"`{option}`" for option in (*one.opts, *options))
    if one.param_type_name == "argument":
        shown = f"`{one.name.upper()}`"
    default = "" if one.default is None or callable(one.default) else str(one.default)
    told = getattr(one, "help", None) or ""
    if one.envvar:
        told += f" Or the environment variable `{one.envvar}`."
    return shown, "required" if one.required else f"`{default}`" if default else "", told


# -- limits, topics -----------------------------------------------------------------------------


def _limits_page(constants: Sequence[Constant]) -> str:
    parts = [
        "# Limits",
        MADE,
        (
            "Each has a name and a source. _Behaviour_ cites a page of facts about the followed system; "
            "_ours_ is our own choice."
        ),
    ]
    for name in _LIMIT_PAGES:
        own = [one for one in constants if one.module == name]
        parts += [f"## `{name}`", _first_sentence(import_module(name)), _limits_table(own)]
    others = [
        one
        for one in constants
        if one.module not in _LIMIT_PAGES
        and one.name.endswith(_LIMIT_ENDS)
        and one.name not in _NOT_LIMITS
    ]
    parts += [
        "## Of one module",
        "What bounds one module alone stands at its head.",
        _table(
            ("module", "name", "value", "what, and who says so"),
            ((f"`{one.module}`", f"`{one.name}`", _value(one.value), one.doc) for one in others),
        ),
    ]
    return _page(parts)


def _limits_table(found: Iterable[Constant]) -> str:
    rows = ((f"`{one.name}`", _value(one.value), one.doc) for one in found)
    return _table(("name", "value", "what, and who says so"), rows)


def _topics_page(constants: Iterable[Constant], readers: Mapping[str, set[str]]) -> str:
    rows = (
        (
            f"`{one.value}`",
            one.doc,
            f"`{one.module}`",
            ", ".join(sorted(readers.get(one.value, ()))),
        )
        for one in constants
        if one.name.endswith(_TOPIC_END)
    )
    return _page(
        [
            "# Topics of the log",
            MADE,
            (
                "What passes between processes and stages. A topic whose readers all run fused in one "
                "transaction is passed in memory and not written."
            ),
            _table(("topic", "carries", "defined in", "read by"), sorted(rows)),
        ]
    )


def _readers(modules: Iterable[ModuleType]) -> dict[str, set[str]]:
    """Topic → names of the stages and sinks that read it."""
    found: dict[str, set[str]] = {}
    for module in modules:
        for _, one in inspect.getmembers(module, inspect.isclass):
            topics = vars(one).get("consumes")
            if one.__module__ == module.__name__ and isinstance(topics, tuple):
                for topic in topics:
                    found.setdefault(topic, set()).add(str(vars(one)["name"]))
    return found


def _constants(module: ModuleType) -> Iterator[Constant]:
    """The public constants that a module defines, in their order."""
    body = ast.parse(inspect.getsource(module)).body
    for node, following in zip(body, [*body[1:], None], strict=True):
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if not isinstance(target, ast.Name) or target.id.startswith("_"):
            continue
        if not target.id.isupper():
            continue
        doc = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            doc = " ".join(str(following.value.value).split())
        yield Constant(module.__name__, target.id, getattr(module, target.id), doc)


def _value(value: Any) -> str:
    """A value as people read it.

    >>> _value(1048576)
    '1,048,576'
    """
    if isinstance(value, bool) or not isinstance(value, int):
        return str(value)
    return f"{value:,}"


# -- errors -------------------------------------------------------------------------------------


def _errors_page() -> str:
    return _page(
        [
            "# Errors",
            MADE,
            (
                "Every error derives from `AmityError`. HTTP answers are problem details (RFC 9457): "
                "`type`, `title`, `status`, `detail`, the `error_code` where the followed system "
                "documents one, and the error's own data. What is _Transient_ may succeed when it is "
                "tried again."
            ),
            _table(("error", "is a", "status", "code", "what"), _error_rows(AmityError, "")),
        ]
    )


def _error_rows(error: type[AmityError], base: str) -> Iterator[tuple[str, ...]]:
    yield (
        f"`{error.__name__}`",
        f"`{base}`" if base else "",
        str(error.status),
        f"`{error.code}`" if error.code else "",
        _first_sentence(error),
    )
    inner = {one.__name__: one for one in error.__subclasses__() if _is_told(one.__module__)}
    for name in sorted(inner):
        yield from _error_rows(inner[name], error.__name__)


# -- plug-ins -----------------------------------------------------------------------------------


def _plugins_page() -> str:
    parts = [
        "# Plug-ins",
        MADE,
        (
            "A plug-in is one file with a `SPEC`; other packages add theirs through the entry-point "
            "group. [How to add a destination](../how-to/add-a-destination.md)."
        ),
    ]
    for title, registry in PLUG_INS.items():
        parts += [f"## {title}", f"Entry-point group `{registry.group}`.", *_specs(registry)]
    return _page(parts)


def _specs(registry: Registry[Any]) -> Iterator[str]:
    for name in sorted(registry):
        spec = registry[name]
        yield f"### `{name}`"
        yield spec.summary
        if isinstance(spec, DestinationSpec):
            yield from _destination_parts(spec)
        if isinstance(spec, SourceSpec):
            yield from _source_parts(spec)
        if isinstance(spec, ActivitySpec):
            yield from _activity_parts(spec)
        fields = list(_fields(spec.config))
        if fields:
            yield _table(("field of its configuration", "default"), fields)


def _activity_parts(spec: ActivitySpec) -> Iterator[str]:
    fewest, most = spec.inputs
    several = "any number" if most is None else str(most)
    inputs = several if fewest == most else f"{fewest} to {several}"
    yield f"{spec.label}. Inbound transitions: {inputs}. Effect: {spec.effect}."


def _source_parts(spec: SourceSpec) -> Iterator[str]:
    served = [f"{name} `{id}`" for id, name in spec.connection_specs.items()]
    signs_in = [
        f"{name} ({', '.join(f'`{part}`' for part in one.required) or 'nothing'})"
        for name, one in spec.auths.items()
    ]
    id, flow_spec = spec.flow_spec
    params = ", ".join(f"`{one}`" for one in spec.params)
    yield "\n".join(
        (
            f"- Connection specs: {'; '.join(served)}",
            f"- Flow spec: {flow_spec} `{id}`",
            f"- Signs in by: {'; '.join(signs_in)}",
            f"- Parameters: {params}",
        )
    )


def _destination_parts(spec: DestinationSpec) -> Iterator[str]:
    served = [f"{name} `{id}`" for id, name in spec.connection_specs.items()]
    signs_in = [
        f"{one.name} ({', '.join(f'`{part}`' for part in one.required) or 'nothing'})"
        for one in spec.auths
    ]
    id, flow_spec = spec.flow_spec
    target = ", ".join(f"`{one}`" for one in spec.target)
    yield "\n".join(
        (
            f"- Connection specs: {'; '.join(served)}",
            f"- Flow spec: {flow_spec} `{id}`",
            f"- Signs in by: {'; '.join(signs_in)}",
            f"- Target parameters: {target}",
            f"- Weekly and monthly schedules: {'yes' if spec.capabilities.calendar else 'no'}",
        )
    )


def _fields(config: type) -> Iterator[tuple[str, str]]:
    if not issubclass(config, msgspec.Struct):
        return
    for field in msgspec.structs.fields(config):
        default = "required" if field.required else f"`{_default(field)!r}`"
        yield f"`{field.encode_name}`", default


def _default(field: Any) -> Any:
    """A default that is made anew each time is shown as the name of what makes it."""
    found = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return msgspec.to_builtins(found) if isinstance(found, msgspec.Struct) else found


# -- Markdown, modules --------------------------------------------------------------------------


def _page(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(one) for one in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _modules() -> Iterator[ModuleType]:
    """Every module of a server, in order of name."""
    names = (found.name for found in walk_packages(amity.__path__, "amity."))
    yield from (import_module(name) for name in sorted(names) if _is_told(name))


def _is_told(module: str) -> bool:
    return module.startswith("amity.") and not module.startswith(_NOT_TOLD)
