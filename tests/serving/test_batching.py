"""Texts wait for nobody when few wait, and are scored together when many do."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import pytest

from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.governance.scoring import RecordScorer, ScoredRecord
from nethical_assets.core.ground.errors import RecordError
from nethical_assets.serving.batching import Batcher, score_each
from nethical_assets.serving.champions import Champions, ServedModel
from tests.serving.homes import ServedHome, text_records


@pytest.fixture(scope="module")
def served(module_home: ServedHome) -> ServedModel:
    champions = Champions(module_home.settings, family_names())
    champions.look()
    found = champions.current("prompt_injection")
    assert found is not None
    return found


@dataclass
class Watched:
    """A scorer that notes how it was asked, and by which thread."""

    scorer: RecordScorer
    asked: list[tuple[int, bool]]
    going_on: threading.Event | None = None

    def score(self, record: Any) -> ScoredRecord:
        self.asked.append((1, threading.current_thread() is threading.main_thread()))
        return self.scorer.score(record)

    def score_at_once(self, record: Any) -> ScoredRecord | None:
        self.asked.append((1, threading.current_thread() is threading.main_thread()))
        return self.scorer.score_at_once(record)

    def score_many(self, frame: pd.DataFrame) -> Any:
        self.asked.append((len(frame), threading.current_thread() is threading.main_thread()))
        if self.going_on is not None:
            assert self.going_on.wait(30)
        return self.scorer.score_many(frame)


def watched(served: ServedModel, **changes: Any) -> tuple[ServedModel, Watched]:
    scorer = Watched(served.scorer, [], **changes)
    return replace(served, scorer=scorer), scorer  # type: ignore[arg-type]


def run(work: Any) -> Any:
    return asyncio.run(work)


def test_a_text_that_is_alone_is_scored_at_once(served: ServedModel) -> None:
    model, scorer = watched(served)

    async def work() -> list[ScoredRecord]:
        batcher = Batcher(ThreadPoolExecutor(1), 100)
        return [await batcher.score(model, record) for record in text_records(3)]

    assert run(work()) == [served.scorer.score(record) for record in text_records(3)]
    assert scorer.asked == [(1, True)] * 3


def test_texts_that_come_together_or_meanwhile_are_scored_together_elsewhere(served: ServedModel) -> None:
    model, scorer = watched(served, going_on=threading.Event())
    records = text_records(9)

    async def work() -> list[ScoredRecord]:
        batcher = Batcher(ThreadPoolExecutor(1), 4, together_min=2)
        first = [asyncio.ensure_future(batcher.score(model, record)) for record in records[:3]]
        while not scorer.asked:
            await asyncio.sleep(0.01)
        more = [asyncio.ensure_future(batcher.score(model, record)) for record in records[3:]]
        await asyncio.sleep(0.05)
        assert scorer.asked == [(3, False)], "what comes while others are scored waits"
        assert scorer.going_on is not None
        scorer.going_on.set()
        return await asyncio.gather(*first, *more)

    assert run(work()) == [served.scorer.score(record) for record in records]
    assert scorer.asked == [(3, False), (4, False), (2, False)], "never more together than is allowed"


def test_a_few_are_scored_one_after_the_other_and_nobody_waits_for_a_slow_one(served: ServedModel) -> None:
    model, scorer = watched(served, going_on=threading.Event())
    slow, *quick = [{"text": "write to anna@example.org"}, *text_records(5)]
    order = []

    async def work() -> list[ScoredRecord]:
        batcher = Batcher(ThreadPoolExecutor(1), 100)

        async def asked(record: Any) -> ScoredRecord:
            result = await batcher.score(model, record)
            order.append(record)
            return result

        first = asyncio.ensure_future(asked(slow))
        others = await asyncio.gather(*(asked(record) for record in quick))
        assert not first.done()
        assert scorer.going_on is not None
        scorer.going_on.set()
        more = await asyncio.gather(asked(slow), asked(slow))
        return [await first, *others, *more]

    assert run(work()) == [served.scorer.score(record) for record in (slow, *quick, slow, slow)]
    assert order == [*quick, slow, slow, slow]
    assert sum(is_main for _, is_main in scorer.asked) == 8, "each is tried at once"


def test_what_is_wrong_with_one_is_told_of_no_other_and_what_was_found_neither(served: ServedModel) -> None:
    records = [
        {"text": "write to anna@example.org and ben@example.org"},
        {"text": 3.0},
        {"text": ["not a text"]},
        {"prompt": "of another layout"},
        {"text": "harmless"},
        {"other": "unknown"},
    ]

    async def work() -> list[Any]:
        batcher = Batcher(ThreadPoolExecutor(1), 100, together_min=2)
        return await asyncio.gather(*(batcher.score(served, record) for record in records), return_exceptions=True)

    results = run(work())
    for record, result in zip(records, results, strict=True):
        try:
            assert result == served.scorer.score(record)
        except RecordError as error:
            assert isinstance(result, RecordError)
            assert (result.field, result.reason) == (error.field, error.reason)
    assert [isinstance(result, RecordError) for result in results] == [False, False, True, False, False, True]
    found = score_each(served, [records[0], records[4]])
    assert [one.masked for one in found if isinstance(one, ScoredRecord)] == [{"EMAIL": 2}, {}]


def test_each_is_scored_with_its_own_model(served: ServedModel) -> None:
    (one, first), (other, second) = watched(served), watched(served)
    other = replace(other, digest="sha256:another")

    async def work() -> None:
        batcher = Batcher(ThreadPoolExecutor(1), 100, together_min=2)
        models = [one, other, one]
        await asyncio.gather(*(batcher.score(m, r) for m, r in zip(models, text_records(3), strict=True)))

    run(work())
    assert (first.asked, second.asked) == ([(2, False)], [(1, False)])


def test_a_failure_reaches_whoever_waits_and_the_next_is_scored(served: ServedModel) -> None:
    model, scorer = watched(served)

    def fails(frame: Any) -> Any:
        raise ValueError("broken")

    scorer.score_many = fails  # type: ignore[method-assign]

    async def work() -> None:
        batcher = Batcher(ThreadPoolExecutor(1), 100, together_min=2)
        together = (batcher.score(model, record) for record in text_records(2))
        assert [type(result) for result in await asyncio.gather(*together)] == [ScoredRecord] * 2, "each by itself then"
        scorer.score = fails  # type: ignore[method-assign]
        together = (batcher.score(model, record) for record in text_records(2))
        results = await asyncio.gather(*together, return_exceptions=True)
        assert [type(result) for result in results] == [ValueError, ValueError]
        assert isinstance(await batcher.score(model, text_records(1)[0]), ScoredRecord)
        leaving = asyncio.ensure_future(batcher.score(model, text_records(1)[0]))
        await asyncio.sleep(0)
        leaving.cancel()
        assert isinstance(await batcher.score(model, text_records(1)[0]), ScoredRecord)

    run(work())
