"""The HTML form of a model card: one page that needs nothing else, readable by people and safe to open.

What belongs here: the sections of the page and their escaping. What does not: its look (``page_style``), its pictures
(``charts``), any number that is not in the card.

A policy in the page forbids scripts and every request; all text is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nethical_assets.core.cards import charts
from nethical_assets.core.cards.annex_iv import DISCLAIMER, MEANINGS, annex_rows
from nethical_assets.core.cards.card import card_digest
from nethical_assets.core.cards.figures import (
    clean,
    decimal,
    estimate,
    exact,
    in_order,
    interval,
    leaves,
    metric_title,
    slices,
)
from nethical_assets.core.cards.page_style import STYLE

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_SYNTHETIC = (
    '<p class="warning"><strong>Synthetic data.</strong> No source could serve real data; the figures say nothing '
    "about real traffic.</p>"
)


def render_html(card: Mapping[str, Any]) -> str:
    """The card as a page."""
    sections = {
        "Metrics": _metrics(card),
        "Curves": _curves(card),
        "Sources": _sources(card),
        "Data": _data(card),
        "Screening": _screening(card),
        "Use and limits": _use(card),
        "Training": _training(card),
        "EU AI Act, Annex IV": _annex(card),
        "How to verify": _verification(card),
    }
    title = f"{text(card['title'])} {text(card['model_version'])}"
    links = "".join(f'<a href="#{_anchor(name)}">{name}</a>' for name in sections)
    body = "".join(
        f'<section id="{_anchor(name)}"><h2>{name}</h2>{content}</section>' for name, content in sections.items()
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n<body><main>{_header(card, title)}<nav>{links}</nav>"
        f"{body}</main></body></html>\n"
    )


def text(value: object) -> str:
    """``value`` as text of the page, without effect on it."""
    return html.escape(clean(value), quote=True)


def _anchor(name: str) -> str:
    return "-".join("".join(character for character in name.lower() if character.isalnum() or character == " ").split())


def _header(card: Mapping[str, Any], title: str) -> str:
    verdict = text(card["verdict"])
    kind = verdict if verdict in ("promoted", "candidate") else "candidate"
    return (
        f'<header><h1>{title}</h1><p class="facts"><span class="badge {kind}">{verdict}</span>'
        f"<span>Family {_code(card['model_type'])}</span><span>Decided {text(card['training_timestamp'])}</span></p>"
        f"{_SYNTHETIC if card['dataset_info']['synthetic'] else ''}"
        f"<p>{text(card['model_form'])}</p>{_bullets(card['reasons'])}</header>"
    )


def _metrics(card: Mapping[str, Any]) -> str:
    evaluation = card["evaluation"]
    rows = [(text(metric_title(name)), *map(text, estimate(metric))) for name, metric in in_order(card["metrics"])]
    threshold = evaluation["decision_threshold"]
    decided = "" if threshold is None else f" A row is called positive from a probability of {exact(threshold)} on."
    return (
        f"<p>On {evaluation['test_rows']} test rows ({evaluation['test_positives']} positive) that training never saw."
        f"{decided}</p>{_table(('Metric', 'Value', '95 % interval'), rows, numbers=(1, 2))}"
    )


def _curves(card: Mapping[str, Any]) -> str:
    figures = (
        ("Reliability", "dots on the dashed line are calibrated", charts.reliability_chart(card)),
        ("ROC", "dashed: chance; dot: where the detector decides", charts.roc_chart(card)),
        ("Precision-recall", "dashed: share of positives", charts.precision_recall_chart(card)),
        ("Confusion matrix", "test rows at the decision threshold", charts.confusion_chart(card)),
    )
    drawn = "".join(
        f"<figure><figcaption>{title}<small>{note}</small></figcaption>{chart}</figure>"
        for title, note, chart in figures
    )
    bins = [
        (
            f"{decimal(row['low'], 2)} to {decimal(row['high'], 2)}",
            row["rows"],
            decimal(row["mean_probability"]),
            decimal(row["observed_rate"]),
            interval(row["observed_low"], row["observed_high"]),
        )
        for row in card["evaluation"]["reliability"]
    ]
    header = ("Probability", "Rows", "Mean probability", "Observed rate", "95 % interval")
    table = _table(header, bins, numbers=range(5), caption="The reliability curve as a table.")
    return f'<div class="charts">{drawn}</div>{table}'


def _sources(card: Mapping[str, Any]) -> str:
    parts = []
    for title, sources in slices(card):
        names = [name for name, _ in in_order(sources[0]["metrics"])]
        rows = [
            (
                text(source["source"]),
                source["rows"],
                source["positives"],
                *(_cell(source["metrics"].get(name)) for name in names),
            )
            for source in sources
        ]
        header = ("Source", "Rows", "Positives", *(text(metric_title(name)) for name in names))
        parts.append(f"<h3>{title}</h3>{_table(header, rows, numbers=range(1, len(header)))}")
    return f"{''.join(parts)}{_bullets(card['evaluation']['notes'])}" or "<p>No source was measured by itself.</p>"


def _cell(metric: Mapping[str, Any] | None) -> str:
    if metric is None:
        return text(None)
    value, bounds = estimate(metric)
    return f"{text(value)}<small>{text(bounds)}</small>"


def _data(card: Mapping[str, Any]) -> str:
    info = card["dataset_info"]
    most = max((numbers["rows"] for numbers in info["sources"].values()), default=0)
    rows = [
        (
            text(name),
            numbers["rows"],
            numbers["positives"],
            charts.share_bar(numbers["positives"], numbers["rows"], most),
            text(info["licences"].get(name, "-")),
        )
        for name, numbers in info["sources"].items()
    ]
    splits = [
        ("Training", info["train_samples"]),
        ("Validation", info["val_samples"]),
        ("Test", info["test_samples"]),
        ("All rows, those that are only measured on included", info["samples"]),
    ]
    key = '<span class="key"><i class="p"></i>positive<i class="n"></i>negative</span>'
    licences = [
        f"Licence of {name}: {licence}" for name, licence in info["licences"].items() if name not in info["sources"]
    ]
    skipped = [f"Skipped {row['dataset']}: {row['reason']}" for row in info["skipped"]]
    return (
        f"<p>Source: <strong>{text(info['source'])}</strong>. {info['duplicates_removed']} duplicates removed, "
        f"{info['rows_with_conflicting_labels']} rows had conflicting labels.</p>"
        f"{_table(('Collection', 'Rows', 'Positives', key, 'Licence'), rows, numbers=(1, 2))}"
        f"{_bullets([*licences, *skipped])}"
        f"{_table(('Split', 'Rows'), splits, numbers=(1,))}"
        f"<p>Inputs: {', '.join(_code(name) for name in info['features'])}.</p>"
    )


def _screening(card: Mapping[str, Any]) -> str:
    governance = card["governance_summary"]
    totals = [
        ("Findings in the data", governance["data_violations"]),
        ("Rows masked", governance["rows_masked"]),
        ("Rows kept out", governance["rows_quarantined"]),
        ("Findings beside test predictions", governance["prediction_violations"]),
    ]
    found = [
        (text(kind), where, count)
        for where, kinds in (
            ("data", governance["data_violations_by_kind"]),
            ("test predictions", governance["prediction_violations_by_kind"]),
        )
        for kind, count in kinds.items()
    ]
    return (
        f"<p>Every row and every test prediction was screened with the rules {_code(governance['ruleset'])}.</p>"
        f"{_table(('What', 'Count'), totals, numbers=(1,))}{_table(('Kind', 'In', 'Findings'), found, numbers=(2,))}"
    )


def _use(card: Mapping[str, Any]) -> str:
    return f"<h3>Intended use</h3><p>{text(card['intended_use'])}</p><h3>Limits</h3>{_bullets(card['limits'])}"


def _training(card: Mapping[str, Any]) -> str:
    rows = [(_code(name), text(value)) for name, value in leaves(card["training_config"])]
    return _table(("Setting", "Value"), rows)


def _annex(card: Mapping[str, Any]) -> str:
    rows = [
        (
            row.point,
            text(row.required),
            f'<span class="badge {row.status}">{row.status}</span>',
            text(row.statement),
            "<br>".join(f"{text(name)} {_code(digest)}" for name, digest in row.evidence),
        )
        for row in annex_rows(card)
    ]
    meanings = "".join(
        f'<li><strong class="{status}">{status}</strong>: {text(meaning)}</li>' for status, meaning in MEANINGS.items()
    )
    table = _table(("Point", "Required", "Status", "What the card says", "Evidence"), rows, kind="annex")
    return f"<p>{text(DISCLAIMER)}</p><ul>{meanings}</ul>{table}"


def _verification(card: Mapping[str, Any]) -> str:
    audit = card["audit"]
    rows = [(text(name), _code(digest)) for name, digest in card["digests"].items()]
    return (
        f"<p>This page shows the JSON card {_code(card_digest(card))} and nothing else. The event "
        f"<code>card_issued</code> of the audit log names the digest of that card and of every other format, this page "
        "included.</p><pre><code>nethical audit verify</code></pre>"
        "<p>recomputes the whole log from disk, the digests of all cards in every format, and this root:</p>"
        f"<p>{_code(card['audit_merkle_root'])}<br>over the first {audit['size']} events of run "
        f"{_code(audit['run_id'])}.</p><p>The digest of a file is <code>sha256:</code> and what <code>sha256sum</code> "
        f"prints for it.</p>{_table(('Evidence', 'Digest'), rows)}"
        f"<p>Model files: {_code(card['model_path'])}. "
        f"Drift report: {_code(card['drift_report_id'] or 'none yet')}.</p>"
    )


def _code(value: object) -> str:
    return f"<code>{text(value)}</code>"


def _bullets(sentences: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{text(sentence)}</li>' for sentence in sentences)}</ul>" if sentences else ""


def _table(
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    numbers: Iterable[int] = (),
    caption: str = "",
    kind: str = "",
) -> str:
    """A table of cells that are HTML already; ``numbers`` are the columns of numbers. Nothing without rows."""
    if not rows:
        return ""
    columns = set(numbers)
    openings = [f'<td class="{"number" if index in columns else "name"}">' for index in range(len(header))]
    head = "".join(f'<th scope="col">{name}</th>' for name in header)
    lines = ["".join(f"{start}{cell}</td>" for start, cell in zip(openings, row, strict=True)) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    title = f"<caption>{caption}</caption>" if caption else ""
    named = f' class="{kind}"' if kind else ""
    return (
        f'<div class="scroll" tabindex="0"><table{named}>{title}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
