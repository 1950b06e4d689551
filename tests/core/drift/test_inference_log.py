from __future__ import annotations

import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest

from nethical_assets.core.drift.inference_log import InferenceLog
from nethical_assets.core.ground.errors import DatasetError, IntegrityError

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MODEL, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def append(log, rows=3, *, family="logistic", model=MODEL, when=NOON, seed=0):
    random = np.random.default_rng(seed)
    sketch = pd.DataFrame({"length": random.integers(0, 9, rows), "known": random.random(rows) < 0.5})
    return log.append(family, model, random.random(rows), random.normal(size=rows), sketch, when=when)


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


def test_the_same_batch_twice_is_one_and_an_empty_one_is_none(log):
    assert append(log) == append(log)
    assert log.window("logistic", NOON).batches == 1
    assert append(log, 0) is None


def test_raw_text_is_refused(log):
    one = np.array([0.5])
    with pytest.raises(DatasetError, match="only numbers"):
        log.append("logistic", MODEL, one, one, pd.DataFrame({"prompt": ["my password"]}), when=NOON)
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
    log.append("logistic", "sha256:" + "a" * 64, values, values, frame, when=start + timedelta(seconds=second))
"""


def test_killing_the_writer_leaves_whole_batches_only(log):
    for _ in range(3):
        arguments = [sys.executable, "-c", WRITER, str(log.folder)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(0.3)
            process.send_signal(signal.SIGKILL)
        window = log.window("logistic", NOON)
        assert window.batches > 0 and window.rows == 20_000 * window.batches
