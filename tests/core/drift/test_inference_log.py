from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nethical_assets.core.drift.inference_log import InferenceLog
from nethical_assets.core.ground.errors import DatasetError, IntegrityError

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MODEL, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def append(log, rows=3, *, family="logistic", model=MODEL, when=NOON, seed=0, occasion="request"):
    random = np.random.default_rng(seed)
    sketch = pd.DataFrame({"length": random.integers(0, 9, rows), "known": random.random(rows) < 0.5})
    return log.append(
        family, model, random.random(rows), random.normal(size=rows), sketch, occasion=occasion, when=when
    )


@pytest.fixture
def log(tmp_path):
    return InferenceLog(tmp_path / "inference")


def test_what_was_appended_is_read_back_in_order_of_time(log):
    append(log, 2, when=NOON + timedelta(hours=1), seed=1)
    append(log, 3, when=NOON, seed=2)
    window = log.window("logistic", NOON)
    assert (window.batches, window.rows) == (2, 5)
    assert (window.first, window.last) == (NOON, NOON + timedelta(hours=1))
    earlier = log.window("logistic", NOON, until=NOON + timedelta(minutes=1))
    assert earlier.rows == 3 and window.probabilities[:3].tolist() == earlier.probabilities.tolist()
    assert list(window.sketch.columns) == ["length", "known"] and len(window.sketch) == len(window.scores) == 5


def test_windows_are_half_open_and_of_one_model(log):
    for hour, model in enumerate((MODEL, OTHER, MODEL)):
        append(log, when=NOON + timedelta(hours=hour), model=model, seed=hour)
    hour = timedelta(hours=1)
    assert log.window("logistic", NOON + hour).batches == 2
    assert log.window("logistic", NOON, until=NOON + hour).batches == 1
    assert log.window("logistic", NOON, MODEL).batches == 2
    assert log.window("anomaly", NOON).rows == 0
    plus_two = timezone(timedelta(hours=2))
    assert log.window("logistic", (NOON + hour).astimezone(plus_two)).batches == 2


@pytest.mark.parametrize("later", [timedelta(), timedelta(microseconds=1), timedelta(days=40), timedelta(days=-1)])
def test_a_batch_is_the_same_whatever_the_clock_says(log, later):
    first = append(log)
    assert append(log, when=NOON + later) == first
    assert log.window("logistic", NOON - timedelta(days=2)).batches == 1
    assert [path.name for path in (log.folder / "logistic").iterdir()] == [first.name]


def test_another_occasion_model_or_content_is_another_batch(log):
    append(log)
    append(log, occasion="another request")
    append(log, model=OTHER)
    append(log, seed=1)
    assert log.window("logistic", NOON).batches == 4
    assert append(log, 0) is None


def test_requests_on_the_same_occasion_are_the_same_whatever_comes_out(log):
    """A file that is scored again under new screening rules has other sketches, and its rows are not other requests."""
    first = append_requests(log, 1, 3, when=NOON)
    assert append_requests(log, 1, 3, when=NOON, probability=0.75) == first
    assert log.window("logistic", NOON).probabilities.tolist() == [0.5] * 3


def test_a_batch_that_does_not_count_keeps_no_other_of_its_occasion_out(tmp_path):
    logged = set()
    log = InferenceLog(tmp_path, counts=lambda name, digest: name in logged)
    append_requests(log, 1, 3, when=NOON, probability=0.1)
    second = append_requests(log, 1, 3, when=NOON, probability=0.2)
    logged.add(f"logistic/{second.name}")
    assert append_requests(log, 1, 3, when=NOON, probability=0.3) == second
    assert log.window("logistic", NOON).rows == 3
    assert len(list((tmp_path / "logistic").iterdir())) == 2
    log.drop_uncounted("logistic", MODEL, "1")
    assert list((tmp_path / "logistic").iterdir()) == [second]


def requests(first, rows, **columns):
    ids = [f"request-{first + row}" for row in range(rows)]
    return pa.table({"request_id": ids, **columns})


def append_requests(log, first, rows, *, when, at=None, probability=0.5):
    ones = np.ones(rows)
    columns = {} if at is None else {"at": pa.array(at, pa.timestamp("ns", tz="UTC"))}
    columns["label"] = pa.array([1] * rows)
    return log.append(
        "logistic",
        MODEL,
        ones * probability,
        ones,
        pd.DataFrame({"label": np.arange(first, first + rows), "score ": ones}),
        occasion=f"{first}",
        when=when,
        requests=requests(first, rows, **columns),
    )


def test_requests_are_kept_beside_sketch_columns_of_the_same_names(log):
    append_requests(log, 5, 2, when=NOON)
    (part,) = log.parts("logistic", NOON)
    assert part.sketch().to_pydict() == {"label": [5.0, 6.0], "score ": [1.0, 1.0]}
    assert part.rows["label"].to_pylist() == [1, 1] and part.model == MODEL
    assert part.rows["at"].to_pylist() == [pd.Timestamp(NOON)] * 2, "the batch's own, where rows have none"
    assert log.window("logistic", NOON).request_ids is None
    assert log.window("logistic", NOON, ids=True).request_ids.to_pylist() == ["request-5", "request-6"]


def test_batches_of_older_versions_are_read_with_all_their_columns_as_sketch(log):
    path = append(log)
    table = pq.read_table(path).replace_schema_metadata(None)
    names = [name.removeprefix("sketch.") for name in table.column_names]
    old = pa.table(dict(zip([*names[:2], "label", "request_id"], table.columns, strict=True)))
    path.unlink()
    pq.write_table(old, path)
    content = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    path.rename(path.with_name(path.name.rpartition("-")[0] + f"-{content}.parquet"))
    append_requests(log, 1, 1, when=NOON + timedelta(hours=2))
    window = log.window("logistic", NOON, ids=True)
    assert (window.rows, window.first, window.last) == (4, NOON, NOON + timedelta(hours=2))
    assert window.request_ids.to_pylist() == [None, None, None, "request-1"]
    assert window.sketch["label"].notna().all() and window.sketch["request_id"].notna().sum() == 3
    first, _ = log.parts("logistic", NOON)
    assert first.sketch().column_names == ["label", "request_id"]
    assert log.known("logistic", pa.array(["request-1", "x"]), NOON, NOON + timedelta(days=1)).to_pylist() == [
        True,
        False,
    ]
    ids = [part.rows.column_names for part in log.parts("logistic", NOON, columns=["request_id"])]
    assert ids == [["probability", "at"], ["request_id", "at"]]


def test_a_window_takes_the_rows_of_its_time_out_of_a_batch(log):
    times = [NOON + timedelta(minutes=10 * number) for number in range(6)]
    append_requests(log, 0, 6, when=NOON, at=times)
    window = log.window("logistic", times[1], until=times[4], ids=True)
    assert window.request_ids.to_pylist() == ["request-1", "request-2", "request-3"]
    assert (window.first, window.last) == (times[1], times[3])
    assert log.window("logistic", times[5] + timedelta(seconds=1)).batches == 0


def test_a_window_is_read_in_parts_of_bounded_size(log):
    append_requests(log, 0, 150_000, when=NOON)
    parts = [part.rows.num_rows for part in log.parts("logistic", NOON, columns=["probability"])]
    assert sum(parts) == 150_000 and max(parts) <= 65_536


def test_two_writers_that_saw_no_earlier_file_leave_one_batch(log):
    """Both looked before either wrote: the reader counts what they wrote once, with the time of the first."""
    first = append(log)
    twin = first.with_name(first.name.replace("20260301T12", "20260301T13"))
    twin.write_bytes(first.read_bytes())
    window = log.window("logistic", NOON)
    assert (window.batches, window.rows, window.first, window.last) == (1, 3, NOON, NOON)


def test_files_of_older_versions_are_read_each_for_itself(log):
    first = append(log)
    moment, model, _, content = first.name.split("-")
    for hour in ("13", "14"):
        (first.with_name(f"{moment.replace('T12', f'T{hour}')}-{model}-{content}")).write_bytes(first.read_bytes())
    first.unlink()
    assert log.window("logistic", NOON, MODEL).batches == 2


def test_raw_text_is_refused(log):
    one = np.array([0.5])
    with pytest.raises(DatasetError, match="only numbers"):
        log.append("logistic", MODEL, one, one, pd.DataFrame({"prompt": ["my password"]}), occasion="a", when=NOON)
    assert not (log.folder / "logistic").exists()


def test_bad_names_and_times_are_refused(log):
    with pytest.raises(DatasetError, match="family"):
        append(log, family="../escape")
    with pytest.raises(IntegrityError, match="malformed digest"):
        append(log, model="latest")
    with pytest.raises(DatasetError, match="time zone"):
        append(log, when=datetime(2026, 1, 1))


def test_a_changed_batch_is_named(log):
    path = append(log)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match=path.name):
        log.window("logistic", NOON)


WRITER = """
import sys
from datetime import UTC, datetime, timedelta
import numpy as np, pandas as pd
from nethical_assets.core.drift.inference_log import InferenceLog
log, start = InferenceLog(sys.argv[1]), datetime(2026, 3, 1, 12, tzinfo=UTC)
values = np.random.default_rng(0).random(20_000)
print("ready", flush=True)
for second in range(100_000):
    frame = pd.DataFrame({"x": values})
    when = start + timedelta(seconds=second)
    log.append("logistic", "sha256:" + "a" * 64, values, values, frame, occasion=str(second), when=when)
"""


@pytest.mark.slow
def test_killing_the_writer_leaves_whole_batches_only(log):
    for _ in range(3):
        arguments = [sys.executable, "-c", WRITER, str(log.folder)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(0.3)
            process.send_signal(signal.SIGKILL)
        window = log.window("logistic", NOON)
        assert window.batches > 0 and window.rows == 20_000 * window.batches
