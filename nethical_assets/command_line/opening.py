"""The settings and stores that commands work on, imported when a command runs.

What belongs here: opening them. What does not: any command. Help and usage errors need neither, and cost no more than
the argument parser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def open_workspace(settings: Settings, run_id: str, options: CycleOptions | None = None) -> Workspace:
    """The stores of a home, with what they record under ``run_id``."""
    from nethical_assets.home.workspace import Workspace

    return Workspace(settings, options or CycleOptions(), run_id)
