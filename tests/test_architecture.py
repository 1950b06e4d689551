"""The rules of the code's shape, checked on the code itself."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

from nethical_assets.core.alerts import KINDS
from nethical_assets.core.audit.events import EventType
from nethical_assets.stages import checking, measuring
from nethical_assets.stages.graph import STAGES
from nethical_assets.stages.stage import Stage

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


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def test_core_decides_without_the_orchestrator() -> None:
    found = {}
    for path in MODULES:
        if "core" not in path.relative_to(PACKAGE).parts:
            continue
        names = set(imported(parsed(path)))
        outside = {name for name in names if name.startswith("nethical_assets") and "nethical_assets.core" not in name}
        outside |= top_level(iter(names)) & {"dagster"}
        if outside:
            found[relative(path)] = sorted(outside)
    assert found == {}, "core imports only core"


def test_nothing_is_pickled() -> None:
    found = {}
    for path in MODULES:
        tree = parsed(path)
        wrong = top_level(imported(tree)) & UNSAFE_MODULES
        named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        named |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg}
        wrong |= named & (UNSAFE_CALLS - {"allow_pickle"})
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                refused = isinstance(node.value, ast.Constant) and node.value.value is False
                wrong |= set() if refused else {"allow_pickle"}
        if wrong:
            found[relative(path)] = sorted(wrong)
    assert found == {}


def test_a_module_says_what_belongs_there_and_what_does_not() -> None:
    found = {}
    for path in MODULES:
        if path.name == "__init__.py" and not path.read_text().strip():
            continue
        docstring = " ".join((ast.get_docstring(parsed(path)) or "").split())
        required = () if path.name in ("__init__.py", *STANDALONE) else ("What belongs here", "What does not")
        missing = [phrase for phrase in required if phrase not in docstring]
        if not docstring or missing:
            found[relative(path)] = missing or ["a docstring"]
    assert found == {}


def test_a_module_can_be_read_in_one_sitting() -> None:
    lines = {relative(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {path: number for path, number in lines.items() if number > MAXIMUM_LINES} == {}


def test_no_module_is_a_drawer_for_everything() -> None:
    assert [relative(path) for path in MODULES if re.fullmatch(r"(utils?|helpers?|misc|common)\.py", path.name)] == []


def test_imports_form_no_circle_not_even_inside_functions() -> None:
    """An import inside a function defers weight and never hides a circle; those for type checkers do not count."""
    graph = grimp.build_graph("nethical_assets", exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


DECLARED = {
    stage.name: stage
    for stage in (*STAGES, *vars(checking).values(), *vars(measuring).values())
    if isinstance(stage, Stage)
}
ORDINARY: dict[str, tuple[str, ...]] = {
    # A check's own name.
    "core/quality/near_duplicates.py": ("near_duplicates",),
    "core/quality/report.py": ("near_duplicates",),
    "core/alerts/checks.py": ("near_duplicates",),
    # Commands and what they print.
    "command_line/app.py": ("models", "quarantine"),
    "command_line/console.py": ("models",),
    "command_line/models.py": ("models",),
    # Names of digests on a card, which is read without the platform.
    "core/cards/annex_iv.py": ("splits", "screened"),
    # The names that a verifier of the log has to know: core does not know the graph, and the declarations take them.
    "core/audit/subjects.py": ("datasets", "drift_reports", "model_cards", "models", "raw"),
    # A layout of pixels.
    "core/ground/drawing.py": ("raw",),
    # Where screening decisions, and what rules read, have the same word.
    "core/governance/rules.py": ("quarantine", "raw"),
    # The name of a change, and a folder.
    "home/changes.py": ("quarantine",),
    "stages/carding.py": ("models/store/",),
}
"""Module -> text that is equal to a stage's name, or begins with it, and is not about the stage."""


def typed_stage_names(path: Path) -> Iterator[str]:
    """Constants that are a stage's name or ``<stage>/...``; keys of documents and parts of paths are not."""
    tree = parsed(path)
    innocent: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            innocent.add(id(node.value))
        elif isinstance(node, ast.Dict):
            innocent |= {id(key) for key in node.keys}
        elif isinstance(node, ast.Subscript):
            innocent.add(id(node.slice))
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            innocent |= {id(node.left), id(node.right)}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            innocent |= {id(argument) for argument in node.args}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("Stage", "_quality"):
            own = [*node.args[:1], *(keyword.value for keyword in node.keywords if keyword.arg == "name")]
            innocent |= {id(argument) for argument in own}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in innocent:
            stage, slash, _ = node.value.partition("/")
            yield from [node.value] if stage in DECLARED and (slash or node.value == stage) else []


def test_a_stage_s_name_is_typed_in_its_declaration_only() -> None:
    found = {path.relative_to(PACKAGE).as_posix(): sorted(set(typed_stage_names(path))) for path in MODULES}
    wrong = {path: [name for name in names if name not in ORDINARY.get(path, ())] for path, names in found.items()}
    assert {path: names for path, names in wrong.items() if names} == {}
    unneeded = {path: sorted(set(names) - set(found.get(path, ()))) for path, names in ORDINARY.items()}
    assert {path: names for path, names in unneeded.items() if names} == {}, "no longer there: remove from ORDINARY"


MUTATORS = {
    "set_champion", "set_candidate", "set_archived", "attach_card", "remove_candidate", "remove_archived",
    "remove_unreferenced", "set_newest", "set_confirmed", "decide", "in_force_path", "carry_out",
}  # fmt: skip
"""Whatever moves a pointer, a row's decision, the newest snapshot, the state of an issue or what is in force."""
CHANGES = "home/changes.py"


def test_state_is_changed_by_acts_only() -> None:
    found = {}
    for path in MODULES:
        if path.relative_to(PACKAGE).as_posix() == CHANGES:
            continue
        wrong = set()
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
                owner = ast.unparse(node.func.value)
                if owner != "self":
                    wrong.add(ast.unparse(node.func))
            if isinstance(node, ast.Call) and "write" in ast.unparse(node.func):
                wrong |= {ast.unparse(node) for argument in node.args if "in_force_path" in ast.unparse(argument)}
        if wrong:
            found[relative(path)] = sorted(wrong)
    assert found == {}, f"only {CHANGES} changes state, as the second half of an act"


def test_stages_know_each_other_by_their_declarations_only() -> None:
    """What another stage's module computes would be in no code digest: a stage leaves those modules out of its own."""
    declaring = {stage.run.__module__ for stage in DECLARED.values()}
    found = {}
    for path in sorted((PACKAGE / "stages").glob("*.py")):
        own = f"nethical_assets.stages.{path.stem}"
        if own not in declaring:
            continue
        tree = parsed(path)
        wrong = [
            f"{node.module}.{alias.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module in declaring - {own}
            for alias in node.names
            if not alias.name.isupper() or node not in tree.body
        ]
        wrong += [f"import {name}" for name in imported_whole(tree) if name in declaring]
        if wrong:
            found[relative(path)] = sorted(wrong)
    assert found == {}, "upper-case names, imported at module level"


def imported_whole(tree: ast.AST) -> Iterator[str]:
    """Modules that are imported as such, and those taken out of their package by name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "nethical_assets.stages":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_contracts_of_the_house_are_kept() -> None:
    result = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=CHECKOUT,
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("module", ["orchestration.build", "definitions", "home.settings", "command_line.app"])
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


def test_every_event_type_and_kind_of_alert_is_used() -> None:
    """A type that nothing writes, or a kind that nothing files, promises what the platform does not do."""
    declared = {"events.py", "kinds.py", "state.py"}
    text = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py") if path.name not in declared)
    assert [kind.name for kind in EventType if f"EventType.{kind.name}" not in text] == []
    assert [name for name in KINDS if f'"{name}"' not in text] == []


def test_no_two_public_classes_share_a_name() -> None:
    places: dict[str, list[str]] = {}
    for path in MODULES:
        for node in parsed(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(relative(path))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_subject_is_cut_through_three_layers() -> None:
    """By its files' names; the command line has a file for each subject of the errands that it calls."""
    layers: dict[str, set[str]] = {}
    for path in MODULES:
        layer = path.relative_to(PACKAGE).parts[0]
        if path.name != "__init__.py" and layer != "command_line":
            layers.setdefault(path.name, set()).add(layer)
    assert {name: found for name, found in layers.items() if len(found) > 2} == {}
