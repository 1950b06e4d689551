"""Screening rules as data: what a rule says, how rule files are read and checked, and the ruleset's digest.

What belongs here: the vocabulary of rules (violation types, severities, decisions, roles), loading the TOML packs of
``config/screening`` and refusing a wrong one with one line. What does not: matching (``screener``), the checks a
matched value must pass (``validators``), and what to do about a finding (``policy``).
"""

from __future__ import annotations

import enum
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import re2  # type: ignore[import-untyped]

from nethical_assets.core.governance.normalise import fold_characters
from nethical_assets.core.governance.validators import VALIDATORS
from nethical_assets.core.ground.digests import digest_json
from nethical_assets.core.ground.errors import SettingsError

COVERAGE_FILE = "coverage.toml"
SPAN_GROUP = "span"
"""A rule that needs context around the text it reports names the reported part ``(?P<span>...)``."""

EXAMPLE_BREAK = "\u00a6"
"""``\u00a6`` in an example is removed before it is run, so that example keys do not trip secret scanners."""

PACK_KEYS = frozenset({"role", "description", "gate", "fragments", "rules"})
_RULE_ID = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
_KIND = re.compile(r"[A-Z0-9]+(?:_[A-Z0-9]+)*")


class ViolationType(enum.StrEnum):
    """The 18 violation types of the specification."""

    ETHICAL = "ethical"
    SAFETY = "safety"
    MANIPULATION = "manipulation"
    INTENT_DEVIATION = "intent_deviation"
    PRIVACY = "privacy"
    SECURITY = "security"
    BIAS = "bias"
    HALLUCINATION = "hallucination"
    ADVERSARIAL = "adversarial"
    DATA_POISONING = "data_poisoning"
    MODEL_EXTRACTION = "model_extraction"
    PROMPT_INJECTION = "prompt_injection"
    UNAUTHORIZED_ACCESS = "unauthorized_access"
    TOXIC_CONTENT = "toxic_content"
    MISINFORMATION = "misinformation"
    DARK_PATTERN = "dark_pattern"
    COGNITIVE_WARFARE = "cognitive_warfare"
    SYSTEM_LIMITS = "system_limits"


class Severity(enum.StrEnum):
    """How bad a finding is, mildest first; compare with ``rank``."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"
    EMERGENCY = "emergency"

    @property
    def rank(self) -> int:
        """0 (low) to 4 (emergency)."""
        return list(Severity).index(self)


class Decision(enum.StrEnum):
    """What is done about a finding, mildest first; compare with ``rank``."""

    ALLOW = "allow"
    WARN = "warn"
    ALLOW_WITH_MODIFICATION = "allow_with_modification"
    QUARANTINE = "quarantine"
    BLOCK = "block"
    ESCALATE = "escalate"
    TERMINATE = "terminate"

    @property
    def rank(self) -> int:
        """0 (allow) to 6 (terminate); from ``quarantine`` on, a training row is removed."""
        return list(Decision).index(self)

    @property
    def removes_row(self) -> bool:
        """Whether a training row with this decision goes to quarantine."""
        return self.rank >= Decision.QUARANTINE.rank


class Role(enum.StrEnum):
    """Why a pack looks at text, which is what the policy needs to know about it."""

    PERSONAL_DATA = "personal_data"
    SECRET = "secret"  # noqa: S105 - the name of a role
    SIGNAL = "signal"
    ENGINE = "engine"


class AppliesTo(enum.StrEnum):
    """Which form of the text a rule reads: as it came, with characters folded, or also with disguises undone."""

    RAW = "raw"
    FOLDED = "folded"
    DEOBFUSCATED = "deobfuscated"


@dataclass(frozen=True)
class Rule:
    """One screening rule. ``pattern`` is RE2 syntax with fragments already inserted; ``confidence`` is in (0, 1].

    ``gate`` is a short pattern that matches wherever ``pattern`` does, ``pack_gate`` one for all rules of the pack:
    they only save work.
    """

    id: str
    pack: str
    role: Role
    kind: str
    violation: ViolationType
    severity: Severity
    confidence: float
    decision: Decision
    description: str
    pattern: str = ""
    gate: str | None = None
    pack_gate: str | None = None
    validator: str | None = None
    applies_to: AppliesTo = AppliesTo.FOLDED
    must_match: tuple[str, ...] = ()
    must_not_match: tuple[str, ...] = ()

    @cached_property
    def compiled(self) -> Any:
        """The pattern as a linear-time matcher over UTF-8 bytes."""
        return compile_pattern(self.pattern)

    @cached_property
    def reports_group(self) -> bool:
        """Whether only the group ``span`` of a match is reported."""
        return f"(?P<{SPAN_GROUP}>" in self.pattern


RULE_KEYS = frozenset(Rule.__dataclass_fields__) - {"pack", "role", "pack_gate"}
"""What a ``[[rules]]`` table may say."""


def _engine_rule(name: str, kind: str, severity: Severity, decision: Decision, description: str) -> Rule:
    return Rule(
        id=f"engine.{name}",
        pack="engine",
        role=Role.ENGINE,
        kind=kind,
        violation=ViolationType.SYSTEM_LIMITS,
        severity=severity,
        confidence=1.0,
        decision=decision,
        description=description,
    )


MALFORMED_TEXT = _engine_rule(
    "malformed_text",
    "MALFORMED_TEXT",
    Severity.LOW,
    Decision.WARN,
    "The value is not valid Unicode (lone surrogates or undecodable bytes); U+FFFD was screened in their place.",
)
NOT_TEXT = _engine_rule(
    "not_text",
    "NOT_TEXT",
    Severity.MEDIUM,
    Decision.QUARANTINE,
    "A value in a text column is neither text nor a number, so it cannot be read.",
)
TOO_MANY_FINDINGS = _engine_rule(
    "too_many_findings",
    "TOO_MANY_FINDINGS",
    Severity.HIGH,
    Decision.QUARANTINE,
    "One rule met more spans in one text than are recorded or examined, so masking would be incomplete.",
)
DECODING_LIMIT = _engine_rule(
    "decoding_limit",
    "DECODING_LIMIT",
    Severity.MEDIUM,
    Decision.WARN,
    "Encoded content went deeper, or was larger, than the engine decodes; the rest was screened as it stands.",
)
ENGINE_RULES = (MALFORMED_TEXT, NOT_TEXT, TOO_MANY_FINDINGS, DECODING_LIMIT)


@dataclass(frozen=True)
class Coverage:
    """Who owns a violation type: ``rules`` (pack names), ``detector`` (family names), ``engine`` or ``none``."""

    violation: ViolationType
    owner: str
    names: tuple[str, ...]
    statement: str


@dataclass(frozen=True)
class Ruleset:
    """All rules of a folder, in order of file name and position, and who owns which violation type."""

    rules: tuple[Rule, ...]
    coverage: tuple[Coverage, ...]
    digest: str = field(compare=True)

    @cached_property
    def all_rules(self) -> tuple[Rule, ...]:
        """The rules of the files and the engine's own, which have no pattern."""
        return (*self.rules, *ENGINE_RULES)

    @cached_property
    def packs(self) -> tuple[str, ...]:
        """The names of the rule packs, in order."""
        return tuple(dict.fromkeys(rule.pack for rule in self.rules))

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """The words that rules on deobfuscated text look for; disguised words are only undone into one of these."""
        words: set[str] = set()
        for rule in self.rules:
            if rule.applies_to is AppliesTo.DEOBFUSCATED:
                for text in (re.sub(r"\\.", " ", rule.pattern), *rule.must_match):
                    words.update(re.findall(r"[a-z]{2,}", text.lower()))
        return frozenset(words)


def compile_pattern(pattern: str) -> Any:
    """``pattern`` compiled by RE2 for UTF-8 bytes.

    Raises:
        re2.error: it is not RE2 syntax (no look-around, no back-references).
    """
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern.encode(), options)


def load_ruleset(folder: Path) -> Ruleset:
    """Read and check every ``*.toml`` pack in ``folder`` and its ``coverage.toml``.

    Raises:
        SettingsError: a file is missing, not TOML, or says something that is not allowed; one line with file, rule,
            key and what is allowed.
    """
    folder = Path(folder)
    paths = sorted(path for path in folder.glob("*.toml") if path.name != COVERAGE_FILE)
    if not paths:
        raise SettingsError(f"{folder}: no rule files; expected one TOML file per rule pack")
    documents = {path.name: _read_toml(path) for path in [*paths, folder / COVERAGE_FILE]}
    rules: list[Rule] = []
    seen: dict[str, str] = {}
    for path in paths:
        for rule in _read_pack(path, documents[path.name]):
            if rule.id in seen:
                raise SettingsError(f"{path}: rule {rule.id}: id is already used in {seen[rule.id]}; ids are unique")
            seen[rule.id] = path.name
            rules.append(rule)
    coverage = _read_coverage(folder / COVERAGE_FILE, documents[COVERAGE_FILE], {rule.pack for rule in rules})
    _check_owned(folder / COVERAGE_FILE, rules, coverage)
    return Ruleset(rules=tuple(rules), coverage=coverage, digest=digest_json(documents))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path}: missing; every rule folder needs it") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not a TOML file in UTF-8: {error}") from None


def _read_pack(path: Path, document: Mapping[str, Any]) -> list[Rule]:
    where = str(path)
    _check_keys(where, document, PACK_KEYS)
    role = _choice(where, "role", document.get("role"), [role for role in Role if role is not Role.ENGINE])
    _text(where, "description", document.get("description"))
    fragments = document.get("fragments", {})
    if not isinstance(fragments, dict) or not all(isinstance(value, str) for value in fragments.values()):
        raise SettingsError(f"{where}: key fragments: expected a table of names to pattern texts")
    if SPAN_GROUP in fragments:
        raise SettingsError(f"{where}: key fragments.{SPAN_GROUP}: this name is taken by the reported group")
    entries = document.get("rules")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise SettingsError(f"{where}: key rules: expected at least one [[rules]] table")
    gate = _pattern(where, "gate", document["gate"], fragments, folded=True) if "gate" in document else None
    return [_read_rule(path, role, gate, fragments, entry, number) for number, entry in enumerate(entries, start=1)]


def _read_rule(
    path: Path, role: Role, pack_gate: str | None, fragments: Mapping[str, str], entry: Mapping[str, Any], number: int
) -> Rule:
    name = entry.get("id", f"number {number}")
    where = f"{path}: rule {name}"
    _check_keys(where, entry, RULE_KEYS)
    if not isinstance(name, str) or not _RULE_ID.fullmatch(name):
        raise SettingsError(f"{where}: key id: {name!r} is not allowed; use lower_case_words")
    kind = entry.get("kind")
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        raise SettingsError(f"{where}: key kind: {kind!r} is not allowed; use UPPER_CASE_WORDS")
    confidence = entry.get("confidence")
    if not isinstance(confidence, int | float) or isinstance(confidence, bool) or not 0 < confidence <= 1:
        raise SettingsError(f"{where}: key confidence: {confidence!r} is not allowed; use a number above 0 and up to 1")
    validator = entry.get("validator")
    if validator is not None:
        validator = _choice(where, "validator", validator, sorted(VALIDATORS))
    applies_to = _choice(where, "applies_to", entry.get("applies_to", "folded"), list(AppliesTo))
    folded = applies_to is not AppliesTo.RAW
    return Rule(
        id=f"{path.stem}.{name}",
        pack=path.stem,
        role=role,
        kind=kind,
        violation=_choice(where, "violation", entry.get("violation"), list(ViolationType)),
        severity=_choice(where, "severity", entry.get("severity"), list(Severity)),
        confidence=float(confidence),
        decision=_choice(where, "decision", entry.get("decision"), list(Decision)),
        description=_text(where, "description", entry.get("description")),
        pattern=_pattern(where, "pattern", entry.get("pattern"), fragments, folded=folded),
        pack_gate=pack_gate,
        gate=_pattern(where, "gate", entry["gate"], fragments, folded=folded) if "gate" in entry else None,
        validator=validator,
        applies_to=applies_to,
        must_match=_examples(where, "must_match", entry.get("must_match")),
        must_not_match=_examples(where, "must_not_match", entry.get("must_not_match")),
    )


def _pattern(where: str, key: str, value: Any, fragments: Mapping[str, str], *, folded: bool) -> str:
    """The pattern with fragments inserted, its words folded as the texts are that it is matched with."""
    pattern = _text(where, key, value)
    for name, fragment in fragments.items():
        pattern = pattern.replace(f"<{name}>", fragment)
    if folded:
        pattern = fold_characters(pattern)
    try:
        compiled = compile_pattern(pattern)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error
        raise SettingsError(f"{where}: key {key}: not RE2 syntax: {reason}") from None
    if compiled.groups > (1 if f"(?P<{SPAN_GROUP}>" in pattern else 0):
        raise SettingsError(f"{where}: key {key}: groups must be (?:...), except one (?P<{SPAN_GROUP}>...)")
    if compiled.search(b"") is not None:
        raise SettingsError(f"{where}: key {key}: matches the empty text; it must match at least one character")
    return pattern


def _read_coverage(path: Path, document: Mapping[str, Any], packs: set[str]) -> tuple[Coverage, ...]:
    _check_keys(str(path), document, frozenset(ViolationType))
    entries = []
    for violation in ViolationType:
        where = f"{path}: {violation}"
        entry = document.get(violation)
        if not isinstance(entry, dict):
            raise SettingsError(f"{where}: missing; every violation type says who owns it")
        _check_keys(where, entry, frozenset({"owner", "names", "statement"}))
        owner = _choice(where, "owner", entry.get("owner"), ["rules", "detector", "engine", "none"])
        names = _examples(where, "names", entry.get("names", []))
        unknown = sorted(set(names) - packs) if owner == "rules" else []
        if unknown:
            raise SettingsError(f"{where}: key names: {unknown[0]!r} is not a rule pack; one of {sorted(packs)}")
        entries.append(Coverage(violation, owner, names, _text(where, "statement", entry.get("statement"))))
    return tuple(entries)


def _check_owned(path: Path, rules: Iterable[Rule], coverage: Iterable[Coverage]) -> None:
    owners = {entry.violation: entry for entry in coverage}
    for rule in rules:
        entry = owners[rule.violation]
        if entry.owner != "rules" or rule.pack not in entry.names:
            raise SettingsError(
                f"{path}: {rule.violation}: key names: pack {rule.pack!r} has rules of this type; list it as an owner"
            )


def _check_keys(where: str, table: Mapping[str, Any], allowed: Iterable[str]) -> None:
    unknown = sorted(set(table) - {str(key) for key in allowed})
    if unknown:
        raise SettingsError(f"{where}: unknown key {unknown[0]!r}; allowed: {', '.join(sorted(map(str, allowed)))}")


def _choice(where: str, key: str, value: Any, allowed: list[Any]) -> Any:
    for choice in allowed:
        if isinstance(value, str) and value == choice:
            return choice
    raise SettingsError(f"{where}: key {key}: {value!r} is not allowed; one of {', '.join(map(str, allowed))}")


def _text(where: str, key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise SettingsError(f"{where}: key {key}: expected a text that is not empty")
    return value


def _examples(where: str, key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise SettingsError(f"{where}: key {key}: expected a list of texts")
    return tuple(item.replace(EXAMPLE_BREAK, "") for item in value)
