"""The error card: how often screening is right, measured on labelled corpora.

What belongs here: precision and recall of personal-data kinds, how often each pack flags ordinary texts, hits on
numeric tables, all with exact intervals, as JSON and Markdown. What does not: thresholds for training, rules.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nethical_assets.core.evaluation.estimate import proportion
from nethical_assets.core.governance.findings import Findings
from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.ground.digests import digest_file
from nethical_assets.core.ground.documents import to_document
from nethical_assets.core.ground.errors import DatasetError

SPANS = "nethical-mirror/pii-spans/synth_dataset_v2.json"
PROMPTS = "nethical-mirror/prompt-injection"
KINDS = {
    "EMAIL_ADDRESS": "EMAIL",
    "PHONE_NUMBER": "PHONE",
    "CREDIT_CARD": "CREDIT_CARD",
    "IBAN_CODE": "IBAN",
    "US_SSN": "SSN",
    "IP_ADDRESS": "IP_ADDRESS",
}
"""Entity types of the span corpus and the kinds that answer for them."""

HALVES = ("tuning", "held_out")
"""Rules were tuned on the first half (by content hash) only; figures to quote are those of the second."""

RECALL_AIM = 0.95
PRECISION_AIM = 0.90
BENIGN_AIM = 0.01
_MINIMUM_OVERLAP = 0.5
_NUMERIC_TABLES: Mapping[str, Mapping[str, Any]] = {
    "hassan06/nslkdd/KDDTrain+_20Percent.txt": {"header": None},
    "yashsharan/the-elec2-dataset/elec.csv": {},
    "nethical-mirror/uci-phishing-websites/phishing.csv": {},
}
_NUMERIC_ROWS = 10_000
_NEURALCHEMY = f"{PROMPTS}/neuralchemy.csv"
_JAILBREAKS = f"{PROMPTS}/jailbreak_prompts_2023_12_25.csv"
_CHAT_PROMPTS = f"{PROMPTS}/awesome_chatgpt_prompts.csv"
_TWEETS = "mrmorj/hate-speech-and-offensive-language-dataset/labeled_data.csv"
_MESSAGES = "uciml/sms-spam-collection-dataset/spam.csv"
CORPORA = (SPANS, _NEURALCHEMY, _JAILBREAKS, _CHAT_PROMPTS, _TWEETS, _MESSAGES, *_NUMERIC_TABLES)
"""Every file that an error card is measured on; no other can be read."""


def corpus_digests(data_root: Path) -> dict[str, str]:
    """Name -> digest of every corpus under ``data_root``: with rules and code all that an error card depends on.

    Raises:
        DatasetError: a corpus is missing; the message names the file.
    """
    return {name: digest_file(_corpus(data_root, name)) for name in CORPORA}


def build_error_card(data_root: Path, screener: Screener, *, half: str = "held_out") -> dict[str, Any]:
    """Measure ``screener`` on one half of the labelled corpora under ``data_root``.

    Returns JSON: ``personal_data`` (kind to precision and recall), ``benign`` (corpus to pack to share of texts
    flagged), ``attacks`` (corpus to pack to share flagged), ``numeric`` (table to findings), ``aims`` (each aim and
    whether it was met), ``ruleset``, ``half``. Shares are ``Estimate`` objects with exact 95 % intervals.

    Raises:
        DatasetError: a corpus is missing; the message names the file.
        ValueError: ``half`` is not one of ``HALVES``.
    """
    if half not in HALVES:
        raise ValueError(f"half {half!r} is not one of {HALVES}")
    try:
        personal_data = _personal_data(data_root, screener, half)
        benign = {name: _flagged_by_pack(texts, screener) for name, texts in _benign(data_root, half).items()}
        attacks = {name: _flagged_by_pack(texts, screener) for name, texts in _attacks(data_root, half).items()}
        numeric = _numeric(data_root, screener)
    except KeyError as error:
        raise DatasetError(
            f"{data_root}: a corpus has no {error}, so it is not the one that the dataset catalog names; fetch it again"
        ) from None
    return {
        "half": half,
        "ruleset": screener.ruleset.digest,
        "personal_data": personal_data,
        "benign": benign,
        "attacks": attacks,
        "numeric": numeric,
        "aims": _aims(personal_data, benign, numeric),
    }


def _in_half(texts: pd.Series, half: str) -> npt.NDArray[np.bool_]:
    wanted = HALVES.index(half)
    return np.fromiter(
        (hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[-1] % 2 == wanted for text in texts),
        dtype=bool,
        count=len(texts),
    )


def _read(data_root: Path, name: str, read: Callable[[Path], pd.DataFrame]) -> pd.DataFrame:
    if name not in CORPORA:
        raise ValueError(f"{name} is not one of the corpora that an error card is known by; add it to CORPORA")
    path = _corpus(data_root, name)
    try:
        return read(path)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); the error card needs this corpus") from None
    except (ValueError, KeyError):
        raise DatasetError(
            f"{path}: is not the corpus of this name; fetch it again (see the dataset catalog)"
        ) from None


def _corpus(data_root: Path, name: str) -> Path:
    path = data_root / name
    if not path.is_file():
        raise DatasetError(f"{path}: missing; the error card needs this corpus (see the dataset catalog)")
    return path


def _csv(**options: Any) -> Callable[[Path], pd.DataFrame]:
    return lambda path: pd.read_csv(path, **options)


def _personal_data(data_root: Path, screener: Screener, half: str) -> dict[str, Any]:
    corpus = _read(data_root, SPANS, lambda path: pd.DataFrame(json.loads(path.read_text(encoding="utf-8"))))
    corpus = corpus[_in_half(corpus["full_text"], half)].reset_index(drop=True)
    findings = screener.screen(corpus["full_text"]).to_pandas()
    found = findings[findings["keyed_hash"].isna()][["row", "kind", "start", "end"]].astype({"kind": "str"})
    labelled = [
        (row, KINDS[span["entity_type"]], span["start_position"], span["end_position"])
        for row, spans in enumerate(corpus["spans"])
        for span in spans
        if span["entity_type"] in KINDS
    ]
    truth = pd.DataFrame(labelled, columns=["row", "kind", "start", "end"])
    report = {}
    for kind in KINDS.values():
        expected, seen = truth[truth["kind"] == kind], found[found["kind"] == kind]
        report[kind] = {
            "labelled": len(expected),
            "found": len(seen),
            "recall": to_document(proportion(_covered(expected, seen), len(expected), "no labelled span")),
            "precision": to_document(proportion(_covered(seen, expected), len(seen), "nothing found")),
        }
    return report


def _covered(spans: pd.DataFrame, others: pd.DataFrame) -> int:
    """How many of ``spans`` share at least half of their union with one of ``others`` in the same row."""
    pairs = spans.reset_index(names="span").merge(others, on="row", suffixes=("", "_other"))
    shared = pairs[["end", "end_other"]].min(axis=1) - pairs[["start", "start_other"]].max(axis=1)
    union = pairs[["end", "end_other"]].max(axis=1) - pairs[["start", "start_other"]].min(axis=1)
    return int(pairs.loc[shared >= _MINIMUM_OVERLAP * union, "span"].nunique())


def _benign(data_root: Path, half: str) -> dict[str, pd.Series]:
    neuralchemy = _read(data_root, _NEURALCHEMY, _csv())
    corpora = {
        "chat prompts": _read(data_root, _CHAT_PROMPTS, _csv())["prompt"],
        "benign prompts": neuralchemy.loc[neuralchemy["label"] == 0, "text"],
        "ham messages": _messages(data_root, "ham"),
        "personal texts": _read(data_root, SPANS, lambda path: pd.DataFrame(json.loads(path.read_text("utf-8"))))[
            "full_text"
        ],
    }
    return {name: _half_of(texts, half) for name, texts in corpora.items()}


def _attacks(data_root: Path, half: str) -> dict[str, pd.Series]:
    neuralchemy = _read(data_root, _NEURALCHEMY, _csv())
    jailbreaks = _read(data_root, _JAILBREAKS, _csv())
    tweets = _read(data_root, _TWEETS, _csv())
    corpora = {
        "injection prompts": neuralchemy.loc[neuralchemy["label"] == 1, "text"],
        "jailbreak prompts": jailbreaks["prompt"],
        "spam messages": _messages(data_root, "spam"),
        "hateful or offensive tweets": tweets.loc[tweets["class"] != 2, "tweet"],
    }
    return {name: _half_of(texts, half) for name, texts in corpora.items()}


def _messages(data_root: Path, label: str) -> pd.Series:
    table = _read(data_root, _MESSAGES, _csv(encoding="cp1252"))
    return table.loc[table["v1"] == label, "v2"]


def _half_of(texts: pd.Series, half: str) -> pd.Series:
    present = texts.dropna()
    return present[_in_half(present, half)].reset_index(drop=True)


def _flagged_by_pack(texts: pd.Series, screener: Screener) -> dict[str, Any]:
    findings = screener.screen(texts)
    packs = np.asarray([rule.partition(".")[0] for rule in findings.names("rule")], dtype=object)
    return {
        pack: to_document(proportion(_texts_with(findings, packs == pack), len(texts), "no texts"))
        for pack in screener.ruleset.packs
    } | {"texts": len(texts)}


def _texts_with(findings: Findings, keep: npt.NDArray[np.bool_]) -> int:
    return len(np.unique(findings.rows[keep]))


def _numeric(data_root: Path, screener: Screener) -> dict[str, Any]:
    report = {}
    for name, options in _NUMERIC_TABLES.items():
        table = _read(data_root, name, _csv(nrows=_NUMERIC_ROWS, **options)).select_dtypes("number")
        columns = [table[column] for column in table]
        rows = pd.Series(table.astype("str").agg(" ".join, axis=1), dtype="str")
        report[name] = {
            "values": table.size,
            "findings": sum(len(screener.screen(column)) for column in columns),
            "findings_written_as_text": sum(len(screener.screen(column.astype("str"))) for column in columns),
            "findings_in_rows_written_as_text": len(screener.screen(rows)),
        }
    return report


def _aims(personal_data: dict[str, Any], benign: dict[str, Any], numeric: dict[str, Any]) -> list[dict[str, Any]]:
    aims = [
        {"aim": f"{measure} of {kind} >= {aim}", "value": value, "met": value is not None and value >= aim}
        for kind, entry in personal_data.items()
        for measure, aim in (("recall", RECALL_AIM), ("precision", PRECISION_AIM))
        for value in [entry[measure]["value"]]
    ]
    for corpus, packs in benign.items():
        value = packs["prompt_injection"]["value"]
        aims.append(
            {"aim": f"prompt_injection flags < {BENIGN_AIM} of {corpus}", "value": value, "met": value < BENIGN_AIM}
        )
    hits = sum(entry["findings"] for entry in numeric.values())
    return [*aims, {"aim": "no findings in numeric columns", "value": hits, "met": hits == 0}]


def render_error_card(card: Mapping[str, Any]) -> str:
    """``build_error_card``'s result as Markdown."""
    lines = [
        f"Half of the corpora: {card['half'].replace('_', ' ')}. Ruleset `{card['ruleset']}`.",
        "Intervals are exact 95 % ones.",
        "",
        "| kind | labelled | found | recall | precision |",
        "|---|---|---|---|---|",
    ]
    for kind, entry in card["personal_data"].items():
        measures = " | ".join(_share(entry[measure]) for measure in ("recall", "precision"))
        lines.append(f"| {kind} | {entry['labelled']} | {entry['found']} | {measures} |")
    for section, title in (("benign", "ordinary texts flagged"), ("attacks", "attack texts flagged")):
        corpora = card[section]
        packs = [pack for pack in next(iter(corpora.values())) if pack != "texts"]
        lines += ["", f"| {title} | texts | {' | '.join(packs)} |", "|---|---|" + "---|" * len(packs)]
        for corpus, entry in corpora.items():
            lines.append(f"| {corpus} | {entry['texts']} | {' | '.join(_share(entry[pack]) for pack in packs)} |")
    lines += ["", "| numeric table | values | findings | columns as text | rows as text |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {' | '.join(str(value) for value in entry.values())} |" for name, entry in card["numeric"].items()
    ]
    lines += ["", "| aim | measured | met |", "|---|---|---|"]
    for aim in card["aims"]:
        value = "none" if aim["value"] is None else f"{aim['value']:.4g}"
        lines.append(f"| {aim['aim']} | {value} | {'yes' if aim['met'] else 'no'} |")
    return "\n".join(lines) + "\n"


def _share(estimate: Mapping[str, Any]) -> str:
    if estimate["value"] is None:
        return str(estimate["reason"])
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"
