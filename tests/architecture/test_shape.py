"""The shape of the tree, checked: registration, the words of the flow, and that the guards bite."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "amity"
PLUGIN_FOLDERS = {
    "amity.campaign.delivery.channels": "CHANNELS",
    "amity.campaign.workflow.activities": "ACTIVITIES",
    "amity.campaign.workflow.templates": "TEMPLATES",
    "amity.platform.activation.destinations": "DESTINATIONS",
    "amity.platform.ingestion.sources": "SOURCES",
    "amity.transports": "TRANSPORTS",
}
"""Package of plug-ins → the name of its registry, in the package or in its `registry` module."""

REGISTRIES = {"destinations", "sources", "channels", "activities", "functions", "templates"}
"""Folders whose `__init__` lists what is in them."""

NOT_PLUGINS = {"ports", "registry", "errors", "outbound"}
LEFT_OUT = re.compile(r"TODO|FIXME|NotImplementedError")
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")
LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")


def _contracts() -> dict[str, dict[str, Any]]:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    return {contract["id"]: contract for contract in tools["importlinter"]["contracts"]}


@pytest.mark.parametrize(("package", "registry"), PLUGIN_FOLDERS.items())
def test_every_plugin_file_is_registered(package: str, registry: str) -> None:
    """A file dropped in a plug-in folder but not listed would be silently dead."""
    module = import_module(package)
    folder = Path(module.__file__ or "").parent
    listed = getattr(module, registry, None)
    if listed is None:
        listed = getattr(import_module(f"{package}.registry"), registry)

    files = {path.stem for path in folder.glob("[a-z]*.py")} - NOT_PLUGINS

    assert files == set(listed)


@pytest.mark.parametrize("contract", ["platform-flow", "campaign-flow", "shell"])
def test_layers_name_every_package(contract: str) -> None:
    """The contract in pyproject and the folders on disk say the same stages."""
    (container,) = _contracts()[contract]["containers"]
    folder = ROOT / "src" / Path(*container.split("."))
    named = {
        name.strip() for layer in _contracts()[contract]["layers"] for name in layer.split("|")
    }

    assert {path.name for path in folder.iterdir() if (path / "__init__.py").exists()} == named


def test_every_step_is_held_pure() -> None:
    """Each `step.py` falls under a pattern of the pure-steps contract."""
    patterns = [
        re.compile(pattern.replace(".", r"\.").replace(r"\.**\.", r"\.(?:\w+\.)+"))
        for pattern in _contracts()["pure-steps"]["source_modules"]
    ]
    steps = {
        ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
        for path in SRC.rglob("step.py")
    }

    assert steps
    assert {step for step in steps if not any(p.fullmatch(step) for p in patterns)} == set()


def test_every_function_family_is_listed() -> None:
    """A file of functions that the registry does not name would be silently dead."""
    package = "amity.expression.functions"
    listed = import_module(package).FUNCTIONS
    families = {path.stem for path in (SRC / "expression" / "functions").glob("[a-z]*.py")}
    lost = {
        function.name
        for family in families
        for function in getattr(import_module(f"{package}.{family}"), "FUNCTIONS", ())
        if function.name not in listed
    }

    assert families
    assert lost == set()


def test_packages_re_export_nothing() -> None:
    """An `__init__` holds its docstring alone, but for the registries of plug-ins."""
    speaking = {
        path.parent.name for path in SRC.rglob("__init__.py") if "import" in path.read_text()
    }

    assert speaking <= REGISTRIES


def test_nothing_is_left_out() -> None:
    """No word in the source says that a part is still to be written."""
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in SRC.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if LEFT_OUT.search(line)
    ]

    assert found == []


@pytest.mark.parametrize(
    ("planted", "line", "broken"),
    [
        (
            "campaign/recipients/planted.py",
            "import amity.platform.schema.model",
            "the two sides",
        ),
        (
            "platform/identity/step.py",
            "import amity.storage.ports",
            "A step is pure",
        ),
        (
            "platform/schema/planted.py",
            "import amity.platform.profile.model",
            "a later stage may import an earlier one",
        ),
        (
            "platform/profile/planted.py",
            "import amity.storage.sqlite.state",
            "Only the composition root names a storage engine",
        ),
        (
            "platform/profile/planted.py",
            "import pysqlite3",
            "Database and broker drivers stay inside storage",
        ),
        (
            "platform/profile/planted.py",
            "import amity.exchange",
            "Only four doors touch the exchange contract",
        ),
    ],
)
def test_a_planted_violation_is_caught(
    tmp_path: Path, planted: str, line: str, broken: str
) -> None:
    """The contracts fail on what they forbid, so that their silence means something."""
    shutil.copytree(SRC, tmp_path / "src" / "amity", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    file = tmp_path / "src" / "amity" / planted
    text = file.read_text() if file.exists() else '"""Planted."""\n'
    file.write_text(f"{text}\n{line}\n")

    done = subprocess.run(
        [sys.executable, "-c", _LINT, str(tmp_path / "src")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "400"},
        check=False,
    )

    assert done.returncode == 1, done.stdout + done.stderr
    assert any(broken in line and "BROKEN" in line for line in done.stdout.splitlines()), (
        done.stdout
    )


# The copy comes first on the path, before the tree that site-packages points to.
_LINT = """
import sys
sys.path.insert(0, sys.argv[1])
from importlinter.cli import lint_imports_command
sys.argv[1:] = ["--no-logo", "--no-cache"]
lint_imports_command()
"""


def test_the_record_journey_points_to_what_exists() -> None:
    """Each link of docs/record-journey.md names a file, and after `#` a name defined in it."""
    page = ROOT / "docs" / "record-journey.md"
    targets = [match["target"] for match in LINK.finditer(page.read_text())]
    lost = [
        target
        for target in targets
        if "://" not in target and not _points_to_something(page.parent, target)
    ]

    assert targets
    assert lost == []


def _points_to_something(folder: Path, target: str) -> bool:
    path, _, name = target.partition("#")
    file = (folder / path).resolve()
    if not file.exists():
        return False
    if not name or file.suffix != ".py":
        return True
    defined = re.compile(rf"^\s*(?:async def|def|class) {re.escape(name)}\b", re.MULTILINE)
    assigned = re.compile(rf"^{re.escape(name)}\b.*=", re.MULTILINE)
    text = file.read_text()
    return bool(defined.search(text) or assigned.search(text))
