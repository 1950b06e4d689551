"""Scoring and feedback: from an admitted request to what is logged and answered.

What belongs here: who may ask, which model answers, where it is scored, and that the log knows it before the client
does. What does not: HTTP (``endpoints``), the forms of requests (``payloads``, ``open_inference``), or scoring itself
(``core.governance.scoring``).

Every answer is of one model: it is taken once, when the request begins, and its digest is in the answer and in the log.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import pandas as pd

from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.drift.segment_rows import FeedbackRow, LoggedRow, LoggedRows, label_bytes, number_bytes
from nethical_assets.core.governance.predictions import MALFORMED, screen_numbers, screen_outputs
from nethical_assets.core.governance.scoring import ScoredRecord, ScoredRecords
from nethical_assets.core.ground.errors import RecordError
from nethical_assets.core.ground.unexpected import describe_unexpected
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import utc_now
from nethical_assets.serving.answer_log import AnswerLog
from nethical_assets.serving.answers import FeedbackRequest, LabelGiven
from nethical_assets.serving.api_keys import KeyEntry, KeyRing
from nethical_assets.serving.batching import Batcher
from nethical_assets.serving.champions import Champions, ServedModel
from nethical_assets.serving.deadlines import Turn, within
from nethical_assets.serving.deployment import ServedFile
from nethical_assets.serving.endpoints import LARGE_BYTES, LARGE_TEXT_BYTES, Call, InFlight, Limits
from nethical_assets.serving.metrics import GatewayMetrics
from nethical_assets.serving.payloads import JSON, Record, decode_json, media_type
from nethical_assets.serving.refusals import RefusedError, busy, invalid, late, too_large, unavailable

T = TypeVar("T")
_LOGGER = logging.getLogger(__name__)
_ANONYMOUS = "anonymous"
_LABELS_AT_ONCE = 200
"""More are written down in a thread."""


@dataclass(frozen=True)
class Admitted:
    """A request that may ask ``served``; ``request_id`` is the family and 32 hexadecimal digits.

    ``name`` is what its client calls it, empty where it does not.
    """

    served: ServedModel
    name: str
    request_id: str = ""

    def with_body(self, body: bytes) -> Admitted:
        """The same request, which has an id now: the same for a retry, which has the same name and body. One name is
        given to several requests by whatever passes it on to all that it causes."""
        if self.name:
            digits = hashlib.sha256(self.name.encode() + b"\0" + body).hexdigest()[:32]
        else:
            digits = secrets.token_hex(16)
        return Admitted(self.served, self.name, f"{self.served.family}-{digits}")


@dataclass(frozen=True)
class ScoredMany:
    """Records scored with one model, which the log knows: row n has the request id ``<request_id>-<n>``."""

    served: ServedModel
    request_id: str
    predictions: pd.DataFrame

    @property
    def request_ids(self) -> list[str]:
        """Those of all rows."""
        return [f"{self.request_id}-{n}" for n in range(len(self.predictions))]


class Gateway:
    """What one worker serves. Only ``close`` is called from outside of its event loop."""

    def __init__(
        self,
        settings: Settings,
        keys: KeyRing,
        champions: Champions,
        journal: AnswerLog,
        metrics: GatewayMetrics,
        swapped: Callable[[], None] = lambda: None,
    ) -> None:
        """``swapped`` is called, in a thread, when other models are served than before."""
        self.settings = settings
        self.keys = keys
        self.champions = champions
        self.metrics = metrics
        self.in_flight = InFlight()
        self.families = frozenset(family_names())
        serving = self.serving = settings.file.serving
        self.limits = Limits(
            body_bytes=serving.body_bytes_max,
            bytes_in_flight=serving.body_bytes_max * serving.batches_in_flight_max,
            body_seconds=serving.body_seconds,
            in_flight=serving.requests_in_flight_max,
            retry_after_seconds=serving.retry_after_seconds,
        )
        self._journal = journal
        self._batches = ThreadPoolExecutor(1, "batches")
        self._singles = ThreadPoolExecutor(1, "singles")
        self._batchers: dict[str, Batcher] = {}
        self._batches_in_flight = 0
        self._served = ServedFile()
        self._swapped = swapped
        self._digests: list[str] = []
        self._ending = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="watcher", daemon=True)

    async def begin(self) -> None:
        """Look at every champion once, and go on looking in a thread."""
        await asyncio.get_running_loop().run_in_executor(self._batches, self._look)
        self._watcher.start()

    def close(self) -> None:
        """End the threads; what was answered is in the log, and synced."""
        self._ending.set()
        if self._watcher.is_alive():
            self._watcher.join()
        self._batches.shutdown()
        self._singles.shutdown()
        self._journal.close()

    def _watch(self) -> None:
        while not self._ending.wait(self.serving.champion_poll_seconds):
            self._look()

    def _look(self) -> None:
        try:
            self.keys.look()
            self.champions.look()
            for family, standing in self.champions.standings().items():
                if standing.state != "none":
                    model = (standing.model.digest, standing.model.version) if standing.model else None
                    self.metrics.serves(family, model, verified=standing.state == "served")
            self._served.tell(self.champions.standings())
            digests = [one.model.digest for one in self.champions.standings().values() if one.model is not None]
            if digests != self._digests:
                self._digests = digests
                self._swapped()
        except Exception as error:
            _LOGGER.error("looking for champions: %s", describe_unexpected(error))

    def authorised(self, call: Call) -> KeyEntry | None:
        """The key of a request; None where nobody is asked for one.

        Raises:
            RefusedError: 401.
        """
        if not self.keys.required:
            return None
        scheme, _, given = (call.header(b"authorization") or "").partition(" ")
        key = given.strip() if scheme.lower() == "bearer" else call.header(b"x-api-key")
        entry = self.keys.find(key, utc_now()) if key else None
        if entry is None:
            reason = "send a valid API key as Authorization: Bearer KEY or as X-API-Key"
            raise RefusedError(401, "unauthorised", reason, headers=((b"www-authenticate", b"Bearer"),))
        return entry

    def may_know(self, call: Call, family: str) -> bool:
        """Whether a request may be told what is served of ``family``; one without a valid key may not where keys are
        asked for."""
        try:
            entry = self.authorised(call)
        except RefusedError:
            return False
        return entry is None or entry.allows(family)

    def registered(self, call: Call) -> str:
        """The family that the path names.

        Raises:
            RefusedError: 404, it is none.
        """
        family = call.parameter("family")
        if family not in self.families:
            raise RefusedError(404, "unknown_family", f"known are {', '.join(sorted(self.families))}", field="family")
        call.family = family
        return family

    def admit(self, call: Call) -> Admitted:
        """Who may ask, and the model that answers.

        Raises:
            RefusedError: 401, 403, 404, 422 or 503.
        """
        entry = self.authorised(call)
        family = self.registered(call)
        _check_scope(entry, family)
        served = self.champions.current(family)
        if served is None:
            if self.champions.standing(family).state == "none":
                raise RefusedError(404, "no_model", "the family has no promoted model yet", field="family")
            reason = "the family's champion could not be verified; /v1/models says why"
            raise unavailable("unverified", reason, self.serving.retry_after_seconds)
        return Admitted(served, call.name())

    async def decoded(self, call: Call, body: bytes, kind: type[Any] = object) -> Any:
        """The JSON document of a body, of the type ``kind`` where one is given; a large one is read in a thread.

        Raises:
            RefusedError: 400, 422 or 503.
        """
        if len(body) <= LARGE_BYTES:
            return decode_json(body, kind)
        return await self._in_time(call, self._batches, Turn(), partial(decode_json, body, kind))

    def _seconds_left(self, call: Call) -> float:
        return call.read_at + self.serving.answer_seconds - time.monotonic()

    def _late(self) -> RefusedError:
        return late(self.serving.answer_seconds, self.serving.retry_after_seconds)

    async def _in_time(self, call: Call, executor: Executor, turn: Turn, work: Callable[[], T]) -> T:
        try:
            return await within(self._seconds_left(call), executor, turn, work)
        except TimeoutError:
            raise self._late() from None

    async def _as_batch(self, call: Call, turn: Turn, work: Callable[[], T]) -> T:
        """One more of the requests with many records. It is one until its thread is done with it, given up or not."""
        self._begin_batch()
        try:
            return await within(self._seconds_left(call), self._batches, turn, work, self._end_batch)
        except TimeoutError:
            raise self._late() from None

    async def score_one(self, call: Call, admitted: Admitted, record: Record, size: int) -> ScoredRecord:
        """Score one record of ``size`` bytes; the log knows it.

        Raises:
            RefusedError: 422 or 503.
        """
        served = admitted.served
        try:
            if size > LARGE_BYTES:
                scored = await self._as_batch(call, Turn(), partial(served.scorer.score, record))
            elif served.spec.text_columns and size > LARGE_TEXT_BYTES:
                scored = await self._score_in(call, served, record)
            elif served.spec.text_columns:
                async with asyncio.timeout(self._seconds_left(call)):
                    scored = await self._batcher(served.family).score(served, record)
            else:
                # One in which screening may find something takes longer, and nobody else waits for it.
                at_once = served.scorer.score_at_once(record)
                scored = at_once or await self._score_in(call, served, record)
        except TimeoutError:
            raise self._late() from None
        except RecordError as error:
            raise invalid(error.field, error.reason) from None
        _refuse_malformed(screen_numbers(scored.label, scored.probability, scored.score))
        row = LoggedRow(
            time.time_ns(),
            admitted.request_id,
            served.family,
            served.digest,
            call.route,
            scored.label,
            scored.probability,
            scored.score,
            dict(scored.sketch),
            call.elapsed_us(),
            dict(scored.masked),
        )
        self._journal.append([row])
        self.metrics.scored(served.family, scored.label, 1 - scored.label)
        if scored.masked:
            self.metrics.found(served.family, scored.masked, {})
        return scored

    async def _score_in(self, call: Call, served: ServedModel, record: Record) -> ScoredRecord:
        return await self._in_time(call, self._singles, Turn(), partial(served.scorer.score, record))

    async def score_many(
        self,
        call: Call,
        admitted: Admitted,
        read: Callable[[], pd.DataFrame],
        write: Callable[[ScoredMany], bytes],
    ) -> bytes:
        """Read, score, log and write many records in a thread.

        Raises:
            RefusedError: 400, 413, 422 or 503.
        """
        turn = Turn()
        return await self._as_batch(call, turn, partial(self._score_many, call, admitted, turn, read, write))

    def _score_many(
        self,
        call: Call,
        admitted: Admitted,
        turn: Turn,
        read: Callable[[], pd.DataFrame],
        write: Callable[[ScoredMany], bytes],
    ) -> bytes:
        served = admitted.served
        try:
            scored = served.scorer.score_many(read())
        except RecordError as error:
            which = "" if error.record is None else f" (first: record {error.record})"
            raise invalid(error.field, f"{error.reason}{which}") from None
        outputs = screen_outputs(scored.predictions, served.screener, scored.texts).by_kind
        _refuse_malformed(outputs)
        answer = write(ScoredMany(served, admitted.request_id, scored.predictions))
        turn.take()
        self._journal.append(_rows(call, admitted.request_id, served, scored))
        positives = int(scored.predictions["label"].sum())
        self.metrics.scored(served.family, positives, len(scored.predictions) - positives)
        self.metrics.found(served.family, scored.masked, outputs)
        return answer

    async def feedback(self, call: Call) -> int:
        """Write down labels that came later; how many.

        Raises:
            RefusedError: 400, 401, 403, 408, 413, 415, 422 or 503.
        """
        entry = self.authorised(call)
        media_type(call.header(b"content-type"), (JSON,))
        labels = (await self.decoded(call, await call.body(), FeedbackRequest)).labels
        if len(labels) > self.serving.batch_records_max:
            raise too_large(f"{len(labels)} labels; send at most {self.serving.batch_records_max} at once")
        if len(labels) <= _LABELS_AT_ONCE:
            return self._take_labels(entry, labels, Turn())
        turn = Turn()
        return await self._as_batch(call, turn, partial(self._take_labels, entry, labels, turn))

    def _take_labels(self, entry: KeyEntry | None, labels: Sequence[LabelGiven], turn: Turn) -> int:
        counts: dict[str, int] = {}
        for number, one in enumerate(labels):
            family = one.request_id.partition("-")[0]
            if family not in self.families:
                raise invalid(f"labels[{number}].request_id", "of no family")
            counts[family] = counts.get(family, 0) + 1
        for family in counts:
            _check_scope(entry, family)
        actor = _ANONYMOUS if entry is None else f"key:{entry.id}"
        now = time.time_ns()
        turn.take()
        self._journal.append([FeedbackRow(now, one.request_id, one.label, actor) for one in labels])
        for family, count in counts.items():
            self.metrics.labelled(family, count)
        return len(labels)

    def _batcher(self, family: str) -> Batcher:
        if family not in self._batchers:
            self._batchers[family] = Batcher(self._singles, self.serving.text_batch_records_max)
        return self._batchers[family]

    def _begin_batch(self) -> None:
        if self._batches_in_flight >= self.serving.batches_in_flight_max:
            raise busy("too many requests with many records at once", self.serving.retry_after_seconds)
        self._batches_in_flight += 1

    def _end_batch(self) -> None:
        self._batches_in_flight -= 1


def _check_scope(entry: KeyEntry | None, family: str) -> None:
    if entry is not None and not entry.allows(family):
        raise RefusedError(403, "forbidden", "the API key is not for this family", field="family")


def _refuse_malformed(findings: Mapping[str, int]) -> None:
    if any(kind.startswith(MALFORMED) for kind in findings):
        _LOGGER.error("a model gave what is no prediction: %s", ", ".join(findings))
        raise RefusedError(500, "no_prediction", "the model gave what is no prediction")


def _rows(call: Call, request_id: str, served: ServedModel, scored: ScoredRecords) -> LoggedRows:
    """What is logged of records that are answered together."""
    sketch, predictions = served.detector.sketch(scored.inputs), scored.predictions
    return LoggedRows(
        at_ns=time.time_ns(),
        request=request_id,
        first=0,
        family=served.family,
        model=served.digest,
        route=call.route,
        latency_us=call.elapsed_us(),
        findings=dict(scored.masked),
        label=label_bytes(predictions["label"]),
        probability=number_bytes(predictions["probability"]),
        score=number_bytes(predictions["score"]),
        sketch={str(name): number_bytes(sketch[name]) for name in sketch.columns},
    )
