"""A registry: the one way a plug-in becomes known.

A plug-in folder holds one file per plug-in. Each file ends in a constant ``SPEC``.
The folder's ``__init__`` lists the built-in specs; other packages add theirs through
the entry-point group that the registry names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from amity.kernel.errors import Terminal

T = TypeVar("T")


class PluginError(Terminal):
    """A plug-in is unknown, listed twice, or of the wrong kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec(Generic[T]):
    """What the system knows of a plug-in before it makes one."""

    name: str
    summary: str
    config: type
    make: Callable[..., T]


class Registry(Mapping[str, Spec[T]], Generic[T]):
    """An ordered, read-only map from a plug-in's name to its spec.

    Args:
        group: Entry-point group that outside packages publish specs under.
        builtins: The specs of the plug-ins in the folder, in alphabetical order.
    """

    def __init__(self, group: str, builtins: tuple[Spec[T], ...]) -> None:
        specs: dict[str, Spec[T]] = {}
        for spec in (*builtins, *(point.load() for point in entry_points(group=group))):
            if not isinstance(spec, Spec):
                msg = f"{group}: {spec!r} is not a Spec"
                raise PluginError(msg)
            if spec.name in specs:
                msg = f"{group}: two plug-ins are named {spec.name!r}"
                raise PluginError(msg)
            specs[spec.name] = spec
        self._specs = specs
        self.group = group

    def __getitem__(self, name: str) -> Spec[T]:
        try:
            return self._specs[name]
        except KeyError:
            known = ", ".join(sorted(self._specs)) or "none"
            msg = f"{self.group}: no plug-in named {name!r}; known: {known}"
            raise PluginError(msg) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)
