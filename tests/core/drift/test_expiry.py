"""Which batches are of a time, told without reading years of names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from nethical_assets.core.drift import expiry
from nethical_assets.core.drift.batch_files import batch_file
from nethical_assets.core.drift.expiry import batches_between

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
MINUTES = (-61, -60, -1, 0, 1, 59, 60, 61)


def name(moment: datetime) -> str:
    return f"logistic/{moment:%Y%m%dT%H%M%S.%fZ}-{'a' * 64}-{'b' * 16}-{'c' * 16}.parquet"


@pytest.mark.parametrize("whole", [True, False])
def test_names_alone_tell_what_their_times_tell(whole: bool) -> None:
    moments = {name(NOON + timedelta(minutes=minutes)): NOON + timedelta(minutes=minutes) for minutes in MINUTES}
    for first, last in product((None, *MINUTES), MINUTES):
        start, end = None if first is None else NOON + timedelta(minutes=first), NOON + timedelta(minutes=last)
        wanted = []
        for one, moment in moments.items():
            ends = moment.replace(minute=0) + timedelta(hours=1)
            in_time = ends <= end if whole else moment < end
            wanted += [one] if in_time and (start is None or ends > start) else []
        assert batches_between([*moments, "logistic/notes.txt"], start, end, whole=whole) == wanted, (first, last)


def test_of_years_of_batches_only_those_of_the_time_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name(NOON - timedelta(hours=hours)) for hours in range(2000)]
    looked: list[str] = []
    monkeypatch.setattr(expiry, "batch_file", lambda path: looked.append(path.name) or batch_file(path))
    found = batches_between(names, None, NOON - timedelta(hours=1989), whole=True)
    assert found == names[1990:]
    assert len(looked) <= len(found) + 1
    looked.clear()
    assert batches_between(names, NOON - timedelta(hours=2), NOON) == names[1:3]
    assert len(looked) <= 3
