"""The rules of the code's shape, checked on the code itself."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGE = CHECKOUT / "nethical_assets"
HEAVY = ("sklearn", "scipy", "matplotlib", "kaggle", "pandas", "pandera", "pyarrow", "numpy", "skops", "onnxruntime")
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
UNSAFE_CALLS = {"read_pickle", "to_pickle", "allow_pickle"}
MAXIMUM_LINES = 450
STANDALONE = ("bundle_verifier.py",)
"""Copied out of the package for auditors: its docstring is the manual of that copy."""
MODULES = sorted(PACKAGE.rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


def imported(tree: ast.AST) -> Iterator[str]:
    """The name of every module that is imported anywhere in ``tree``, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            argument = node.args[0]
            yield str(argument.value) if isinstance(argument, ast.Constant) else ""


def top_level(names: Iterator[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("module", [path for path in MODULES if "core" in path.parts], ids=relative)
def test_core_decides_without_the_orchestrator(module: Path) -> None:
    names = set(imported(ast.parse(module.read_text())))
    assert "dagster" not in top_level(iter(names))
    outside = {name for name in names if name.startswith("nethical_assets") and "nethical_assets.core" not in name}
    assert outside == set(), "core imports only core"


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_nothing_is_pickled(module: Path) -> None:
    tree = ast.parse(module.read_text())
    assert top_level(imported(tree)) & UNSAFE_MODULES == set()
    named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    named |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg}
    assert named & (UNSAFE_CALLS - {"allow_pickle"}) == set()
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant)
            assert node.value.value is False


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_a_module_says_what_belongs_there_and_what_does_not(module: Path) -> None:
    text = module.read_text()
    if module.name == "__init__.py" and not text.strip():
        return
    docstring = " ".join((ast.get_docstring(ast.parse(text)) or "").split())
    assert docstring, "has no docstring"
    if module.name not in ("__init__.py", *STANDALONE):
        assert "What belongs here" in docstring
        assert "What does not" in docstring


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_a_module_can_be_read_in_one_sitting(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= MAXIMUM_LINES


def test_no_module_is_a_drawer_for_everything() -> None:
    assert [relative(path) for path in MODULES if re.fullmatch(r"(utils?|helpers?|misc|common)\.py", path.name)] == []


@pytest.mark.parametrize("module", ["build", "definitions", "settings", "cli"])
def test_the_definitions_are_imported_without_heavy_libraries(module: str) -> None:
    code = "import importlib, json, sys; importlib.import_module(sys.argv[1]); print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code, f"nethical_assets.{module}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=CHECKOUT,
    )
    loaded = {name.partition(".")[0] for name in json.loads(result.stdout.splitlines()[-1])}
    assert loaded & set(HEAVY) == set()
    assert "nethical_assets" in loaded


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], capture_output=True, text=True, timeout=30, check=False, cwd=CHECKOUT
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [CHECKOUT / name for name in listed.stdout.split("\0") if name]


def test_tracked_files_name_no_machine_and_no_registry() -> None:
    """Paths of one machine and addresses of a package registry work in one place only."""
    forbidden = re.compile(
        "|".join(
            [
                r"(?<![\w.])/(?:root|home/[a-z]\w*|Users/\w+)/",
                r"(?<![\w./])/" + r"work/\w",
                r"(?<![\w.])/tmp/w" + r"/",
                r"\b(?:index|extra-index|find-links)[-_]?url\b\s*[=:]?\s*\S*http",
                r"--(?:extra-)?index-url",
                r"https?://[^\s\"']*/(?:simple|pypi)/",
                r"https?://(?:files\.)?python" + r"hosted\.org",
            ]
        )
    )
    found = []
    for path in tracked_files():
        if path == Path(__file__) or not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{relative(path)}:{number}: {match[0]}"
            for number, line in enumerate(text.splitlines(), 1)
            if (match := forbidden.search(line))
        ]
    assert found == []
