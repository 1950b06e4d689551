"""From a finding to a decision: the policy table.

What belongs here: which role, label, severity and confidence lead to which decision, and why. What does not: what a
rule says about itself (``rules``) and carrying a decision out (``frames``, ``quarantine``).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from nethical_assets.core.governance.rules import Decision, Role, Rule, Severity


class Label(enum.StrEnum):
    """What is known about the row a finding is in."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class PolicyRow:
    """The decision for findings of ``roles`` in rows of ``labels``, from a severity and a confidence upwards.

    ``decision`` None means the rule's own decision. The first row that applies wins.
    """

    roles: frozenset[Role]
    labels: frozenset[Label]
    minimum_severity: Severity
    minimum_confidence: float
    at_least: Decision
    decision: Decision | None
    reason: str


_PROTECTED = frozenset({Role.PERSONAL_DATA, Role.SECRET})
_SIGNAL = frozenset({Role.SIGNAL})
_ENGINE = frozenset({Role.ENGINE})
_ANY = frozenset(Label)
_UNKNOWN = frozenset({Label.UNKNOWN})

POLICY: tuple[PolicyRow, ...] = (
    PolicyRow(
        _PROTECTED,
        _ANY,
        Severity.LOW,
        0.5,
        Decision.QUARANTINE,
        Decision.QUARANTINE,
        "A private key or the like makes the row unusable whatever its label; a person decides.",
    ),
    PolicyRow(
        _PROTECTED,
        _ANY,
        Severity.LOW,
        0.5,
        Decision.ALLOW,
        Decision.ALLOW_WITH_MODIFICATION,
        "Personal data and secrets are masked in every class: a model must not learn them.",
    ),
    PolicyRow(
        _PROTECTED, _ANY, Severity.LOW, 0.0, Decision.ALLOW, Decision.WARN, "Too uncertain to change the row: counted."
    ),
    PolicyRow(
        _SIGNAL,
        frozenset({Label.POSITIVE}),
        Severity.LOW,
        0.0,
        Decision.ALLOW,
        Decision.ALLOW,
        "In the positive class the attack is what is to be learned: counted, never removed.",
    ),
    PolicyRow(
        _SIGNAL,
        frozenset({Label.NEGATIVE}),
        Severity.CRITICAL,
        0.9,
        Decision.ALLOW,
        Decision.QUARANTINE,
        "A certain, critical attack labelled benign is a wrong label or poisoned data; a person decides.",
    ),
    PolicyRow(
        _SIGNAL,
        frozenset({Label.NEGATIVE}),
        Severity.LOW,
        0.0,
        Decision.ALLOW,
        Decision.WARN,
        "Benign text with trigger words is what teaches a detector the difference: counted, kept.",
    ),
    PolicyRow(
        _SIGNAL,
        _UNKNOWN,
        Severity.EMERGENCY,
        0.9,
        Decision.ALLOW,
        Decision.TERMINATE,
        "A certain emergency in live traffic ends the session.",
    ),
    PolicyRow(
        _SIGNAL, _UNKNOWN, Severity.EMERGENCY, 0.0, Decision.ALLOW, Decision.ESCALATE, "A possible emergency: a person."
    ),
    PolicyRow(
        _SIGNAL, _UNKNOWN, Severity.LOW, 0.5, Decision.ALLOW, None, "Without a label the rule's own decision holds."
    ),
    PolicyRow(_SIGNAL, _UNKNOWN, Severity.LOW, 0.0, Decision.ALLOW, Decision.WARN, "Too uncertain to act on: counted."),
    PolicyRow(
        _ENGINE, _ANY, Severity.LOW, 0.0, Decision.ALLOW, None, "What could not be screened: the engine's own decision."
    ),
)


def decide(rule: Rule, label: Label) -> Decision:
    """The decision of the policy for a finding of ``rule`` in a row labelled ``label``."""
    for row in POLICY:
        if (
            rule.role in row.roles
            and label in row.labels
            and rule.severity.rank >= row.minimum_severity.rank
            and rule.confidence >= row.minimum_confidence
            and rule.decision.rank >= row.at_least.rank
        ):
            return row.decision or rule.decision
    raise AssertionError(f"the policy has no row for role {rule.role} and label {label}")


def policy_markdown() -> str:
    """The policy table as Markdown, for the documentation."""
    lines = [
        "| pack role | label | severity from | confidence from | rule's decision from | decision | why |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in POLICY:
        labels = "any" if row.labels == _ANY else ", ".join(sorted(row.labels))
        lines.append(
            f"| {', '.join(sorted(row.roles))} | {labels} | {row.minimum_severity} | {row.minimum_confidence}"
            f" | {row.at_least} | {row.decision or 'as the rule says'} | {row.reason} |"
        )
    return "\n".join(lines) + "\n"
