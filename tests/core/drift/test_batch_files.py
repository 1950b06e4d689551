"""Which files of a folder are looked at is decided by their names alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from upath import UPath

from nethical_assets.core.drift import batch_files as module
from nethical_assets.core.drift.batch_files import batch_files, counted_files, write_batch

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(params=["folder", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> UPath:
    """Three batches, an hour apart."""
    made = UPath(tmp_path) if request.param == "folder" else UPath(f"memory://{tmp_path}")
    for number in range(3):
        write_batch(made, pa.table({"a": [number]}), moment=NOON + number * HOUR, occasion=str(number))
    (made / "something else").write_text("x")
    return made


@pytest.mark.parametrize(
    ("since", "until", "count"),
    [
        (None, None, 3),
        (NOON, None, 3),
        (NOON + timedelta(microseconds=1), None, 2),
        (None, NOON + HOUR, 1),
        (NOON, NOON + 2 * HOUR, 2),
        (datetime(1, 1, 1, tzinfo=UTC), datetime(999, 1, 1, tzinfo=UTC), 0),
        (datetime(999, 1, 1, tzinfo=UTC), None, 3),
        # Noon, elsewhere.
        (
            datetime(2026, 11, 30, 15, tzinfo=timezone(3 * HOUR)),
            datetime(2026, 11, 30, 16, tzinfo=timezone(3 * HOUR)),
            1,
        ),
    ],
)
def test_a_period_holds_what_its_moments_hold(
    folder: UPath, since: datetime | None, until: datetime | None, count: int
) -> None:
    found = list(batch_files(folder, since=since, until=until))
    assert [batch.moment for batch in found] == sorted(batch.moment for batch in found)
    assert [batch.moment for batch in found] == [
        batch.moment
        for batch in batch_files(folder)
        if (since is None or batch.moment >= since) and (until is None or batch.moment < until)
    ]
    assert len(found) == count
    read = counted_files(folder, "", lambda name, digest: True, since=since, until=until)
    assert [batch for batch, _ in read] == found


def test_nothing_is_made_of_the_names_of_other_times(folder: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = []

    class Watched(module.BatchFile):
        def __init__(self, *values: Any) -> None:
            super().__init__(*values)
            looked_at.append(self.moment)

    monkeypatch.setattr(module, "BatchFile", Watched)
    assert len(list(batch_files(folder, since=NOON + HOUR, until=NOON + 2 * HOUR))) == 1
    target, _ = write_batch(folder, pa.table({"a": [1]}), moment=NOON + 9 * HOUR, occasion="1")
    assert target.name.startswith("20261130T130000"), "the batch of this occasion is there already"
    assert looked_at == [NOON + HOUR] * 2


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert list(batch_files(UPath(tmp_path / "absent"))) == []
