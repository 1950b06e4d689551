"""Traffic for a gateway from held-out rows, so that monitoring can be seen at work without clients.

What belongs here: sending at a rate, labels that come later, and what came of it. What does not: which records are sent
(``core.drift.replay``).
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from nethical_assets.core.datasets.splits import TEST
from nethical_assets.core.detectors.registry import load_family
from nethical_assets.core.drift.replay import replayed
from nethical_assets.core.ground.errors import NethicalError, NoChampionError, SettingsError
from nethical_assets.core.reading.tables import check_output, write_records
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd
    import urllib3

KEY_VARIABLE = "NETHICAL_GATEWAY_KEY"
_LABELS_AT_ONCE = 500
_SECONDS_BETWEEN_LABELS = 1.0
_TRIES = 5
_TIMEOUT_SECONDS = 30.0
_LONGEST_PAUSE_SECONDS = 5.0


class GatewayUnreachableError(NethicalError):
    """The gateway does not answer, or not as a gateway does."""

    exit_code = 1


@dataclass(frozen=True)
class Traffic:
    """What is sent: ``rate`` requests a second for ``seconds``; labels ``label_delay`` seconds after the answer they
    belong to, or none. ``keep``: a file (.csv, .jsonl or .parquet) that afterwards has what was answered, in columns
    of the family, with ``request_id`` and ``label``."""

    rate: float
    seconds: float
    shift: float = 0.0
    label_delay: float | None = None
    seed: int = 0
    keep: Path | None = None


@dataclass
class Sent:
    """What came of it so far. ``refused``: answers that are no scores, by status; ``models``: answers by digest;
    ``kept``: what was answered, with its request id and label, where that is asked for."""

    answered: int = 0
    positives: int = 0
    right: int = 0
    labels: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)
    kept: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; shares are of the answers, and missing without any."""
        ordered = sorted(self.milliseconds)
        answered = max(self.answered, 1)
        shares = {"positive_rate": self.positives / answered, "accuracy": self.right / answered}
        times = {f"p{p}_milliseconds": round(ordered[len(ordered) * p // 100], 3) for p in (50, 99) if ordered}
        return {
            "answered": self.answered,
            "refused": {str(status): count for status, count in sorted(self.refused.items())},
            "labels": self.labels,
            "models": dict(self.models),
            **({name: round(share, 6) for name, share in shares.items()} if self.answered else {}),
            **times,
        }


def send_traffic(settings: Settings, family: str, url: str, traffic: Traffic, told: Callable[[Sent], None]) -> Sent:
    """Send held-out rows of the champion of ``family`` to the gateway at ``url``; ``told`` is given every state.

    An API key is read from ``NETHICAL_GATEWAY_KEY``.

    Raises:
        NoChampionError: the family has none here.
        SettingsError: the address is none.
        DatasetError: there is nothing to send, the shift is none, or what is kept cannot be written.
        GatewayUnreachableError: it does not answer, or does not take labels.
    """
    if traffic.keep is not None:
        check_output(traffic.keep)
    spec = load_family(family)
    rows, columns = _held_out(settings, family)
    records = replayed(rows, columns, spec.kind, shift=traffic.shift, seed=traffic.seed)
    gateway = _Gateway(url, family)
    sent = Sent()
    waiting: deque[tuple[float, str, int]] = deque()
    began = labelled = time.monotonic()
    number = 0
    while (due := began + number / traffic.rate) < began + traffic.seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        record, label = next(records)
        asked = time.monotonic()
        answer = gateway.score(record, sent)
        if answer is not None:
            sent.milliseconds.append((time.monotonic() - asked) * 1000.0)
            sent.answered += 1
            sent.positives += answer["label"]
            sent.right += answer["label"] == label
            sent.models[answer["model"]] += 1
            if traffic.keep is not None:
                sent.kept.append({"request_id": answer["request_id"], "label": label, **record})
            if traffic.label_delay is not None:
                waiting.append((time.monotonic() + traffic.label_delay, answer["request_id"], label))
        if time.monotonic() - labelled >= _SECONDS_BETWEEN_LABELS:
            labelled = time.monotonic()
            _label(gateway, waiting, sent, labelled)
        told(sent)
        number += 1
    while waiting:
        time.sleep(max(0.0, waiting[-1][0] - time.monotonic()))
        _label(gateway, waiting, sent, time.monotonic())
        told(sent)
    if traffic.keep is not None:
        import pandas as pd

        write_records(pd.DataFrame(sent.kept, columns=["request_id", "label", *columns]), traffic.keep)
    return sent


def _held_out(settings: Settings, family: str) -> tuple[pd.DataFrame, list[str]]:
    from nethical_assets.core.ground.parquet import get_table
    from nethical_assets.core.models.loading import input_columns

    workspace = Workspace(settings, CycleOptions(), "traffic")
    champion = workspace.evidence.champion(family)
    if champion is None:
        raise NoChampionError(f"family {family} has no promoted model yet; run: nethical run --families {family}")
    stored, _ = workspace.registry.load(champion.model)
    frame = get_table(workspace.objects, stored.training["splits"])
    return frame[frame["split"] == TEST].reset_index(drop=True), input_columns(load_family(family), frame)


def _label(gateway: _Gateway, waiting: deque[tuple[float, str, int]], sent: Sent, now: float) -> None:
    due: list[dict[str, Any]] = []
    while waiting and waiting[0][0] <= now and len(due) < _LABELS_AT_ONCE:
        _, request_id, label = waiting.popleft()
        due.append({"request_id": request_id, "label": label})
    if due:
        gateway.label(due)
        sent.labels += len(due)


class _Gateway:
    """The gateway as a client sees it: one connection, and another try where it is told to wait."""

    def __init__(self, url: str, family: str) -> None:
        import urllib3

        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"{url!r} is no address of a gateway; give one such as http://127.0.0.1:8420")
        key = os.environ.get(KEY_VARIABLE)
        self._url = url.rstrip("/")
        self._family = family
        self._headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        self._pool = urllib3.PoolManager(retries=False, timeout=_TIMEOUT_SECONDS)

    def score(self, record: dict[str, Any], sent: Sent) -> dict[str, Any] | None:
        """The answer to one record; None where it was refused, which is counted."""
        answer = self._post(f"/v1/score/{self._family}", record)
        if answer.status in (401, 403, 404):
            raise GatewayUnreachableError(f"{self._url} refuses (status {answer.status}): {_reason(answer)}")
        if answer.status != 200:
            sent.refused[answer.status] += 1
            return None
        document: dict[str, Any] = json.loads(answer.data)
        return document

    def label(self, labels: list[dict[str, Any]]) -> None:
        """Give labels.

        Raises:
            GatewayUnreachableError: they were not taken.
        """
        answer = self._post("/v1/feedback", {"labels": labels})
        if answer.status != 202:
            raise GatewayUnreachableError(f"{self._url} took no labels (status {answer.status}): {_reason(answer)}")

    def _post(self, path: str, document: dict[str, Any]) -> urllib3.BaseHTTPResponse:
        import urllib3

        body = json.dumps(document).encode()
        for left in reversed(range(_TRIES)):
            try:
                answer = self._pool.request("POST", f"{self._url}{path}", body=body, headers=self._headers)
            except urllib3.exceptions.HTTPError as error:
                if not left:
                    raise GatewayUnreachableError(
                        f"{self._url} does not answer ({type(error).__name__}); start it with: nethical serve"
                    ) from None
                time.sleep(0.2)
                continue
            if answer.status != 503 or not left:
                break
            asked = answer.headers.get("retry-after", "1")
            time.sleep(min(float(asked) if asked.isdigit() else 1.0, _LONGEST_PAUSE_SECONDS))
        return answer


def _reason(answer: urllib3.BaseHTTPResponse) -> str:
    try:
        return str(json.loads(answer.data)["error"]["reason"])
    except (ValueError, KeyError, TypeError):
        return "it says no reason"
