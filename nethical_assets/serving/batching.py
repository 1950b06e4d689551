"""Texts are scored at once while few wait, and together when many do.

What belongs here: the queue of one family and when it is emptied. What does not: scoring. There is no window of time in
which requests are collected. Texts that wait are scored one after the other, each at once, as long as that is cheaper
than a frame of them (``FEWEST_TOGETHER``); of a crowd, whatever came while the last texts were scored is scored next,
together and in a thread. A text that takes a frame of its own, because screening may find something in it, goes to the
thread too, and nobody else waits for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import pandas as pd

from nethical_assets.core.governance.scoring import ScoredRecord
from nethical_assets.serving.champions import ServedModel
from nethical_assets.serving.payloads import Record

FEWEST_TOGETHER = 64
"""A frame of texts costs as much as about so many texts by themselves: some 15 ms and 0.1 ms a text, against 0.3 ms."""


@dataclass
class _Waiting:
    served: ServedModel
    record: Record
    answer: asyncio.Future[ScoredRecord]


class Batcher:
    """The waiting texts of one family, for one event loop.

    How many wait is bounded by how many requests a worker takes at once.

    Args:
        executor: where several are scored together; one batch at a time.
        batch_max: how many are scored together.
        together_min: of how many that wait a batch is made.
    """

    def __init__(self, executor: Executor, batch_max: int, together_min: int = FEWEST_TOGETHER) -> None:
        self._executor = executor
        self._batch_max = batch_max
        self._together_min = together_min
        self._waiting: deque[_Waiting] = deque()
        self._slow: deque[_Waiting] = deque()
        self._at_work = self._slow_at_work = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def score(self, served: ServedModel, record: Record) -> ScoredRecord:
        """Score one text with ``served``, alone or with others.

        Raises:
            RecordError: it is not what the family reads, whatever the others are.
        """
        loop = asyncio.get_running_loop()
        one = _Waiting(served, record, loop.create_future())
        self._waiting.append(one)
        if not self._at_work:
            self._at_work = True
            # Whatever else has arrived by now gets to wait here before the first is scored.
            loop.call_soon(self._go_on)
        return await one.answer

    def _go_on(self) -> None:
        if len(self._waiting) >= self._together_min:
            self._waiting = deque(one for one in self._waiting if not one.answer.cancelled())
            if len(self._waiting) >= self._together_min:
                self._begin(self._crowd())
                return
        # One a turn of the loop, so that requests are read and answers sent meanwhile.
        for one in _taken(self._waiting, 1):
            result = _at_once(one)
            if result is not None:
                _settle(one, result)
                continue
            self._slow.append(one)
            if not self._slow_at_work:
                self._slow_at_work = True
                self._begin(self._slow_ones())
        self._again()

    async def _crowd(self) -> None:
        try:
            await self._together(_taken(self._waiting, self._batch_max))
        finally:
            self._again()

    async def _slow_ones(self) -> None:
        try:
            while self._slow:
                await self._together(_taken(self._slow, self._batch_max))
        finally:
            self._slow_at_work = False

    async def _together(self, batch: list[_Waiting]) -> None:
        try:
            loop = asyncio.get_running_loop()
            results = await loop.run_in_executor(self._executor, _scored_together, batch)
            for one, result in zip(batch, results, strict=True):
                _settle(one, result)
        except Exception as error:
            for one in batch:
                _settle(one, error)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _again(self) -> None:
        self._at_work = bool(self._waiting)
        if self._at_work:
            asyncio.get_running_loop().call_soon(self._go_on)


def _taken(waiting: deque[_Waiting], most: int) -> list[_Waiting]:
    """The first of those that still wait, as many as ``most``."""
    taken: list[_Waiting] = []
    while waiting and len(taken) < most:
        if not (one := waiting.popleft()).answer.cancelled():
            taken.append(one)
    return taken


def _settle(one: _Waiting, result: ScoredRecord | Exception) -> None:
    if one.answer.done():
        return
    if isinstance(result, ScoredRecord):
        one.answer.set_result(result)
    else:
        one.answer.set_exception(result)


def _at_once(one: _Waiting) -> ScoredRecord | Exception | None:
    try:
        return one.served.scorer.score_at_once(one.record)
    except Exception as error:
        return error


def _scored_alone(served: ServedModel, record: Record) -> ScoredRecord | Exception:
    try:
        return served.scorer.score(record)
    except Exception as error:
        return error


def _scored_together(batch: Sequence[_Waiting]) -> list[ScoredRecord | Exception]:
    """A result each, in order; texts of one model and one layout in one frame."""
    groups: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for number, one in enumerate(batch):
        groups.setdefault((one.served.digest, tuple(one.record)), []).append(number)
    found: dict[int, ScoredRecord | Exception] = {}
    for numbers in groups.values():
        served, records = batch[numbers[0]].served, [batch[number].record for number in numbers]
        found |= zip(numbers, score_each(served, records), strict=True)
    return [found[number] for number in range(len(batch))]


def score_each(served: ServedModel, records: Sequence[Record]) -> list[ScoredRecord | Exception]:
    """Records of several clients in one frame; what is wrong with one, or was found in it, is told of no other."""
    try:
        scored = served.scorer.score_many(pd.DataFrame([dict(record) for record in records]))
    except Exception:
        # What is wrong with one is no matter of the others, whatever it is.
        return [_scored_alone(served, record) for record in records]
    if len(scored.predictions) != len(records):
        return [_scored_alone(served, record) for record in records]
    predictions, sketch = scored.predictions, served.detector.sketch(scored.inputs)
    columns = (predictions[name].tolist() for name in ("label", "probability", "score"))
    changed = [False] * len(records)
    if scored.masked:
        only_texts = all(len(record) == 1 for record in records)
        changed = _changed(scored.inputs, scored.texts) if only_texts else [True] * len(records)
    return [
        _scored_alone(served, record) if masked else ScoredRecord(read, int(label), probability, score, described, {})
        for record, read, label, probability, score, described, masked in zip(
            records,
            scored.inputs.to_dict("records"),
            *columns,
            sketch.to_dict("records"),
            changed,
            strict=True,
        )
    ]


def _changed(inputs: pd.DataFrame, texts: pd.Series | None) -> list[bool]:
    """Which records hold something that was masked: their counts are asked for one by one."""
    if texts is None:
        return [True] * len(inputs)
    return [read != came for read, came in zip(inputs.iloc[:, 0].tolist(), texts.tolist(), strict=True)]
