"""Is a query of a size that can be evaluated, however it was written?"""

from __future__ import annotations

from collections.abc import Mapping

from amity.expression.errors import SyntaxFault
from amity.expression.tree import Lambda, Let, Node, Var, children

SPELLED_NODES_MAX = 4_096
"""Nodes of a query whose lets are replaced by their values. Ours: the batch engine has no lets, and
fifteen of them, each using the one before twice, would make a statement without end."""


def check_spelled(node: Node) -> None:
    """Refuse a query that its lets make huge."""
    spelled = _spelled(node, {})
    if spelled > SPELLED_NODES_MAX and spelled > _spelled(node, None):
        raise SyntaxFault(
            f"with each let replaced by its value the expression has {spelled} parts; "
            f"{SPELLED_NODES_MAX} is the most: use the names of lets less often"
        )


def _spelled(node: Node, held: Mapping[str, int] | None) -> int:
    """The nodes of a tree; with `held`, a variable counts as many as the value it stands for."""
    if isinstance(node, Var):
        return held.get(node.name, 1) if held else 1
    if isinstance(node, Let) and held is not None:
        return _spelled(node.body, {**held, node.name: _spelled(node.value, held)})
    if isinstance(node, Lambda) and held:
        held = {name: size for name, size in held.items() if name not in node.names}
    return 1 + sum(_spelled(child, held) for child in children(node))
