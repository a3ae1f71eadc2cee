"""JSON Patch does what RFC 6902 says, and refuses the rest with the place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.kernel.json_patch import PatchRefused, apply_patch


@pytest.mark.parametrize(
    ("document", "operation", "expected"),
    [
        ({"a": 1}, {"op": "add", "path": "/b", "value": 2}, {"a": 1, "b": 2}),
        ({"a": [1, 3]}, {"op": "add", "path": "/a/1", "value": 2}, {"a": [1, 2, 3]}),
        ({"a": [1]}, {"op": "add", "path": "/a/-", "value": 2}, {"a": [1, 2]}),
        ({"a": 1}, {"op": "add", "path": "", "value": 5}, 5),
        ({"a/b": {"~": 1}}, {"op": "replace", "path": "/a~1b/~0", "value": 2}, {"a/b": {"~": 2}}),
        ({"a": [1, 2]}, {"op": "remove", "path": "/a/0"}, {"a": [2]}),
        ({"a": {"b": 1}}, {"op": "move", "from": "/a/b", "path": "/c"}, {"a": {}, "c": 1}),
        ({"a": [1]}, {"op": "copy", "from": "/a", "path": "/b"}, {"a": [1], "b": [1]}),
        ({"a": 1}, {"op": "test", "path": "/a", "value": 1}, {"a": 1}),
    ],
)
def test_operation(document: Any, operation: dict[str, Any], expected: Any) -> None:
    """Each verb changes a copy."""
    before = repr(document)

    assert expected == apply_patch(document, [operation])
    assert before == repr(document)


@pytest.mark.parametrize(
    "operations",
    [
        {"op": "add"},
        [{"op": "add", "value": 1}],
        [{"op": "jump", "path": "/a"}],
        [{"op": "add", "path": "a", "value": 1}],
        [{"op": "add", "path": "/x/y", "value": 1}],
        [{"op": "add", "path": "/a"}],
        [{"op": "remove", "path": "/x"}],
        [{"op": "remove", "path": ""}],
        [{"op": "replace", "path": "/x", "value": 1}],
        [{"op": "replace", "path": "/a/3", "value": 1}],
        [{"op": "add", "path": "/a/3", "value": 1}],
        [{"op": "add", "path": "/a/01", "value": 1}],
        [{"op": "move", "from": "/a", "path": "/a/0"}],
        [{"op": "test", "path": "/a", "value": 2}],
        [{"op": "add", "path": "/a/-", "value": 1}] * 1_001,
    ],
)
def test_refused(operations: Any) -> None:
    """What cannot be applied is refused whole."""
    with pytest.raises(PatchRefused):
        apply_patch({"a": [1]}, operations)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4), st.text(max_size=5), JSON)
def test_add_then_remove_is_nothing(document: dict[str, Any], name: str, value: Any) -> None:
    """Adding a new member and removing it again gives the document back."""
    document.pop(name, None)
    path = "/" + name.replace("~", "~0").replace("/", "~1")
    operations = [{"op": "add", "path": path, "value": value}, {"op": "remove", "path": path}]

    assert document == apply_patch(document, operations)
