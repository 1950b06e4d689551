"""What was answered, on its way into the inference log, before it is answered.

What belongs here: handing rows to this process's segment, from any thread, and refusing what cannot be written. What
does not: the segment's form (``core.drift.segments``), or what becomes of it later.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from nethical_assets.core.drift.segments import FeedbackRow, LoggedRow, LoggedRows, SegmentWriter
from nethical_assets.core.ground.errors import SegmentError
from nethical_assets.home.settings import Settings
from nethical_assets.home.stores import segment_folder
from nethical_assets.serving.refusals import unavailable

_LOGGER = logging.getLogger(__name__)


class AnswerLog:
    """The segment of this process."""

    def __init__(self, settings: Settings) -> None:
        """Raises ``OSError`` where nothing can be written."""
        segment_folder(settings.home).mkdir(parents=True, exist_ok=True)
        serving = settings.file.serving
        self._retry_after = serving.retry_after_seconds
        self._writer = SegmentWriter(
            segment_folder(settings.home),
            sync_seconds=serving.log_sync_seconds,
            rotate_seconds=serving.log_rotate_seconds,
        )
        self._failing = False

    def append(self, rows: Sequence[LoggedRow | FeedbackRow] | LoggedRows) -> None:
        """Have the kernel know the rows.

        Raises:
            RefusedError: 503; what is not in the log is not answered as scored.
        """
        try:
            self._writer.append(rows)
        except SegmentError as error:
            if not self._failing:
                _LOGGER.error("%s", error)
            self._failing = True
            raise unavailable("log_unavailable", "the inference log cannot be written", self._retry_after) from None
        self._failing = False

    def close(self) -> None:
        """Sync and end."""
        self._writer.close()
