"""The lock file is complete: it holds every requirement of everything it holds, so that set-up resolves nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")


@dataclass(frozen=True)
class Locked:
    """One pin: its requirement line and how many hashes stand below it."""

    requirement: Requirement
    hashes: int


def locked() -> list[Locked]:
    text = (CHECKOUT / "requirements.lock").read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=[A-Za-z0-9])", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    return [
        Locked(Requirement(block.split("\\")[0].strip()), block.count("--hash=sha256:"))
        for block in blocks
        if block.strip()
    ]


def environment(python: str) -> dict[str, str]:
    return {**default_environment(), "python_version": python, "python_full_version": f"{python}.0", "extra": ""}


def in_force(python: str) -> dict[str, Requirement]:
    """The pins that a Python version installs, by name."""
    return {
        canonicalize_name(one.requirement.name): one.requirement
        for one in locked()
        if one.requirement.marker is None or one.requirement.marker.evaluate(environment(python))
    }


def requirements_of(pin: Requirement, python: str) -> Iterator[Requirement]:
    """What an installed package asks for, with the extras of its pin."""
    for text in distribution(pin.name).requires or ():
        wanted = Requirement(text)
        variants: list[Mapping[str, str]] = [{**environment(python), "extra": extra} for extra in ("", *pin.extras)]
        if wanted.marker is None or any(wanted.marker.evaluate(dict(variant)) for variant in variants):
            yield wanted


def test_every_pin_is_exact_and_has_hashes() -> None:
    wrong = [
        str(one.requirement)
        for one in locked()
        if one.hashes == 0 or [clause.operator for clause in one.requirement.specifier] != ["=="]
    ]
    assert wrong == []
    assert len(locked()) > 100


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_holds_every_requirement_of_every_package_it_holds(python: str) -> None:
    pins = in_force(python)
    missing = []
    for name, pin in pins.items():
        try:
            wanted = list(requirements_of(pin, python))
        except PackageNotFoundError:
            # Installed for another version of Python only: what it asks for is not known here.
            assert pin.marker is not None, f"{name} is locked for every Python, and is not installed"
            continue
        for requirement in wanted:
            found = pins.get(canonicalize_name(requirement.name))
            version = "" if found is None else next(iter(found.specifier)).version
            if found is None or not requirement.specifier.contains(version, prereleases=True):
                missing.append(f"{name} asks for {requirement}, the lock has {found}")
            elif not set(requirement.extras) <= set(found.extras):
                missing.append(f"{name} asks for the extras of {requirement}, the lock has {found}")
    assert missing == []


def test_what_the_project_asks_for_is_in_the_lock() -> None:
    import tomllib

    document = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    texts = (*document["project"]["dependencies"], *document["dependency-groups"]["dev"])
    wanted = [Requirement(text) for text in texts]
    pins = in_force("3.11")
    missing = [
        str(requirement)
        for requirement in wanted
        if (found := pins.get(canonicalize_name(requirement.name))) is None
        or not requirement.specifier.contains(next(iter(found.specifier)).version, prereleases=True)
    ]
    assert missing == []


def test_set_up_installs_the_lock_and_resolves_nothing() -> None:
    lines = (CHECKOUT / "Makefile").read_text(encoding="utf-8").splitlines()
    installs = [line for line in lines if " install " in line]
    assert installs
    assert all("--no-deps" in line for line in installs)
    assert any("--require-hashes -r requirements.lock" in line for line in installs)
    assert any(line.strip().endswith("$(PIP) check") for line in lines)
