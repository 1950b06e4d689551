"""Which reading a snapshot was made by.

What belongs here: the version, which whoever only asks whether a snapshot is still good needs without the readers. What
does not: reading (``readers``).
"""

from __future__ import annotations

READING_VERSION = 3
"""Raised whenever the same files would give another table: snapshots read by another version are read again."""
