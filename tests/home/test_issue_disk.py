"""A full disk is told once, by what stops at it; that the log takes nothing for another reason is told at once."""

from __future__ import annotations

import logging

import pytest

from nethical_assets.core.ground.errors import AuditError, NethicalError
from nethical_assets.home.issues import _level


def raised(error: Exception, cause: Exception | None) -> Exception:
    try:
        try:
            if cause is not None:
                raise cause
        except OSError:
            raise error from None
        raise error
    except (NethicalError, OSError) as found:
        return found


@pytest.mark.parametrize(
    ("error", "cause", "level"),
    [
        (AuditError("not extended"), OSError(28, "No space left on device"), logging.INFO),
        (OSError(28, "No space left on device"), None, logging.INFO),
        (AuditError("the checkpoint is damaged"), None, logging.WARNING),
    ],
)
def test_how_loud_it_is_that_the_log_waits(error: Exception, cause: Exception | None, level: int) -> None:
    assert _level(raised(error, cause)) == level
