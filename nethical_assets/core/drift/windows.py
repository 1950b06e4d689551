"""The windows that a family is watched in: half-open, of equal length, aligned to midnight UTC.

What belongs here: which window a moment is in, and the key by which windows are known. What does not: what is counted
or judged in them (``sketches``, ``watch``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nethical_assets.core.ground.errors import DatasetError

KEY_FORMAT = "%Y-%m-%dT%H:%M"
"""The start of a window in UTC: its key, by which partitions are named."""


@dataclass(frozen=True, order=True)
class Window:
    """The time from ``start`` to before ``end``, both in UTC; windows that follow each other touch."""

    start: datetime
    end: datetime

    @classmethod
    def at(cls, moment: datetime, hours: int) -> Window:
        """The window of ``hours``, a divisor of 24, that holds ``moment``.

        Raises:
            DatasetError: the moment has no time zone.
        """
        if moment.tzinfo is None:
            raise DatasetError(f"{moment.isoformat()} has no time zone; give a time in UTC")
        utc = moment.astimezone(UTC)
        start = utc.replace(hour=utc.hour // hours * hours, minute=0, second=0, microsecond=0)
        return cls(start, start + timedelta(hours=hours))

    @classmethod
    def from_key(cls, key: str, hours: int) -> Window:
        """The window of ``hours`` whose ``key`` this is.

        Raises:
            DatasetError: it is not the start of such a window.
        """
        try:
            start = datetime.strptime(key, KEY_FORMAT).replace(tzinfo=UTC)
        except ValueError:
            start = None
        window = None if start is None else cls.at(start, hours)
        if window is None or window.start != start or window.key != key:
            raise DatasetError(
                f"window {key!r}: not the start of a window of {hours} hours in UTC, written as 2026-01-31T00:00"
            )
        return window

    @property
    def key(self) -> str:
        """The start as ``KEY_FORMAT``."""
        return self.start.strftime(KEY_FORMAT)

    def before(self) -> Window:
        """The window that ends where this one begins."""
        return Window(self.start - (self.end - self.start), self.start)
