"""Fixtures of the tests across stores: homes with a past, made once and copied.

What belongs here: what several files of this folder share. What does not: anything that one file alone needs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.across.platform import ForkServer, Home, write_records
from tests.conftest import Once
from tests.tiny_mirror import add_private_key, build_mirror, connections

Copy = Callable[..., Home]


@pytest.fixture
def fresh(server: ForkServer, tmp_path: Path) -> Home:
    """A home in which nothing ran, without a mirror."""
    return Home(server, tmp_path / "fresh")


@pytest.fixture(scope="session")
def real(server: ForkServer, once: Once, mirror: Path) -> Home:
    """A home with a logistic champion trained on the mirror's rows. Not to be changed: copy it."""

    def make(folder: Path) -> None:
        document = Home(server, folder, mirror).run("--source", "mirror").ok().document
        assert document["families"]["logistic"]["verdict"] == "promoted", document
        assert document["families"]["logistic"]["source"] == "mirror"

    return Home(server, once("real", make), mirror)


@pytest.fixture(scope="session")
def keeping(server: ForkServer, once: Once) -> Home:
    """A home whose prompts are from a mirror with a private key in one of them, which is kept out of training. Not to
    be changed: copy it."""

    def make(folder: Path) -> None:
        own = add_private_key(build_mirror(folder / "mirror", rows=450))
        Home(server, folder, own).run("--families", "prompt_injection", "--source", "mirror").ok()

    folder = once("keeping", make)
    return Home(server, folder, folder / "mirror")


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """Copy a home into this test's folder; keywords replace fields of it, such as its mirror or settings."""
    numbers = iter(range(100))

    def copied(home: Home, **changes: Any) -> Home:
        return home.copy(tmp_path / f"copy{next(numbers)}", **changes)

    return copied


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw records that a logistic champion can score."""
    path = tmp_path_factory.mktemp("records") / "records.csv"
    return write_records(path, connections(120, np.random.default_rng(21)))
