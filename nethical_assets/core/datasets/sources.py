"""Sources of datasets: what a source is, what it answers, and the mirror folder.

What belongs here: the contract between a source and ``refresh``, and sources that need no client. What does not: the
Kaggle client (``kaggle_source``), reading the fetched files (``readers``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nethical_assets.core.datasets.catalog import DatasetEntry
from nethical_assets.core.digests import digest_file, digest_json
from nethical_assets.core.errors import SourceUnavailableError

MIRROR_CATALOG = "catalog.json"


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
            SourceUnavailableError: the source cannot serve this dataset now; one line says why.
            OSError: the local disk is full or not writable.
        """


class MirrorSource:
    """A folder laid out ``<owner>/<slug>/files``, with an optional ``catalog.json`` of licences and dates."""

    name = "mirror"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fetch(self, entry: DatasetEntry, folder: Path, known: UpstreamState | None) -> FetchedFiles | Unchanged:
        """The mirrored files where they are; nothing is copied to ``folder``.

        The state of a dataset is the digest of its files' names, sizes and contents.

        Raises:
            SourceUnavailableError: no such mirror, no such dataset in it, or a link in it leads outside of it.
        """
        if not self.folder.is_dir():
            raise SourceUnavailableError(
                f"mirror: {self.folder} is not a folder; set NETHICAL_DATA_MIRROR to one laid out <owner>/<slug>/files"
            )
        place = self.folder / entry.slug
        files = self._files(place, entry.slug)
        state = digest_json([[name, path.stat().st_size, digest_file(path)] for name, path in files])
        facts = self._facts(entry.slug)
        version = facts.get("version")
        upstream = UpstreamState(etag=state, version=None if version is None else str(version))
        if known is not None and upstream.same_as(known):
            return Unchanged(upstream)
        return FetchedFiles(
            folder=place,
            upstream=upstream,
            temporary=False,
            licence=_text(facts.get("licence")),
            upstream_date=_text(facts.get("last_updated")),
        )

    def _files(self, place: Path, slug: str) -> list[tuple[str, Path]]:
        if not place.is_dir():
            raise SourceUnavailableError(f"mirror: {self.folder} has no dataset {slug}")
        root = self.folder.resolve()
        everything = [place, *sorted(place.rglob("*"))]
        for path in everything:
            if not path.resolve().is_relative_to(root):
                raise SourceUnavailableError(f"mirror: {path} is a link to a place outside the mirror; copy its target")
        files = [(path.relative_to(place).as_posix(), path) for path in everything if path.is_file()]
        if not files:
            raise SourceUnavailableError(f"mirror: {place} holds no files")
        return files

    def _facts(self, slug: str) -> dict[str, Any]:
        path = self.folder / MIRROR_CATALOG
        try:
            facts = json.loads(path.read_bytes()).get(slug, {})
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError):
            raise SourceUnavailableError(f"mirror: {path} is not a JSON object; repair or remove it") from None
        return facts if isinstance(facts, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
