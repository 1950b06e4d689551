"""What was answered, on its way into the inference log, before it is answered.

What belongs here: handing rows to this process's segment, from any thread, and refusing what cannot be written. What
does not: the segment's form (``core.drift.segments``), or what becomes of it later.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

from nethical_assets.core.drift.segments import FeedbackRow, LoggedRow, SegmentWriter
from nethical_assets.home.settings import Settings
from nethical_assets.serving.refusals import unavailable

_LOGGER = logging.getLogger(__name__)


def segments_folder(home: Path) -> Path:
    """Where the gateway's processes write, one file each."""
    return home / "serving" / "segments"


class AnswerLog:
    """The segment of this process."""

    def __init__(self, settings: Settings) -> None:
        """Raises ``OSError`` where nothing can be written."""
        serving = settings.file.serving
        self._retry_after = serving.retry_after_seconds
        self._guard = threading.Lock()
        self._writer = SegmentWriter(
            segments_folder(settings.home),
            sync_seconds=serving.log_sync_seconds,
            rotate_seconds=serving.log_rotate_seconds,
        )
        self._failing = False

    def append(self, rows: Sequence[LoggedRow | FeedbackRow]) -> None:
        """Have the kernel know the rows.

        Raises:
            RefusedError: 503; what is not in the log is not answered as scored.
        """
        try:
            with self._guard:
                self._writer.append(rows)
        except OSError as error:
            if not self._failing:
                _LOGGER.error("the inference log cannot be written: %s", error.strerror or type(error).__name__)
            self._failing = True
            raise unavailable("log_unavailable", "the inference log cannot be written", self._retry_after) from None
        self._failing = False

    def close(self) -> None:
        """Sync and end."""
        with self._guard:
            self._writer.close()
