"""The second tutorial works as it stands: it goes on where the first one ends, on the same folder."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from pasting import DOCS, Prompt, commands, shell, walk

from amity.testing.server import RunningServer, free_port
from amity.testing.smtp_sink import SinkProcess

FIRST = DOCS / "tutorial" / "first-audience.md"
LOOP = DOCS / "tutorial" / "close-the-loop.md"
PORTS = re.compile(r"(--(?:sftp|bounce)-port) \d+")


def test_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every block runs and prints what the page says; only the ports are others, free ones."""
    monkeypatch.chdir(tmp_path)
    init, serve = (line for line in commands(FIRST) if ".venv/bin/amity" in line)
    shell(init)
    shutil.copy("credentials.json", tmp_path / "shop" / "test-credentials.json")
    sink, again = commands(LOOP)
    folder, taken = re.findall(r"--folder (\S+) --port (\d+)", sink)[0]
    prompt, port = Prompt(), free_port()
    with RunningServer(tmp_path / "shop", clock=serve.split("--clock ")[1]) as server:
        monkeypatch.setenv("AMITY_URL", server.url)
        walk(FIRST, prompt, capsys)

    doors = again.split("--data shop ")[1].replace(f":{taken}", f":{port}")
    same = RunningServer(tmp_path / "shop", arguments=PORTS.sub(r"\1 0", doors).split())
    same.port, same.url = server.port, server.url
    with SinkProcess(tmp_path / folder, port=port), same:
        walk(LOOP, prompt, capsys)
        prompt.paste("amity.close()")
