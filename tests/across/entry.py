"""Where the program under test begins, read from ``pyproject.toml`` so that no test names a module of it.

What belongs here: the entry point, the code location and its name. What does not: starting anything (``fork_server``).
"""

from __future__ import annotations

import functools
import importlib
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parent.parent.parent


@functools.cache
def _project() -> dict[str, Any]:
    return tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))


def package() -> str:
    """The name of the package."""
    return str(_project()["tool"]["dg"]["project"]["root_module"])


def code_location_module() -> str:
    """The module that Dagster loads."""
    return str(_project()["tool"]["dg"]["project"]["code_location_target_module"])


def code_location_name() -> str:
    """The name under which ``workspace.yaml`` gives that module to the webserver and the daemon."""
    workspace = yaml.safe_load((CHECKOUT / "workspace.yaml").read_text(encoding="utf-8"))
    return str(workspace["load_from"][0]["python_module"]["location_name"])


def main() -> Callable[[], None]:
    """What the installed program ``nethical`` calls."""
    module, _, name = _project()["project"]["scripts"]["nethical"].partition(":")
    found: Callable[[], None] = getattr(importlib.import_module(module), name)
    return found
