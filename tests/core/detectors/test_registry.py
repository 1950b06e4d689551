"""The register of families: names, summaries and digests without heavy imports."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from nethical_assets.core.detectors.registry import (
    check_family,
    family_module,
    family_names,
    family_summary,
    load_family,
)
from nethical_assets.core.ground.errors import UnknownFamilyError

CHECKOUT = Path(__file__).resolve().parents[3]
HEAVY = ("pandas", "numpy", "sklearn", "scipy", "pyarrow", "dagster")


def run_python(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=CHECKOUT).stdout


def test_the_families_of_the_specification_are_registered() -> None:
    names = family_names()
    assert {"anomaly", "correlation", "heuristic", "logistic", "prompt_injection"} <= set(names)
    assert list(names) == sorted(set(names))
    assert not any(name.startswith("_") for name in names)


@pytest.mark.parametrize("family", family_names())
def test_a_family_s_module_declares_it(family: str) -> None:
    spec = load_family(family)
    assert spec.family == family
    assert spec.limits
    assert spec.intended_use
    summary = family_summary(family)
    assert summary.endswith(".") and all(part[0].isupper() for part in summary.split("\n\n"))
    assert "belongs here" not in summary and "does not:" not in summary, "that is for programmers"


def test_names_summaries_and_digests_need_no_heavy_import() -> None:
    code = """
        import json, sys
        from nethical_assets.core.detectors.registry import family_module, family_names, family_summary
        from nethical_assets.core.ground.code import CodeGraph
        for name in family_names():
            family_summary(name), CodeGraph().digest(family_module(name))
        print(json.dumps([module for module in sys.argv[1:] if module in sys.modules]))
    """
    assert json.loads(run_python(code, *HEAVY)) == []


@pytest.mark.parametrize("name", ["transformer", "", "_signals", "../base", "Logistic"])
def test_an_unknown_family_is_one_line_that_lists_the_known(name: str) -> None:
    for ask in (check_family, load_family, family_module, family_summary):
        with pytest.raises(UnknownFamilyError) as caught:
            ask(name)
        assert str(caught.value) == f"unknown family {name!r}: known are {', '.join(family_names())}"
        assert caught.value.exit_code == 2
