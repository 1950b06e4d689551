"""Fingerprints that a test trusts, where the product asks the audit log.

What belongs here: that stand-in. What does not: the product's own (``core.lineage.pins``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class GivenPins:
    """Fingerprints that a caller trusts; the first key is added when it is first used."""

    digests: list[str] = field(default_factory=list)

    def pinned(self) -> Sequence[str]:
        """The fingerprints, oldest first."""
        return self.digests

    def pin(self, digest: str) -> None:
        """Trust the first key."""
        self.digests.append(digest)
