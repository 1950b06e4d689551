"""Whether there is a platform in a folder.

What belongs here: telling a home from a folder that is none, or that does not exist. What does not: making one, which
whatever writes first does, or whether what is in it is sound.
"""

from __future__ import annotations

from nethical_assets.core.ground.errors import SettingsError
from nethical_assets.home.settings import Settings

_SIGNS = {
    "": ("cycle.lock",),
    "dagster": ("dagster.yaml",),
    "audit": ("checkpoint", "keys", "pending"),
    "data": ("objects", "records", "snapshots"),
    "models": ("current", "store"),
    "alerts": ("issues.sqlite",),
}
"""What the commands that begin a home write first, and what somebody has who was given a part of one, by folder."""


class NoHomeError(SettingsError):
    """There is no platform where one is looked for."""


def check_home(settings: Settings) -> None:
    """Make sure that there is a platform; nothing is written.

    Raises:
        NoHomeError: there is none, or nothing but the folder.
    """
    if not any((settings.home / folder / sign).exists() for folder, signs in _SIGNS.items() for sign in signs):
        raise NoHomeError(
            f"no platform at {str(settings.home)!r}: run `nethical run` first, or set NETHICAL_HOME to where it is"
        )
