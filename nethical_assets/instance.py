"""The Dagster instance below NETHICAL_HOME.

What belongs here: preparing the folder that DAGSTER_HOME names, and opening the instance. What does not: running jobs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from nethical_assets.core.errors import SettingsError
from nethical_assets.settings import PROJECT_ROOT, Settings


def prepare_home(settings: Settings) -> Path:
    """Make sure that the instance's folder exists and reads the project's ``dagster.yaml``; returns the folder.

    Raises:
        SettingsError: the home cannot be written.
    """
    home = settings.home / "dagster"
    link = home / "dagster.yaml"
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.unlink(missing_ok=True)
            try:
                link.symlink_to(PROJECT_ROOT / "dagster.yaml")
            except OSError:
                shutil.copyfile(PROJECT_ROOT / "dagster.yaml", link)
    except OSError as error:
        raise SettingsError(
            f"NETHICAL_HOME = {str(settings.home)!r} cannot be written ({error.strerror}); name another folder"
        ) from None
    return home


@contextlib.contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The instance of this home, also for code that asks for it through DAGSTER_HOME."""
    os.environ["DAGSTER_HOME"] = str(prepare_home(settings))
    with dg.DagsterInstance.get() as instance:
        yield instance
