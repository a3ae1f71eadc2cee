"""The tutorial works as it stands: its blocks are pasted against a real server.

The how-to pages that say so go on where it ends, in the same Python and on the same server.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pasting import DOCS, Prompt, commands, shell, walk

from amity.testing.server import RunningServer

TUTORIAL = DOCS / "tutorial" / "first-audience.md"
GO_ON = ("use-a-virtual-clock", "label-and-block", "mend-refused-records")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which the page's own `init` was run and a server as it says is on."""
    monkeypatch.chdir(tmp_path)
    init, serve = (line for line in commands(TUTORIAL) if ".venv/bin/amity" in line)
    shell(init)
    shutil.copy("credentials.json", tmp_path / "shop" / "test-credentials.json")
    clock = serve.split("--clock ")[1]
    with RunningServer(tmp_path / "shop", clock=clock) as server:
        monkeypatch.setenv("AMITY_URL", server.url)
        yield tmp_path


@pytest.mark.usefixtures("shop")
def test_the_pages_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Every block that is to be pasted runs, and prints what its page says it prints."""
    prompt = Prompt()
    listed = walk(TUTORIAL, prompt, capsys)
    for name in GO_ON:
        walk(DOCS / "how-to" / f"{name}.md", prompt, capsys)
    prompt.paste("amity.close()")

    assert "_20171105.txt" in listed
