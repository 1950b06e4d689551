"""Whether a drift report asks for retraining now, and what can truly be said about it.

What belongs here: threshold, cause, cool-down, fruitless trainings and the memory between looks. What does not:
computing a report (``core.drift``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

_CURSOR_VERSION = 1
_ATTEMPTS = 3
"""So often is retraining asked for because of one cause where no training came of it: its run failed or was lost."""
_FRUITLESS = {
    "unchanged": "Retraining gave the same model: it needs new labelled data. Which requests to label first: nethical "
    "label-queue {family}.",
    "candidate": "Retraining gave a model that was refused; the champion stays.",
}


@dataclass(frozen=True)
class NewestReport:
    """What the drift report of a family's newest window said.

    Attributes:
        score: None where it needs more data.
        model: the champion it is about, or empty where that is unknown.
        window: the window it is about in words, or empty: reports of older versions are about none.
        cause: the same for reports of the same drift: of one model, in the same monitors; empty where that is unknown.
    """

    family: str
    digest: str
    verdict: str
    score: float | None
    model: str = ""
    window: str = ""
    cause: str = ""


@dataclass(frozen=True)
class Situation:
    """A family as it stands.

    Attributes:
        champion: digest of the model in place, or empty where that is unknown.
        data: changes whenever the family's data does, or empty.
        trained_at: when the newest training that was asked for because of drift decided, or None.
        verdict: what became of that training: ``promoted``, ``candidate`` or ``unchanged``.
    """

    champion: str = ""
    data: str = ""
    trained_at: datetime | None = None
    verdict: str = ""


@dataclass(frozen=True)
class RetrainingRequest:
    """Retrain ``family``; ``key`` is the same for the same report and attempt, so that it is asked for once. ``report``
    is the digest of the drift report that asks."""

    family: str
    key: str
    reason: str
    report: str


@dataclass(frozen=True)
class Remark:
    """What is true about a family that drifts, for its issue; said once for each ``key``."""

    family: str
    key: str
    text: str


def decide_retraining(
    reports: Sequence[NewestReport],
    cursor: str | None,
    *,
    now: datetime,
    threshold: float,
    cooldown: timedelta,
    situations: Mapping[str, Situation] | None = None,
) -> tuple[list[RetrainingRequest], str]:
    """The requests due now and the new cursor.

    A family is asked for when its newest report says drift of its champion with a score above ``threshold`` and its
    last request is at least ``cooldown`` ago. ``changed`` never asks. The same cause asks once: again only when the
    champion or the data changed, or up to three times where no training came of the request, whose run may have failed.
    A training that ended without a new champion would end so again, whatever the cause: it is asked for again only when
    the champion or the data changed.
    """
    memory = _read(cursor)
    requests: list[RetrainingRequest] = []
    for report in reports:
        situation = (situations or {}).get(report.family, Situation())
        known = memory.get(report.family)
        if _why_not(report, known, situation, now=now, threshold=threshold, cooldown=cooldown) is not None:
            continue
        same = known is not None and _is_same(report, known)
        attempt = known["attempt"] + 1 if known is not None and same else 1
        unanswered = known is not None and same and _is_as_before(known, situation)
        tries = _tries(known) + 1 if known is not None and unanswered else 1
        key = f"drift:{report.family}:{report.digest}:{attempt}"
        memory[report.family] = {
            "digest": report.digest,
            "cause": report.cause,
            "asked_at": now.isoformat(),
            "attempt": attempt,
            "tries": tries,
            "champion": situation.champion,
            "data": situation.data,
        }
        reason = f"drift score {report.score:.3f} is above {threshold:g}: drift report {report.digest}"
        about = f" of window {report.window}" if report.window else ""
        requests.append(RetrainingRequest(report.family, key, f"{reason}{about}", report.digest))
    return requests, json.dumps({"version": _CURSOR_VERSION, "families": memory}, sort_keys=True)


def remarks(
    reports: Sequence[NewestReport],
    cursor: str | None,
    *,
    now: datetime,
    threshold: float,
    cooldown: timedelta,
    situations: Mapping[str, Situation],
) -> list[Remark]:
    """What to say on the issues of families that drift, as far as ``cursor`` knows: requests that were really made."""
    memory = _read(cursor)
    found = []
    for report in reports:
        situation, known = situations.get(report.family, Situation()), memory.get(report.family)
        if report.verdict != "drift":
            continue
        if known is not None:
            asked = f"drift:{report.family}:{known['digest']}:{known['attempt']}"
            text = f"Retraining was requested at {_minute(known['asked_at'])}."
            found.append(Remark(report.family, asked, text))
        why = _why_not(report, known, situation, now=now, threshold=threshold, cooldown=cooldown)
        if why is not None:
            found.append(Remark(report.family, *why))
    return found


def _why_not(
    report: NewestReport,
    known: Mapping[str, Any] | None,
    situation: Situation,
    *,
    now: datetime,
    threshold: float,
    cooldown: timedelta,
) -> tuple[str, str] | None:
    """Why retraining is not asked for now, as (key, sentence); None when it is due."""
    if report.verdict != "drift" or report.score is None or report.score <= threshold:
        return f"below:{report.digest}", f"No retraining is requested: the drift score is not above {threshold:g}."
    if report.model and situation.champion and report.model != situation.champion:
        return f"former:{report.digest}", "No retraining is requested: the report is about the former champion."
    return None if known is None else _asked_before(report, known, situation, now=now, cooldown=cooldown)


def _asked_before(
    report: NewestReport, known: Mapping[str, Any], situation: Situation, *, now: datetime, cooldown: timedelta
) -> tuple[str, str] | None:
    """Why what was asked for is not asked for again now."""
    asked_at = datetime.fromisoformat(known["asked_at"])
    asked = f"{known['digest']}:{known['attempt']}"
    decided = situation.trained_at is not None and situation.trained_at > asked_at
    again = "It is requested again when the data or the champion changes."
    if _is_as_before(known, situation):
        if decided and situation.verdict != "promoted":
            what = _FRUITLESS.get(situation.verdict, _FRUITLESS["candidate"]).format(family=report.family)
            return f"fruitless:{asked}", f"{what} {again}"
        if decided and _is_same(report, known):
            return f"once:{asked}", f"Retraining was requested for this cause before. {again}"
        if _is_same(report, known) and _tries(known) >= _ATTEMPTS:
            lost = f"Retraining was requested {_ATTEMPTS} times for this cause and no training came of it"
            return f"lost:{asked}", f"{lost}: see why its runs failed. {again}"
    if now - asked_at < cooldown:
        until = _minute((asked_at + cooldown).isoformat())
        return f"cooling:{asked}", f"Retraining is not requested again before {until}."
    return None


def _is_same(report: NewestReport, known: Mapping[str, Any]) -> bool:
    """Whether the request was made for the same cause; of reports that name none, whether it was the same report."""
    cause = known.get("cause", "")
    if report.cause or cause:
        return bool(report.cause == cause)
    return bool(report.digest == known["digest"])


def _tries(known: Mapping[str, Any]) -> int:
    """How often was asked for the cause since data and champion are as they are; older versions did not count."""
    tries = known.get("tries", 1)
    return tries if type(tries) is int else 1


def _is_as_before(known: Mapping[str, Any], situation: Situation) -> bool:
    return all(known.get(name, "") == getattr(situation, name) for name in ("champion", "data"))


def _minute(moment: str) -> str:
    return datetime.fromisoformat(moment).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _read(cursor: str | None) -> dict[str, Mapping[str, Any]]:
    """The remembered requests; a cursor of another version or form is forgotten, which at worst asks once more."""
    try:
        document = json.loads(cursor or "{}")
    except ValueError:
        return {}
    if not isinstance(document, dict) or document.get("version") != _CURSOR_VERSION:
        return {}
    families = document.get("families")
    return {name: known for name, known in families.items() if _is_request(known)} if isinstance(families, dict) else {}


def _is_request(known: Any) -> bool:
    """Whether ``known`` has the form of a remembered request."""
    try:
        asked_at = datetime.fromisoformat(known["asked_at"])
        return asked_at.tzinfo is not None and type(known["attempt"]) is int and isinstance(known["digest"], str)
    except (KeyError, TypeError, ValueError):
        return False
