from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nethical_assets.core.drift.windows import KEY_FORMAT, Window
from nethical_assets.core.ground.errors import DatasetError

LENGTHS = (1, 2, 3, 4, 6, 8, 12, 24)
moments = st.datetimes(
    datetime(1970, 1, 2),
    datetime(2200, 1, 1),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-11))]),
)


@given(moments, st.sampled_from(LENGTHS))
def test_every_moment_is_in_one_window_that_begins_at_a_multiple_of_its_length(moment, hours):
    window = Window.at(moment, hours)
    assert window.start <= moment < window.end == window.start + timedelta(hours=hours)
    assert window.start.tzinfo is UTC and window.start.hour % hours == 0
    assert (window.start.minute, window.start.second, window.start.microsecond) == (0, 0, 0)
    assert Window.at(window.start, hours) == window and Window.at(window.end, hours) != window
    assert window.before() == Window.at(window.start - timedelta(microseconds=1), hours) < window
    assert Window.from_key(window.key, hours) == window
    assert window.key == window.start.strftime(KEY_FORMAT)


@pytest.mark.parametrize(
    "key",
    ["", "2026-01-31", "2026-01-31T05:00", "2026-01-31T06:30", "2026-1-31T06:00", "2026-01-31T06:00Z", " nonsense"],
)
def test_a_key_that_is_no_start_of_a_window_is_named(key):
    with pytest.raises(DatasetError, match="not the start of a window of 6 hours"):
        Window.from_key(key, 6)


def test_a_moment_without_a_zone_is_refused():
    with pytest.raises(DatasetError, match="no time zone"):
        Window.at(datetime(2026, 1, 1), 6)
