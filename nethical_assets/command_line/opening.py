"""The settings and stores that commands work on, imported when a command runs.

What belongs here: opening them. What does not: any command. Help and usage errors need neither, and cost no more than
the argument parser.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nethical_assets.command_line.output import errors, say
from nethical_assets.home.options import CycleOptions

if TYPE_CHECKING:
    from nethical_assets.home.settings import Settings
    from nethical_assets.home.workspace import Workspace


def load_settings() -> Settings:
    """The settings of this process.

    Raises:
        SettingsError: a file or a variable is not valid.
    """
    from nethical_assets.home import settings

    return settings.load_settings()


def load_home(settings: Settings | None = None) -> Settings:
    """The settings of this process, unless they were loaded, for a command that needs what is in the home already.

    Raises:
        SettingsError: a file or a variable is not valid.
        NoHomeError: there is no platform in the home.
    """
    from nethical_assets.home.presence import check_home

    settings = settings or load_settings()
    check_home(settings)
    return settings


def load_home_to_show() -> Settings:
    """As ``load_home``; in a fresh checkout, where no home is named, it only says that nothing is there yet.

    Raises:
        SettingsError: a file or a variable is not valid.
        NoHomeError: NETHICAL_HOME names a home, and there is no platform in it.
    """
    from nethical_assets.home.presence import NoHomeError, check_home

    settings = load_settings()
    try:
        check_home(settings)
    except NoHomeError as error:
        if os.environ.get("NETHICAL_HOME"):
            raise
        say(errors, f"nethical: {error}")
    return settings


def open_workspace(settings: Settings, run_id: str, options: CycleOptions | None = None) -> Workspace:
    """The stores of a home, with what they record under ``run_id``."""
    from nethical_assets.home.workspace import Workspace

    return Workspace(settings, options or CycleOptions(), run_id)
