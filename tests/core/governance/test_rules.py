from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nethical_assets.core.governance.rules import AppliesTo, Rule, Ruleset, Severity, ViolationType, load_ruleset
from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.ground.errors import SettingsError

from .conftest import RULES

EXAMPLES = [
    pytest.param(rule.id, text, expected, id=f"{rule.id}-{'is' if expected else 'not'}-{number}")
    for rule in load_ruleset(RULES).rules
    for expected, examples in ((True, rule.must_match), (False, rule.must_not_match))
    for number, text in enumerate(examples)
]


@pytest.mark.parametrize(("rule_id", "text", "expected"), EXAMPLES)
def test_examples_of_every_rule_hold(screener: Screener, rule_id: str, text: str, expected: bool) -> None:
    assert (rule_id in set(screener.screen([text]).names("rule"))) is expected


def test_every_rule_has_examples_both_ways(ruleset: Ruleset) -> None:
    assert [rule.id for rule in ruleset.rules if not rule.must_match or not rule.must_not_match] == []


def test_all_eighteen_violation_types_have_an_owner_statement(ruleset: Ruleset) -> None:
    assert len(ViolationType) == 18
    assert [entry.violation for entry in ruleset.coverage] == list(ViolationType)
    assert all(entry.statement for entry in ruleset.coverage)
    used = {rule.violation for rule in ruleset.all_rules}
    claimed = {entry.violation for entry in ruleset.coverage if entry.owner in ("rules", "engine")}
    assert used == claimed


def test_digest_changes_with_any_rule_and_only_then(tmp_path: Path, ruleset: Ruleset) -> None:
    copy = tmp_path / "rules"
    shutil.copytree(RULES, copy)
    assert load_ruleset(copy).digest == ruleset.digest
    text = (copy / "pii.toml").read_text().replace("confidence = 0.95", "confidence = 0.94", 1)
    (copy / "pii.toml").write_text(text)
    assert load_ruleset(copy).digest != ruleset.digest


GOOD = {
    "id": "'a_rule'",
    "kind": "'A_KIND'",
    "violation": "'privacy'",
    "severity": "'low'",
    "confidence": "0.5",
    "decision": "'warn'",
    "description": "'d'",
    "pattern": "'abc'",
    "must_match": "['abc']",
    "must_not_match": "['x']",
}


def _pack(folder: Path, **changes: str | None) -> Path:
    shutil.copy(RULES / "coverage.toml", folder / "coverage.toml")
    coverage = (folder / "coverage.toml").read_text()
    for name in ("system_commands", "social_engineering", "prompt_injection", "hidden_text", "exfiltration"):
        coverage = coverage.replace(f'"{name}"', '"pii"')
    for name in ("secrets", "toxicity"):
        coverage = coverage.replace(f'"{name}"', '"pii"')
    (folder / "coverage.toml").write_text(coverage)
    rule = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    body = "\n".join(f"{key} = {value}" for key, value in rule.items())
    (folder / "pii.toml").write_text(f"role = 'signal'\ndescription = 'd'\n[[rules]]\n{body}\n")
    return folder


def test_a_minimal_pack_loads(tmp_path: Path) -> None:
    (rule,) = load_ruleset(_pack(tmp_path)).rules
    assert (rule.id, rule.severity, rule.applies_to) == ("pii.a_rule", Severity.LOW, AppliesTo.FOLDED)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"severity": "'awful'"}, ["key severity", "awful", "low, medium, high"]),
        ({"violation": "'sin'"}, ["key violation", "sin", "privacy"]),
        ({"decision": "'ask'"}, ["key decision", "ask", "quarantine"]),
        ({"confidence": "1.5"}, ["key confidence", "1.5", "up to 1"]),
        ({"confidence": "true"}, ["key confidence"]),
        ({"confidence": None}, ["key confidence", "None"]),
        ({"pattern": "'(?=look)'"}, ["key pattern", "RE2"]),
        ({"pattern": "'(group)'"}, ["key pattern", "groups"]),
        ({"pattern": "'a*'"}, ["key pattern", "empty"]),
        ({"pattern": "''"}, ["key pattern"]),
        ({"gate": "'(?=look)'"}, ["key gate", "RE2"]),
        ({"gate": "''"}, ["key gate"]),
        ({"validator": "'mod_11'"}, ["key validator", "mod_11", "us_ssn"]),
        ({"applies_to": "'both'"}, ["key applies_to", "both", "deobfuscated"]),
        ({"kind": "'email'"}, ["key kind", "UPPER_CASE"]),
        ({"id": "'Bad Id'"}, ["key id", "lower_case"]),
        ({"colour": "'red'"}, ["unknown key 'colour'", "allowed"]),
        ({"must_match": "'abc'"}, ["key must_match", "list"]),
        ({"must_match": None}, ["key must_match", "list"]),
        ({"violation": "'ethical'"}, ["coverage.toml", "ethical", "list it as an owner"]),
    ],
)
def test_a_wrong_rule_is_refused_with_one_line_naming_it(
    tmp_path: Path, changes: dict[str, str | None], expected: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_ruleset(_pack(tmp_path, **changes))
    message = str(caught.value)
    assert "\n" not in message
    assert ".toml" in message
    for part in expected:
        assert part in message


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no rule files"):
        load_ruleset(tmp_path)
    _pack(tmp_path)
    (tmp_path / "coverage.toml").unlink()
    with pytest.raises(SettingsError, match=r"coverage\.toml: missing"):
        load_ruleset(tmp_path)
    _pack(tmp_path)
    shutil.copy(tmp_path / "pii.toml", tmp_path / "secrets.toml")
    (tmp_path / "secrets.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"secrets\.toml: not a TOML file in UTF-8"):
        load_ruleset(tmp_path)


def test_the_reported_group_may_stand_anywhere_in_a_pattern() -> None:
    rule = Rule("p.r", "p", "signal", "K", "privacy", "low", 1.0, "warn", "d", pattern="x(?P<span>y)")  # type: ignore[arg-type]
    assert rule.reports_group
    assert rule.compiled.search(b"axy").span(1) == (2, 3)
