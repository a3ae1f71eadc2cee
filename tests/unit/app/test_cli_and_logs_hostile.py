"""What a refused record may do to the terminal, and what a log line may say."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table

from amity.app.cli import _plain
from amity.app.logs import _mask_event, mask


def test_a_record_cannot_command_the_terminal() -> None:
    """Mark-up is shown as written, an escape sequence as its name."""
    table = Table("reason")
    table.add_row(_plain("[/red] [link=x]y\x1b]0;owned\x07\x1b[2J"))
    out = io.StringIO()
    Console(width=120, file=out).print(table)
    shown = out.getvalue()
    assert "[/red] [link=x]y\\x1b]0;owned\\x07\\x1b[2J" in shown
    assert "\x07" not in shown
    assert "\x1b]0;" not in shown


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("DefaultEndpointsProtocol=https;AccountName=a;AccountKey=c2VjcmV0+/==;X=y", "c2VjcmV0"),
        ("https://a.blob.core.windows.net/c?sv=1&sig=aGVsbG8%3D&se=2", "aGVsbG8"),
        ("Authorization: Bearer eyJhbGciOi.eyJvcmci.c2ln", "eyJhbGci"),
        ("client_secret=s8e-0123456789abcdef&grant_type=x", "s8e-0123"),
        ("loyalty 4111111111111111 refused", "4111111111111111"),
    ],
)
def test_what_opens_a_door_is_masked(text: str, secret: str) -> None:
    """Keys, signatures, tokens, long numbers."""
    assert secret not in mask(text)


def test_nested_values_are_masked_too() -> None:
    """A list of addresses is masked like a single one; so is what an object says of itself."""
    line = {
        "people": [{"mail": "ann.smith@example.test"}],
        "error": KeyError("ann.smith@example.test"),
        "access_token": "abc",
    }
    masked = _mask_event(None, "", line)
    assert "ann.smith" not in str(masked)
    assert masked["access_token"] == "***"
