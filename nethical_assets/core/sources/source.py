"""Sources of datasets: what a source is asked and what it answers.

What belongs here: the contract between a source and ``refresh``. What does not: the sources themselves
(``kaggle_source``, ``mirror_source``), reading the fetched files (``core.reading``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nethical_assets.core.ground.errors import SourceUnavailableError
from nethical_assets.core.rows.catalog import DatasetEntry

UNPACKED_PREFIX = "unpacked-"
"""How the name of a folder begins that a source unpacked files into."""


class CredentialsError(SourceUnavailableError):
    """The source wants other credentials, or terms to be accepted."""


class NotThereError(SourceUnavailableError):
    """The source answers, and has no such dataset."""


class UnusableContentError(SourceUnavailableError):
    """The source has the dataset, in a form that is refused: a damaged archive, a link that leads elsewhere."""


@dataclass(frozen=True)
class UpstreamState:
    """What identifies one state of a dataset at its source, as far as the source says so.

    Attributes:
        etag: the entity tag of the archive (RFC 9110, 8.8.3), or the digest of a mirrored folder.
        last_modified: the ``Last-Modified`` date as sent.
        version: the dataset's version at the source.
    """

    etag: str | None = None
    last_modified: str | None = None
    version: str | None = None

    def same_as(self, other: UpstreamState | None) -> bool:
        """Whether both certainly name the same bytes: equal tags, or equal dates where one has no tag."""
        if other is None:
            return False
        if self.etag is not None and other.etag is not None:
            return self.etag == other.etag
        return self.last_modified is not None and self.last_modified == other.last_modified


@dataclass(frozen=True)
class FetchedFiles:
    """A dataset's files in a local folder.

    ``temporary``: the folder was made for this fetch, and whoever reads it removes it. ``licence`` and
    ``upstream_date`` (ISO 8601) are what the source says, when it does.
    """

    folder: Path
    upstream: UpstreamState
    temporary: bool
    licence: str | None = None
    upstream_date: str | None = None


@dataclass(frozen=True)
class Unchanged:
    """The source still has what the caller knows; nothing was downloaded."""

    upstream: UpstreamState


class Source(Protocol):
    """Where datasets come from."""

    @property
    def name(self) -> str:
        """``kaggle`` or ``mirror``; recorded in the snapshot."""

    def fetch(self, entry: DatasetEntry, folder: Path, known: UpstreamState | None) -> FetchedFiles | Unchanged:
        """Get the files of ``entry``, using ``folder`` for whatever has to be kept on disk meanwhile.

        ``Unchanged`` is answered only when ``known`` is given and still holds.

        Raises:
            SourceUnavailableError: the source cannot serve this dataset now; one line says why, and the type which kind
                of reason it is.
            OSError: the local disk is full or not writable.
        """
