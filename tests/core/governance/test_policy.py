from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from nethical_assets.core.governance.policy import Label, decide, policy_markdown
from nethical_assets.core.governance.rules import Decision, Role, Rule, Severity, ViolationType


def _rule(role: Role, *, severity: Severity = Severity.HIGH, confidence: float = 0.9, decision: Decision) -> Rule:
    return Rule("p.r", "p", role, "K", ViolationType.PRIVACY, severity, confidence, decision, "d")


@pytest.mark.parametrize("role", [Role.PERSONAL_DATA, Role.SECRET])
@pytest.mark.parametrize("label", Label)
def test_personal_data_and_secrets_are_treated_alike_in_every_class(role: Role, label: Label) -> None:
    mask = Decision.ALLOW_WITH_MODIFICATION
    assert decide(_rule(role, decision=mask), label) is mask
    assert decide(_rule(role, decision=Decision.QUARANTINE), label) is Decision.QUARANTINE
    assert decide(_rule(role, decision=mask, confidence=0.3), label) is Decision.WARN


def test_attacks_are_the_signal_in_the_positive_class() -> None:
    for severity, decision in itertools.product(Severity, Decision):
        rule = _rule(Role.SIGNAL, severity=severity, confidence=1.0, decision=decision)
        assert decide(rule, Label.POSITIVE) is Decision.ALLOW


def test_attacks_in_the_negative_class_are_kept_unless_certain_and_critical() -> None:
    block = Decision.BLOCK
    assert decide(_rule(Role.SIGNAL, decision=block), Label.NEGATIVE) is Decision.WARN
    critical = _rule(Role.SIGNAL, severity=Severity.CRITICAL, confidence=0.95, decision=block)
    assert decide(critical, Label.NEGATIVE) is Decision.QUARANTINE


def test_without_a_label_severity_and_confidence_decide() -> None:
    block = Decision.BLOCK
    assert decide(_rule(Role.SIGNAL, decision=block), Label.UNKNOWN) is block
    assert decide(_rule(Role.SIGNAL, decision=block, confidence=0.2), Label.UNKNOWN) is Decision.WARN
    emergency = _rule(Role.SIGNAL, severity=Severity.EMERGENCY, confidence=0.95, decision=block)
    assert decide(emergency, Label.UNKNOWN) is Decision.TERMINATE
    possible = _rule(Role.SIGNAL, severity=Severity.EMERGENCY, confidence=0.6, decision=block)
    assert decide(possible, Label.UNKNOWN) is Decision.ESCALATE


def test_every_combination_has_a_decision() -> None:
    for role, label, severity, decision in itertools.product(Role, Label, Severity, Decision):
        for confidence in (0.01, 0.5, 1.0):
            rule = _rule(role, severity=severity, confidence=confidence, decision=decision)
            assert isinstance(decide(rule, label), Decision)


def test_the_documented_policy_is_the_one_in_force() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "screening.md"
    assert policy_markdown() in page.read_text(encoding="utf-8")
