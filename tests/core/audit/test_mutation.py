"""Every refusal in the verifier is needed: removing any one of them breaks a test.

The verifier's modules are parsed; each statement that raises or reports a problem is in turn replaced by nothing, in
the running program (by exchanging the function's code), and the attacks and refusals are run until one fails.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import shutil
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from nethical_assets.core.audit import verify_log
from tests.sweeping import COMPLETE

from .attacks import ATTACKS, KEY, assert_detected, make_base, prepare
from .refusals import REFUSALS, Refusal, assert_refused

MODULES = {
    "audit.verify": None,
    "audit.verify_signatures": None,
    "tlog.verify_tiles": None,
    "audit.verify_leaves": None,
    "tlog.merkle": None,
    "tlog.note": None,
    "tlog.checkpoint": None,
    "audit.proofs": {"_check", "_check_inclusion", "check_proof"},
    "audit.events": {"Event.parse", "Event.leaf", "_build", "check_run_id", "_subject"},
    "tlog.tiles": {"decode_entries", "TileFolder.read", "TileFolder.hashes", "TileFolder.entries"},
    "audit.keys": {"read_private_key", "read_verifier_keys", "check_private_key_file"},
}
"""The modules of the verifier; of those that do more, the functions that verification runs."""


class Mutant(NamedTuple):
    module: types.ModuleType
    function: str
    line: int

    def __str__(self) -> str:
        return f"{self.module.__name__.rpartition('.')[2]}.{self.function} line {self.line}"


def is_refusal(node: ast.stmt, function: str) -> bool:
    if isinstance(node, ast.Raise):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        called = ast.unparse(node.value.func)
        return called.endswith(("_problem", "problems.append"))
    if isinstance(node, ast.AugAssign):
        return ast.unparse(node.target).endswith("problems")
    if isinstance(node, ast.Return):
        if function == "verify_prefix_root":
            return isinstance(node.value, ast.List) and bool(node.value.elts)
        return function == "check_private_key_file" and isinstance(node.value, ast.Constant) and bool(node.value.value)
    return False


class Remove(ast.NodeTransformer):
    """Replaces the refusal at one line by nothing (a return by the answer that nothing is wrong)."""

    def __init__(self, line: int) -> None:
        self.line = line

    def visit(self, node: ast.AST) -> ast.AST:
        if not isinstance(node, ast.stmt) or node.lineno != self.line or isinstance(node, ast.FunctionDef | ast.If):
            return self.generic_visit(node)
        harmless = "pass"
        if isinstance(node, ast.Return):
            harmless = "return []" if isinstance(node.value, ast.List) else "return None"
        return ast.copy_location(ast.parse(f"def _():\n {harmless}").body[0].body[0], node)


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.FunctionDef):
                    yield f"{node.name}.{member.name}", member


def mutants() -> list[Mutant]:
    found = []
    for name, only in MODULES.items():
        module = importlib.import_module(f"nethical_assets.core.{name}")
        for function, node in functions(ast.parse(inspect.getsource(module))):
            if only is None or function in only:
                found += [
                    Mutant(module, function, statement.lineno)
                    for statement in ast.walk(node)
                    if isinstance(statement, ast.stmt) and is_refusal(statement, node.name)
                ]
    return found


def code_of(code: types.CodeType, qualified: str) -> types.CodeType:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            if constant.co_qualname == qualified:
                return constant
            if qualified.startswith(constant.co_qualname + "."):
                return code_of(constant, qualified)
    raise LookupError(qualified)


def function_of(mutant: Mutant) -> types.FunctionType:
    owner, _, member = mutant.function.rpartition(".")
    found = vars(getattr(mutant.module, owner))[member] if owner else getattr(mutant.module, member)
    found = found.__func__ if isinstance(found, classmethod) else found
    return found.fget if isinstance(found, property) else found


def mutated(mutant: Mutant) -> types.CodeType:
    tree = Remove(mutant.line).visit(ast.parse(inspect.getsource(mutant.module)))
    return code_of(compile(ast.fix_missing_locations(tree), "mutant", "exec"), mutant.function)


@pytest.fixture(scope="module")
def checks(tmp_path_factory: pytest.TempPathFactory) -> list[Callable[[], None]]:
    """Every attack and refusal as a check that fails when the verifier does not do its duty."""
    folder = tmp_path_factory.mktemp("mutation")
    base = folder / "base"
    make_base(base)
    folders = prepare(base, folder / "attacks")
    found: list[Callable[[], None]] = [lambda refusal=one: assert_refused(refusal, base) for one in REFUSALS]
    found += [lambda attack=one: assert_detected(attack, folders[attack.name]) for one in ATTACKS]
    assert verify_log(base, [KEY]).ok
    return found


@pytest.mark.parametrize("refusal", REFUSALS, ids=[refusal.name for refusal in REFUSALS])
def test_each_part_of_the_verifier_refuses_with_its_own_message(refusal: Refusal, tmp_path: Path) -> None:
    base = tmp_path / "base"
    make_base(base)
    assert_refused(refusal, base)
    shutil.rmtree(base)


@pytest.mark.slow
def test_removing_any_refusal_from_the_verifier_breaks_a_test(checks: list[Callable[[], None]]) -> None:
    """Every third of them, outside a sweep."""
    assert not any(fails(check) for check in checks)
    found = mutants()
    assert len(found) > 90
    survivors = []
    for mutant in found if COMPLETE else found[::3]:
        function = function_of(mutant)
        original = function.__code__
        function.__code__ = mutated(mutant)
        try:
            if not any(fails(check) for check in checks):
                survivors.append(str(mutant))
        finally:
            function.__code__ = original
    assert survivors == []


def fails(check: Callable[[], None]) -> bool:
    try:
        check()
    except Exception:
        return True
    return False
