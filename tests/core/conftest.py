"""Fixtures of the dataset tests: entries, files, a Kaggle double, a snapshot store."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from nethical_assets.core.datasets.snapshots import Snapshot, SnapshotStore
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.sources import kaggle_client
from tests.core.sources.kaggle_double import KaggleDouble, point_client_at

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
CHECKOUT = Path(__file__).resolve().parents[2]

EntryMaker = Callable[..., DatasetEntry]


ENTRY: dict[str, Any] = {
    "name": "toy",
    "slug": "owner/toy",
    "title": "Toy",
    "licence": "CC0-1.0",
    "kind": "records",
    "families": ["logistic"],
    "files": [{"path": ["rows.csv"], "format": "csv", "label": {"column": "label", "positive": ["1"]}}],
}


def entry_of(**changes: Any) -> DatasetEntry:
    """A records entry of one CSV file ``rows.csv`` with the label column ``label``; keys can be replaced."""
    return DatasetEntry.model_validate({**ENTRY, **changes})


def csv_of(rows: int, start: int = 0) -> bytes:
    """``rows`` distinct rows of id, value and label."""
    lines = [f"{index},{index * 0.5},{index % 2}" for index in range(start, start + rows)]
    return ("id,value,label\n" + "\n".join(lines) + "\n").encode()


@pytest.fixture
def make_entry() -> EntryMaker:
    return entry_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "files"
    place.mkdir()
    return place


@pytest.fixture
def write(folder: Path) -> Callable[[Mapping[str, bytes | str]], Path]:
    """Write files into ``folder``."""

    def write_files(files: Mapping[str, bytes | str]) -> Path:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return folder

    return write_files


@pytest.fixture
def snapshots(tmp_path: Path) -> SnapshotStore:
    return SnapshotStore(tmp_path / "snapshots")


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KaggleDouble]:
    """The double, called by the real client of this process with valid credentials."""
    double = KaggleDouble()
    home = tmp_path / "home"
    home.mkdir()
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_CONFIG_DIR", "XDG_CONFIG_HOME", "HTTP_PROXY", "http_proxy", "VERBOSE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KAGGLE_USERNAME", "somebody")
    monkeypatch.setenv("KAGGLE_KEY", "the-secret-key")
    monkeypatch.setattr(kaggle_client, "_probes", {})
    kaggle_client.load_client()
    module = sys.modules["kaggle.api.kaggle_api_extended"]
    environment = sys.modules["kagglesdk.kaggle_env"]
    monkeypatch.setattr(module.KaggleApi, "args", module.KaggleApi.args)
    monkeypatch.setattr(module.KaggleApi, "config", str(home / "kaggle.json"))
    monkeypatch.setattr(environment, "_env_to_endpoint", dict(environment._env_to_endpoint))
    point_client_at(double.url)
    yield double
    double.stop()


@dataclass(frozen=True)
class PlainKeeper:
    """Moves the pointer without recording it."""

    snapshots: SnapshotStore

    def arrive(self, snapshot: Snapshot) -> None:
        self.snapshots.set_newest(snapshot)

    def confirm(self, snapshot: Snapshot) -> None:
        self.snapshots.set_confirmed(snapshot)


def add_snapshot(snapshots: SnapshotStore, table: pa.Table, manifest: Snapshot, now: datetime) -> Snapshot:
    """Store a table and make it the newest snapshot."""
    stored = snapshots.store_table(table, manifest, now)
    snapshots.set_newest(stored)
    return stored
