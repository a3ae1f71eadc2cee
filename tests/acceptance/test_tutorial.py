"""The tutorial works as it stands: its blocks are pasted against a real server."""

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

PAGE = Path(__file__).parents[2] / "docs" / "tutorial" / "first-audience.md"
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


@pytest.fixture
def blocks() -> list[tuple[str, str]]:
    """Kind and text of each block of the page."""
    return [(found["kind"], found["text"]) for found in BLOCK.finditer(PAGE.read_text())]


@pytest.fixture
def shop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: list[tuple[str, str]]
) -> Iterator[Path]:
    """A folder in which the page's own `init` was run and a server as it says is on."""
    monkeypatch.chdir(tmp_path)
    (console,) = (text for kind, text in blocks if kind == "console" and " init " in text)
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


@pytest.mark.usefixtures("shop")
def test_the_tutorial_runs(
    blocks: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Every block that is to be pasted runs, and prints what the page says it prints."""
    prompt = Prompt()
    printed, compared = "", 0
    for kind, text in blocks:
        if kind == "python":
            prompt.paste(text)
            printed = capsys.readouterr().out
        elif kind == "sh":
            printed = shell(text)
        elif kind == "text":
            assert printed.rstrip() == text.rstrip()
            compared += 1
    prompt.paste("amity.close()")

    assert compared >= 6
    assert "_20171105.txt" in printed
