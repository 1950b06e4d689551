"""Which detector families exist.

What belongs here: finding the modules under ``core.detectors.families``; a family is registered by being there. What
does not: importing them to know their names: the code location is defined from names, summaries and code digests, and
must load without pandas or scikit-learn.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from pathlib import Path
from typing import TYPE_CHECKING, cast

from nethical_assets.core.ground.errors import UnknownFamilyError

if TYPE_CHECKING:
    from nethical_assets.core.detectors.base import DetectorSpec

_PACKAGE = "nethical_assets.core.detectors.families"
_BELONGS = "What belongs here: "
_DOES_NOT = re.compile(r"What does not: .*?\.(?= |$) ?")
_FOLDER = Path(__file__).parent / "families"


def family_names() -> tuple[str, ...]:
    """The registered families, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules([str(_FOLDER)]) if module.name[0] != "_"))


def check_family(name: str) -> str:
    """``name`` itself when it is registered.

    Raises:
        UnknownFamilyError: it is not; the message lists the families.
    """
    if name not in family_names():
        raise UnknownFamilyError(f"unknown family {name!r}: known are {', '.join(family_names())}")
    return name


def family_summary(name: str) -> str:
    """What the family is, for people who use it: the docstring of its module, or of its package, without what tells
    programmers where code belongs."""
    module, package = _FOLDER / f"{check_family(name)}.py", _FOLDER / name / "__init__.py"
    source = (module if module.exists() else package).read_text(encoding="utf-8")
    paragraphs = (ast.get_docstring(ast.parse(source)) or "").split("\n\n")
    return "\n\n".join(_for_users(paragraph) for paragraph in paragraphs)


def _for_users(paragraph: str) -> str:
    text = " ".join(paragraph.split())
    kept = _DOES_NOT.sub("", text.removeprefix(_BELONGS)).strip()
    return text if not text.startswith(_BELONGS) else f"{kept[0].upper()}{kept[1:]}"


def family_module(name: str) -> str:
    """The dotted name of the family's module: from it the import graph gives the code that ``name`` depends on.

    Raises:
        UnknownFamilyError: no such family.
    """
    return f"{_PACKAGE}.{check_family(name)}"


def load_family(name: str) -> DetectorSpec:
    """Import the family's module and return its ``SPEC``.

    Raises:
        UnknownFamilyError: no such family.
    """
    return cast("DetectorSpec", importlib.import_module(family_module(name)).SPEC)
