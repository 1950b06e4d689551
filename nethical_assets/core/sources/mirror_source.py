"""Datasets from a local folder: a mirror of what was downloaded before, or a restored backup.

What belongs here: finding and identifying the files of a dataset in the folder. What does not: reading them
(``core.reading``), other sources.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nethical_assets.core.ground.digests import digest_file, digest_json
from nethical_assets.core.ground.errors import SourceUnavailableError
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.file_names import is_litter
from nethical_assets.core.rows.naming import shown_file
from nethical_assets.core.sources.source import (
    FetchedFiles,
    NotThereError,
    Unchanged,
    UnusableContentError,
    UpstreamState,
)

MIRROR_CATALOG = "catalog.json"


class MirrorSource:
    """A folder with the files of each dataset in ``OWNER/NAME/files/``, and perhaps licences and dates in
    ``catalog.json``."""

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
                f"mirror: {self.folder} is not a folder; set NETHICAL_DATA_MIRROR to one with OWNER/NAME/files/ in it"
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
            raise NotThereError(f"mirror: {self.folder} has no dataset {slug}")
        root = self.folder.resolve()
        everything = [place, *sorted(place.rglob("*"))]
        for path in everything:
            if not path.resolve().is_relative_to(root):
                name = shown_file(path.relative_to(place).as_posix())
                raise UnusableContentError(
                    f"mirror: {place}: {name} is a link to a place outside the mirror; copy its target"
                )
        files = [(path.relative_to(place).as_posix(), path) for path in everything if path.is_file()]
        files = [(name, path) for name, path in files if not is_litter(name)]
        if not files:
            raise NotThereError(f"mirror: {place} holds no files")
        return files

    def _facts(self, slug: str) -> dict[str, Any]:
        path = self.folder / MIRROR_CATALOG
        try:
            facts = json.loads(path.read_bytes()).get(slug, {})
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError):
            raise UnusableContentError(f"mirror: {path} is not a JSON object; repair or remove it") from None
        return facts if isinstance(facts, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
