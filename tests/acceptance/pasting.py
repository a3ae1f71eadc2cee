"""Pasting the blocks of a page as its reader does."""

from __future__ import annotations

import code
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
AMITY = f"{sys.executable} -m amity.app.cli"


class Prompt(code.InteractiveConsole):
    """A Python prompt that lines are pasted into; an error ends it."""

    def showtraceback(self) -> NoReturn:
        raise sys.exception() or AssertionError

    def showsyntaxerror(self, filename: str | None = None, **_: Any) -> NoReturn:
        raise sys.exception() or AssertionError

    def paste(self, text: str) -> None:
        """Type the lines of a block, then an empty one, as one does to end it."""
        unfinished = [self.push(line) for line in [*text.splitlines(), ""]]
        assert not unfinished[-1], f"unfinished: {text}"


def blocks(page: Path) -> list[tuple[str, str]]:
    """Kind and text of each block of a page."""
    return [(found["kind"], found["text"]) for found in BLOCK.finditer(page.read_text())]


def commands(page: Path) -> list[str]:
    """The lines of the page that are typed into a terminal which stays busy, or before all else."""
    return [line for kind, text in blocks(page) if kind == "console" for line in text.splitlines()]


def shell(text: str) -> str:
    """What commands print; they must succeed."""
    done = subprocess.run(
        ["bash", "-e", "-c", text.replace(".venv/bin/amity", AMITY)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )

    assert done.returncode == 0, done.stderr
    return done.stdout


def walk(page: Path, prompt: Prompt, capsys: pytest.CaptureFixture[str]) -> str:
    """Paste a page's blocks, comparing what they print; what the last one printed."""
    printed, compared = "", 0
    for kind, text in blocks(page):
        if kind == "python":
            prompt.paste(text)
            printed = capsys.readouterr().out
        elif kind == "sh":
            printed = shell(text)
        elif kind == "text":
            assert printed.rstrip() == text.rstrip(), page.name
            compared += 1

    assert compared
    return printed
