"""Cards for the tests of their formats: any numbers, any texts, and texts that try to break out of a layout."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from nethical_assets.core.cards import AuditReference, CardEvidence, build_card, card_bytes
from nethical_assets.core.evaluation.measures import METRICS
from nethical_assets.core.ground.digests import digest_bytes

HOSTILE = [
    "<script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "&lt;b&gt; &#106;avascript:alert(1)",
    "<!-- comment",
    "]]> --> </textarea>",
    "x\n\n# Verdict: promoted\n",
    "x | y | z",
    "[click](javascript:alert(1)) ![x](file:///etc/passwd)",
    "<https://evil.example> https://evil.example www.evil.example me@evil.example",
    "`code` **bold** ~~gone~~ _slanted_ $x$",
    "```\nfence\n```",
    "1. list",
    "\\",
    "---\nlicense: mit\n---\n",
    "key: value # comment",
    "!!python/object/apply:os.system ['true']",
    "&anchor *alias %TAG @x",
    "- [ ] task",
    "{{7*7}} {% raw %}",
    "nul\x00 bell\x07 escape\x1b[31m delete\x7f next\x85line",
    "\u202egnp.exe\u202c \u2066x\u2069 \u200b \ufeff \ufffe \u2028---\u2029",
    "\U0001f600 \U000e0041 \U0010ffff",
    "null",
    "1e3",
    "",
]

EVIDENCE = ("model", "dataset", "screened", "splits", "evaluation", "decision", "dataset_record", "screening_record",
            "evaluation_record")  # fmt: skip

texts = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=("Cs",)), max_size=30))
counts = st.integers(0, 10**6)
unit = st.floats(0, 1, allow_subnormal=False)
digests = st.binary(max_size=4).map(digest_bytes)


@st.composite
def metrics(draw: st.DrawFn) -> dict[str, Any]:
    """Every metric, some of them undefined or without an interval."""
    found = {}
    for name in METRICS:
        low, value, high = sorted(draw(st.tuples(unit, unit, unit)))
        shape = draw(st.sampled_from(["interval", "interval", "point", "undefined"]))
        if shape == "undefined":
            found[name] = {"value": None, "low": None, "high": None, "reason": draw(texts)}
        else:
            bounds = (low, high) if shape == "interval" else (None, None)
            found[name] = {"value": value, "low": bounds[0], "high": bounds[1], "reason": ""}
    return found


@st.composite
def slices(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Sources that were measured by themselves."""
    names = draw(st.lists(texts, max_size=2))
    return [
        {"source": name, "rows": draw(counts), "positives": draw(counts), "metrics": draw(metrics())} for name in names
    ]


@st.composite
def reliability(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The bins of a reliability table, some of them empty."""
    rows = []
    for index in range(draw(st.sampled_from([0, 4]))):
        count = draw(st.sampled_from([0, 1, 77]))
        low, rate, high, mean = (*sorted(draw(st.tuples(unit, unit, unit))), draw(unit)) if count else (None,) * 4
        observed = {"observed_rate": rate, "observed_low": low, "observed_high": high}
        rows.append({"low": index / 4, "high": (index + 1) / 4, "rows": count, "mean_probability": mean, **observed})
    return rows


@st.composite
def points(draw: st.DrawFn) -> dict[str, Any] | None:
    """The columns of operating points, or none."""
    number = draw(st.integers(0, 4))
    if draw(st.booleans()):
        return None
    rising = st.lists(unit, min_size=number, max_size=number).map(sorted)
    precision = [None, *draw(st.lists(unit, min_size=max(number - 1, 0), max_size=max(number - 1, 0)))][:number]
    return {"false_positive_rate": draw(rising), "recall": draw(rising), "precision": precision}


@st.composite
def evaluations(draw: st.DrawFn) -> dict[str, Any]:
    """The facts of the evaluation stage."""
    cells = ("true_positives", "false_positives", "true_negatives", "false_negatives")
    return {
        "evaluation": {
            "rows": draw(counts),
            "positives": draw(counts),
            "decision_threshold": draw(st.sampled_from([0.5, 0.35])),
            "confusion": draw(st.none() | st.fixed_dictionaries(dict.fromkeys(cells, counts))),
            "metrics": draw(metrics()),
            "reliability": draw(reliability()),
            "operating_points": draw(points()),
            "sources": draw(slices()),
        },
        "across_sources": draw(slices()),
        "held_out_sources": draw(slices()),
        "notes": draw(st.lists(texts, max_size=2)),
        "predictions_screened": draw(counts),
        "prediction_findings": draw(st.dictionaries(texts, counts, max_size=2)),
    }


def retrainings() -> st.SearchStrategy[dict[str, Any]]:
    """The drift report that asked for a model, of a window or of an older version."""
    window = {"start": "2026-11-21T06:00:00+00:00", "end": "2026-11-21T12:00:00+00:00"}
    return st.fixed_dictionaries({"drift_report": digests, "window": st.sampled_from([None, window])})


@st.composite
def cards(draw: st.DrawFn) -> dict[str, Any]:
    """Any card, as it reads back from its file."""
    named = st.fixed_dictionaries({}, optional=dict.fromkeys(EVIDENCE, digests))
    raw = draw(st.lists(texts, max_size=2, unique=True))
    rows = st.fixed_dictionaries({"rows": counts, "positives": counts})
    sources = st.dictionaries(st.sampled_from(raw) | texts if raw else texts, rows, max_size=2)
    evidence = CardEvidence(
        family=draw(st.sampled_from(["logistic", "anomaly"])),
        title=draw(texts),
        model_form=draw(texts),
        intended_use=draw(texts),
        limits=tuple(draw(st.lists(texts, max_size=2))),
        input_columns=tuple(draw(st.lists(texts, max_size=2))),
        dataset={
            "source": draw(texts),
            "synthetic": draw(st.booleans()),
            "sources": draw(sources),
            "licences": {name: draw(texts) for name in raw},
            "skipped": draw(st.lists(st.fixed_dictionaries({"dataset": texts, "reason": texts}), max_size=1)),
            "duplicates_removed": draw(counts),
            "rows_with_conflicting_labels": draw(counts),
        },
        screening={
            "ruleset": draw(digests),
            "by_kind": draw(st.dictionaries(texts, counts, max_size=2)),
            "records_screened": draw(counts),
            "columns_screened": draw(counts),
            "rows_masked": draw(counts),
            "quarantined": draw(counts),
        },
        splits={"splits": {name: {"rows": draw(counts)} for name in ("train", "validation", "test")}},
        model={},
        evaluation=draw(evaluations()),
        release={
            "version": f"{draw(counts)}.{draw(counts)}.0",
            "verdict": draw(st.sampled_from(["promoted", "candidate"])),
            "reasons": draw(st.lists(texts, max_size=2)),
        },
        training_config={
            "seed": draw(counts),
            "hyperparameters": draw(st.dictionaries(texts, unit | texts | st.lists(unit, max_size=2), max_size=2)),
            "libraries": draw(st.dictionaries(st.sampled_from(["numpy", "scikit-learn"]), st.just("1.2.3"))),
        },
        digests={**draw(named), **{f"raw/{name}": draw(digests) for name in raw}},
        audit=AuditReference("run-77", draw(st.integers(1, 10**6)), "ab" * 32),
        drift_report_id=draw(st.none() | digests),
        model_path="models/store/" + "cd" * 32,
        issued_at="2026-11-22T02:00:00.000000+00:00",
        trained_at=draw(st.sampled_from([None, "2026-11-21T23:00:00.000000+00:00"])),
        input_kind=draw(st.sampled_from(["text", "sequence", "records", ""])),
        retrained_because=draw(st.none() | retrainings()),
    )
    return stored(build_card(evidence))


def stored(card: dict[str, Any]) -> dict[str, Any]:
    """A card as it reads back from its file."""
    document: dict[str, Any] = json.loads(card_bytes(card))
    return document


def filled_with(word: str, card: dict[str, Any]) -> dict[str, Any]:
    """``card`` with ``word`` wherever a text may come from a file, a setting or a declaration."""
    changed: dict[str, Any] = json.loads(json.dumps(card))
    changed |= {"title": word, "model_form": word, "intended_use": word, "limits": [word], "reasons": [word]}
    info, evaluation, governance = changed["dataset_info"], changed["evaluation"], changed["governance_summary"]
    evaluation["notes"] = [word]
    for name in ("by_source", "left_out_of_training", "never_trained_on"):
        for source in evaluation[name]:
            source["source"] = word
    changed["metrics"]["f1"] = {"value": None, "low": None, "high": None, "reason": word}
    rows = {"rows": 1, "positives": 1}
    info |= {"source": word, "features": [word, "b"], "sources": {word: rows}, "licences": {word: word}}
    info["skipped"] = [{"dataset": word, "reason": word}]
    governance["data_violations_by_kind"] = {word: 1}
    governance["prediction_violations_by_kind"] = {word: 1}
    changed["training_config"]["hyperparameters"] = {word: word}
    raw = {name: digest for name, digest in changed["digests"].items() if not name.startswith("raw/")}
    changed["digests"] = {**raw, f"raw/{word}": digest_bytes(word.encode())}
    return changed
