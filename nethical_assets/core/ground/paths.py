"""Paths that environment variables name.

What belongs here: what a shell would have done to them. What does not: which variables there are, or what is at a path.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nethical_assets.core.ground.errors import SettingsError


def path_named_by(variable: str, environment: Mapping[str, str]) -> Path | None:
    """The path in an environment variable, None where it is unset or empty; ``~`` and ``~name`` are home folders.

    A shell expands them only where they are not quoted, and a ``.env`` or unit file never does.

    Raises:
        SettingsError: nobody of that name has a home folder.
    """
    value = environment.get(variable)
    if not value:
        return None
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise SettingsError(
            f"{variable} = {value!r}: there is no such home folder; name the folder by its whole path"
        ) from None
