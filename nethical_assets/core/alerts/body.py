"""What an issue says, made safe to show anywhere.

What belongs here: rendering alerts as Markdown and the one step that every foreign value passes before it is stored.
What does not: finding personal data in datasets (``core.governance``); this is the last line of defence for values that
should not hold any.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC

from nethical_assets.core.alerts.kinds import Alert, Detail

VALUE_LIMIT = 300
COMMENT_LIMIT = 2000
DETAILS_LIMIT = 40

_READ_LIMIT = 20_000
_BREAK = "\u200b"

_REDACTIONS = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), replacement)
    for pattern, replacement in (
        (r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}-----|\Z)", "[private key]"),
        (r"//[^/\s:@]{1,200}:[^/\s@]{1,200}@", "//[credentials]@"),
        (
            r"\b((?:pass(?:word|wd|phrase)?|secret|token|api[_-]?key|access[_-]?key|authorization|credential)s?)"
            r"[\"']?\s{0,5}[:=]\s{0,5}(?:(?:bearer|basic)\s{1,5})?\S{1,500}",
            r"\1=[secret]",
        ),
        (r"\bbearer\s{1,5}[\w.~+/=-]{8,}", "[secret]"),
        (r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b", "[secret]"),
        (r"\b(?:gh[pousr]_|github_pat_|glpat-|hf_|sk-|xox[abprs]-)[\w-]{10,}", "[secret]"),
        (r"\beyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?", "[secret]"),
        (r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}", "[e-mail]"),
        (r"\b\d{3}-\d{2}-\d{4}\b", "[number]"),
        (r"\b\d(?:[ -]?\d){12,18}\b", "[number]"),
        (r"\+[1-9][\d ().-]{7,20}\d", "[phone]"),
        (r"\b(?:\d{1,3}\.){3}\d{1,3}\b", "[address]"),
    )
)
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MARKDOWN = re.compile(r"[\\`*\[\]|~]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")
_LINKING = re.compile(r"@|#|://|\bwww\.|\bGH-", re.IGNORECASE)


def sanitise(value: Detail, limit: int = VALUE_LIMIT) -> str:
    """``value`` as one line of at most ``limit`` characters (before escaping) that Markdown shows as plain text.

    Secrets and personal data of known forms are replaced by their kind; control and invisible characters are dropped;
    Markdown and HTML are escaped; mentions, issue references and links are broken by a zero-width space.
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (bool, int)):
        return str(value)
    text = "".join(_visible(character) for character in str(value)[:_READ_LIMIT])
    text = " ".join(text.split())
    for pattern, replacement in _REDACTIONS:
        text = pattern.sub(replacement, text)
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    text = "".join(_HTML.get(character, character) for character in text)
    text = _MARKDOWN.sub(r"\\\g<0>", text)
    return _LINKING.sub(lambda match: match[0][0] + _BREAK + match[0][1:], text)


def render_body(alert: Alert) -> str:
    """The body of a new issue: what is wrong, its numbers, what to do, and the fingerprint that finds it again."""
    return "\n".join(
        [
            f"**{sanitise(alert.subject)}**, {sanitise(alert.check)}: {sanitise(alert.summary, COMMENT_LIMIT)}",
            "",
            *_details(alert),
            f"What to do: {alert.declared.advice}",
            "",
            f"First seen {_moment(alert)}, occurrence {sanitise(alert.occurrence)}.",
            "",
            fingerprint_marker(alert.fingerprint),
            "",
        ]
    )


def render_recurrence(alert: Alert) -> str:
    """The comment on a known problem that occurred again with other numbers."""
    lines = [f"Seen again {_moment(alert)}, occurrence {sanitise(alert.occurrence)}.", ""]
    return "\n".join([*lines, sanitise(alert.summary, COMMENT_LIMIT), "", *_details(alert)]).rstrip() + "\n"


def fingerprint_marker(fingerprint: str) -> str:
    """The invisible line by which a tracker without custom fields finds the issue of a problem."""
    return f"<!-- nethical-fingerprint: {fingerprint} -->"


def _details(alert: Alert) -> list[str]:
    if not alert.details:
        return []
    shown = list(alert.details.items())[:DETAILS_LIMIT]
    lines = ["| Detail | Value |", "|---|---|", *(f"| {sanitise(name)} | {sanitise(value)} |" for name, value in shown)]
    if len(alert.details) > DETAILS_LIMIT:
        lines.append(f"| … | {len(alert.details) - DETAILS_LIMIT} more |")
    return [*lines, ""]


def _moment(alert: Alert) -> str:
    return alert.when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if category in ("Cc", "Zl", "Zp"):
        return " "
    return "" if category in ("Cf", "Cs", "Co", "Cn") else character
