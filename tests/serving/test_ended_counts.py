"""What workers that ended counted is in one file a kind, and no scrape counts it twice or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import values
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.values import MultiProcessValue

from nethical_assets.serving import ended_counts
from nethical_assets.serving.ended_counts import keep_counts
from nethical_assets.serving.metrics import FOLDER_VARIABLE, GatewayMetrics

EACH = 3
"""What every worker answered, and how many records it scored."""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], GatewayMetrics]:
    """A worker by its process id, which counted."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))

    def started(pid: int) -> GatewayMetrics:
        with monkeypatch.context() as patch:
            patch.setattr("os.getpid", lambda: pid)
            patch.setattr(values, "ValueClass", MultiProcessValue(lambda: pid))  # type: ignore[no-untyped-call]
            metrics = GatewayMetrics()
            for seconds in (0.0007, 0.02, 0.3):
                metrics.answered("v1/score", "logistic", 200, seconds)
            metrics.scored("logistic", EACH, 0)
            metrics.in_flight.set(1)
        return metrics

    return started


def told(metrics: GatewayMetrics) -> dict[str, float]:
    """What a scrape says, by name and, of a histogram's buckets, their end."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        one.name.removeprefix("nethical_gateway_") + one.labels.get("le", ""): one.value
        for family in families
        for one in family.samples
    }


def counted(workers: int, living: int) -> dict[str, Any]:
    """What a scrape has to say of so many workers, some of which live."""
    return {
        "requests_total": EACH * workers,
        "predictions_total": EACH * workers,
        "request_seconds_count": EACH * workers,
        "request_seconds_bucket0.001": workers,
        "request_seconds_bucket0.025": 2 * workers,
        "request_seconds_bucket+Inf": EACH * workers,
        "request_seconds_sum": pytest.approx(0.3207 * workers),
        "requests_in_flight": living,
    }


def test_a_worker_that_keeps_dying_fills_no_disk_and_what_all_counted_adds_up(
    tmp_path: Path, worker: Callable[[int], GatewayMetrics]
) -> None:
    living = worker(1)
    sizes = []
    for pid in range(2, 12):
        worker(pid)
        assert told(living).items() >= counted(pid, 2).items()
        keep_counts(tmp_path, {1})
        sizes.append(sum(path.stat().st_size for path in tmp_path.iterdir()))
        assert told(living).items() >= counted(pid, 1).items()
    assert max(sizes) < min(sizes) + 100, "it grows"
    # The system gives a number again.
    worker(2)
    assert told(living).items() >= counted(12, 2).items()
    keep_counts(tmp_path, {1, 2})
    assert told(living).items() >= counted(12, 2).items()


@pytest.mark.parametrize("after", ["_index", "_read_by", "merge"])
def test_a_scrape_at_the_moment_of_a_merge_counts_each_worker_once(
    tmp_path: Path, worker: Callable[[int], GatewayMetrics], after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    living = worker(1)
    ended: list[int] = []

    def once(step: Callable[..., object]) -> Callable[..., object]:
        def done(*given: object) -> object:
            result = step(*given)
            if ended:
                ended.pop()
                keep_counts(tmp_path, {1})
            return result

        return done

    place = MultiProcessCollector if after == "merge" else ended_counts
    monkeypatch.setattr(place, after, once(getattr(place, after)))
    for pid in (2, 3):
        worker(pid)
        ended.append(pid)
        assert told(living).items() >= counted(pid, 1).items()
        assert not ended, "it was not at the same moment"


class Killed(BaseException):
    """The process is gone: what it would have done after this is not done."""


@pytest.mark.parametrize("step", range(9))
def test_a_kill_within_a_merge_doubles_and_loses_nothing(
    tmp_path: Path, worker: Callable[[int], GatewayMetrics], step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    living = worker(1)
    worker(2)
    keep_counts(tmp_path, {1})
    worker(3)
    left = [step]

    def until(act: Callable[..., object]) -> Callable[..., object]:
        def done(*given: object, **named: object) -> object:
            # A process that was killed cleans nothing up either.
            if left[0] <= 0:
                raise Killed
            left[0] -= 1
            return act(*given, **named)

        return done

    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(ended_counts, "_put_together", until(ended_counts._put_together))
        patch.setattr(ended_counts, "_write_index", until(ended_counts._write_index))
        patch.setattr(Path, "unlink", until(Path.unlink))
        keep_counts(tmp_path, {1})
    assert told(living).items() >= counted(3, 1).items()
    keep_counts(tmp_path, {1})
    assert told(living).items() >= counted(3, 1).items()
    assert len(list(tmp_path.iterdir())) == 5 + 2 + 1


def test_where_the_disk_is_full_nothing_changes(
    tmp_path: Path, worker: Callable[[int], GatewayMetrics], monkeypatch: pytest.MonkeyPatch
) -> None:
    living = worker(1)
    worker(2)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ended_counts, "write_atomically", full)
        with pytest.raises(OSError, match="space"):
            keep_counts(tmp_path, {1})
    assert told(living).items() >= counted(2, 1).items()
    keep_counts(tmp_path, {1})
    assert told(living).items() >= counted(2, 1).items()


def test_an_interruption_after_the_index_is_replaced_removes_nothing_that_it_names(
    tmp_path: Path, worker: Callable[[int], GatewayMetrics], monkeypatch: pytest.MonkeyPatch
) -> None:
    living = worker(1)
    worker(2)
    replaced = ended_counts._write_index

    def interrupted(*given: Any) -> None:
        replaced(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ended_counts, "_write_index", interrupted)
        keep_counts(tmp_path, {1})
    assert told(living).items() >= counted(2, 1).items()
    keep_counts(tmp_path, {1})
    assert told(living).items() >= counted(2, 1).items()


def without_a_name(data: bytes) -> bytes:
    """The first key is JSON, and no name."""
    length = int.from_bytes(data[8:12], "little")
    return data[:12] + b"3".ljust(length) + data[12 + length :]


def leading_back(data: bytes) -> bytes:
    """The length of the second key is one that leads back to it, again and again."""
    second = 32 + 8 * ((int.from_bytes(data[8:12], "little") + 4) // 8)
    return data[:second] + (-28).to_bytes(4, "little", signed=True) + data[second + 4 :]


@pytest.mark.parametrize(
    "damaged",
    [
        lambda data: b"",
        lambda data: data[:3],
        lambda data: data[:200],
        lambda data: data[:8] + b"\xff\xff\xff\x7f" + data[12:],
        lambda data: b"\xff\xff\xff\x7f" + data[4:],
        lambda data: data[:12] + b"\xff" + data[13:],
        lambda data: data[:12] + b"!" + data[13:],
        without_a_name,
        leading_back,
    ],
)
def test_what_a_worker_left_damaged_is_left_out_and_named_once(
    tmp_path: Path, worker: Callable[[int], GatewayMetrics], damaged: Callable[[bytes], bytes]
) -> None:
    living = worker(1)
    for pid in (2, 3):
        worker(pid)
    for kind in ("counter", "histogram"):
        path = tmp_path / f"{kind}_3.db"
        path.write_bytes(damaged(path.read_bytes()))
    assert keep_counts(tmp_path, {1}) == ["counter_3.db", "histogram_3.db"]
    assert told(living).items() >= counted(2, 1).items()
    assert keep_counts(tmp_path, {1}) == []
    worker(3)
    assert keep_counts(tmp_path, {1}) == []
    assert told(living).items() >= counted(3, 1).items()


def test_a_worker_of_which_nothing_can_be_read_leaves_nothing(
    tmp_path: Path, worker: Callable[[int], GatewayMetrics]
) -> None:
    living = worker(1)
    (tmp_path / "counter_2.db").write_bytes(b"")
    assert keep_counts(tmp_path, {1}) == ["counter_2.db"]
    assert told(living).items() >= counted(1, 1).items()
