"""Code digests follow the imports: what is reached counts, and nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from nethical_assets.core.detectors.registry import family_module, family_names
from nethical_assets.core.ground.code import CodeGraph, loaded_code
from tests.sweeping import COMPLETE

CHECKOUT = Path(__file__).resolve().parents[3]
SERVER = """
    import json, sys
    from pathlib import Path
    from nethical_assets.core.detectors.registry import family_module, family_names
    from nethical_assets.core.ground.code import CodeGraph
    from nethical_assets.stages import stage as stages
    from nethical_assets.stages.graph import STAGES

    class Workspace:
        def __init__(self, graph):
            self.graph = graph
        def code_digest(self, *roots, family=None, without=frozenset()):
            found = (*roots, *((family_module(family),) if family else ()))
            self.reached = self.graph.modules(*found, without=without)
            return self.graph.digest(*found, without=without)

    def measured():
        workspace = Workspace(CodeGraph())
        found = {}
        for stage in STAGES:
            for family in family_names() if stage.of_family else ("",):
                digest = stages.code_digest(workspace, stage, family)
                found[f"{stage.name}/{family}".rstrip("/")] = (digest, workspace.reached)
        return found

    for line in sys.stdin:
        print(json.dumps(measured()), flush=True)
"""


class Copy:
    """A copy of the package whose files may be changed, and a process that measures it again and again."""

    def __init__(self, folder: Path) -> None:
        ignored = shutil.ignore_patterns("__pycache__")
        self.package = Path(shutil.copytree(CHECKOUT / "nethical_assets", folder / "nethical_assets", ignore=ignored))
        self.process = subprocess.Popen(
            [sys.executable, "-B", "-c", textwrap.dedent(SERVER)],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self) -> dict[str, tuple[str, list[str]]]:
        """Stage (and family, where it depends on one) -> digest and the modules it reaches."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        found: dict[str, tuple[str, list[str]]] = json.loads(self.process.stdout.readline())
        return found

    def path(self, module: str) -> Path:
        path = self.package.joinpath(*module.split(".")[1:])
        return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")

    def changed_by(self, module: str, addition: str = "# changed\n") -> set[str]:
        """What gets another digest when ``addition`` is appended to a module, which is put back afterwards."""
        return self.changed_by_file(self.path(module), addition)

    def changed_by_file(self, path: Path, addition: str) -> set[str]:
        """The same for any file."""
        before = self.measure()
        content = path.read_text()
        path.write_text(content + addition)
        try:
            after = self.measure()
        finally:
            path.write_text(content)
        return {name for name in before if before[name][0] != after[name][0]}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    made = Copy(tmp_path_factory.mktemp("code"))
    yield made
    made.process.communicate("")


def test_every_stage_has_a_digest_and_reaches_its_own_module_and_no_other_stage(copy: Copy) -> None:
    from nethical_assets.stages.graph import STAGES

    found = copy.measure()
    declaring = {stage.run.__module__ for stage in STAGES}
    for stage in STAGES:
        names = [name for name in found if name.partition("/")[0] == stage.name]
        assert len(names) == (len(family_names()) if stage.of_family else 1)
        for name in names:
            digest, reached = found[name]
            assert digest.startswith("sha256:")
            assert set(reached) & declaring == {stage.run.__module__}, name
            assert "nethical_assets.stages.stage" in reached


@pytest.mark.slow
def test_a_change_of_any_module_that_a_stage_reaches_changes_its_digest_and_no_other(copy: Copy) -> None:
    """Over the modules by which the stages differ, and one that each of them reaches."""
    found = copy.measure()
    reached_by: dict[str, set[str]] = {}
    for name, (_, modules) in found.items():
        for module in modules:
            reached_by.setdefault(module, set()).add(name)
    # One module for each set of stages: changing another one that the same stages reach proves nothing more.
    chosen = {frozenset(names): module for module, names in sorted(reached_by.items())}
    assert len(chosen) > 15
    # One of three, beginning with what the most stages reach.
    order = sorted(chosen, key=lambda names: (-len(names), sorted(names)))
    for names in order if COMPLETE else order[::3]:
        module = chosen[names]
        assert copy.changed_by(module) == set(names), module


@pytest.mark.slow
def test_a_change_of_a_file_that_a_module_reads_counts_as_one_of_its_package(copy: Copy) -> None:
    """Every file of the package that is no module; the ones that lie where no stage reaches a module change nothing."""
    reached_by = copy.measure()
    files = [
        path
        for path in sorted(copy.package.rglob("*"))
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    ]
    assert any(path.name == "card.html" for path in files)
    for path in files:
        package = path.parent
        while not (package / "__init__.py").exists():
            package = package.parent
        name = ".".join(("nethical_assets", *package.relative_to(copy.package).parts))
        own = {one for one, (_, modules) in reached_by.items() if any(m.rpartition(".")[0] == name for m in modules)}
        assert "model_cards" in own, (path, name, own)
        assert copy.changed_by_file(path, "\n/* changed */\n") == own
    # What an editor leaves is not read by anybody.
    litter = copy.package / "core" / "cards" / "templates" / ".card.html.swp"
    litter.write_text("")
    try:
        assert copy.changed_by_file(litter, "changed") == set()
    finally:
        litter.unlink()


@pytest.mark.parametrize(
    "module",
    [
        "nethical_assets.definitions",
        "nethical_assets.command_line.app",
        "nethical_assets.assets.factory",
        "nethical_assets.sensors.code",
        "nethical_assets.orchestration.cycle",
        "nethical_assets.operations.verification",
    ],
)
def test_what_no_stage_reaches_changes_nothing(copy: Copy, module: str) -> None:
    assert copy.changed_by(module) == set()


def test_a_family_s_code_and_helpers_are_in_its_own_digests_only(copy: Copy) -> None:
    families = {name: set(CodeGraph().modules(family_module(name))) for name in family_names()}
    for family, modules in families.items():
        others = set().union(*(found for name, found in families.items() if name != family))
        own = {module for module in modules - others if ".families." in module}
        assert family_module(family) in own
        for module in own:
            changed = copy.changed_by(module)
            assert changed and all(name.endswith(f"/{family}") for name in changed), module
            assert f"models/{family}" in changed


def test_an_import_for_type_checkers_does_not_count_and_one_inside_a_function_does(copy: Copy) -> None:
    target, base = "nethical_assets.command_line.output", copy.measure()
    path = copy.path("nethical_assets.stages.splitting")
    content = path.read_text()
    name = "splits"
    try:
        path.write_text(content + f"\nif TYPE_CHECKING:\n    from {target} import print_json\n")
        typed = copy.measure()
        path.write_text(content + f"\ndef _late() -> None:\n    from {target} import print_json\n")
        late = copy.measure()
    finally:
        path.write_text(content)
    assert target not in base[name][1]
    assert target not in typed[name][1]
    assert target in late[name][1]


def test_a_new_family_has_a_digest_and_changes_no_other(copy: Copy) -> None:
    before = copy.measure()
    path = copy.package / "core" / "detectors" / "families" / "newcomer.py"
    path.write_text('"""A new family."""\n')
    try:
        after = copy.measure()
    finally:
        path.unlink()
    assert {name.partition("/")[2] for name in after.keys() - before.keys()} == {"newcomer"}
    assert {name: after[name] for name in before} == before


def test_a_moved_checkout_has_the_same_digests(copy: Copy) -> None:
    here = CodeGraph()
    for name, (digest, modules) in copy.measure().items():
        if "/" not in name:
            parts = ("stage", "shown", "content_checks", "cohort_evidence", "stages")
            (root,) = [module for module in modules if module.startswith("nethical_assets.stages.")
                       and module.rpartition(".")[2] not in parts]  # fmt: skip
            others = frozenset(set(here.modules(root)) - set(modules))
            assert here.digest(root, without=others) == digest, name


def test_a_root_outside_the_package_is_refused() -> None:
    with pytest.raises(ValueError, match="json is not a module of nethical_assets"):
        CodeGraph().digest("json")


def test_the_graph_of_a_process_is_built_once() -> None:
    assert loaded_code() is loaded_code()
