"""The tutorial works as it stands: its blocks are pasted against a real server.

The how-to pages that say so go on where it ends, in the same Python and on the same server.
"""

from __future__ import annotations

import code
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from amity.testing.server import RunningServer

DOCS = Path(__file__).parents[2] / "docs"
TUTORIAL = DOCS / "tutorial" / "first-audience.md"
GO_ON = ("use-a-virtual-clock", "label-and-block", "mend-refused-records")
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


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which the page's own `init` was run and a server as it says is on."""
    monkeypatch.chdir(tmp_path)
    (console,) = (text for kind, text in blocks(TUTORIAL) if kind == "console" and " init " in text)
    init, serve = (line for line in console.splitlines() if ".venv/bin/amity" in line)
    shell(init)
    shutil.copy("credentials.json", tmp_path / "shop" / "test-credentials.json")
    clock = serve.split("--clock ")[1]
    with RunningServer(tmp_path / "shop", clock=clock) as server:
        monkeypatch.setenv("AMITY_URL", server.url)
        yield tmp_path


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


@pytest.mark.usefixtures("shop")
def test_the_pages_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Every block that is to be pasted runs, and prints what its page says it prints."""
    prompt = Prompt()
    listed = walk(TUTORIAL, prompt, capsys)
    for name in GO_ON:
        walk(DOCS / "how-to" / f"{name}.md", prompt, capsys)
    prompt.paste("amity.close()")

    assert "_20171105.txt" in listed
