"""Whatever is altered below a home is found by ``audit verify``, or it changes nothing that anybody is told."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from nethical_assets.home.settings import load_settings
from nethical_assets.operations.verification import verify
from tests.across.conftest import Copy
from tests.across.platform import Home, files_of, flip, write_records
from tests.across.traffic import drift_report, drifted
from tests.sweeping import COMPLETE, cases

AREAS = ("alerts", "audit", "data", "models", "serving")
_OWN_TO_A_RUN = ("run_id", "wall_seconds", "audit")
_NAMES = re.compile(r"[0-9a-f]{12,}|[0-9]{8}T[0-9.]+Z|[0-9]+")


@pytest.fixture(scope="module")
def lived(real: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home in which a champion was replaced, a candidate refused, drifted records were scored, and a drift report
    said so. Not to be changed."""
    home = real.copy(tmp_path_factory.mktemp("lived"))
    # The first champion again, so that the next plain run changes nothing.
    for more in (("--seed", "8"), ()):
        home.run("--source", "mirror", *more).ok()
    # Too few rows for a better model.
    home.run("--source", "mirror", "--seed", "5", "--samples", "300").ok()
    for stage in ("candidates", "archived"):
        assert len(list((home.path / "models" / stage / "logistic").glob("*.json"))) == 1
    path = write_records(home.folder / "drifted.csv", drifted(600))
    answer, _ = home.score(path)
    answer.ok()
    assert drift_report(home)["verdict"] == "drift"
    assert home.problems() == []
    return home


def told(home: Home, records: Path, *, also_drift: bool) -> dict[str, Any]:
    """Everything that the next run, the scores, the issues and the quarantine tell, and the pointer."""
    issues = [(issue["subject"], issue["check"], issue["state"], issue["severity"]) for issue in home.alerts("all")]
    held = home.nethical("quarantine", "list", "--json")
    drift = None
    if also_drift:
        report = drift_report(home)
        drift = (report.get("verdict"), report.get("drift_score"), report.get("rows"))
    answer = home.run("--source", "mirror")
    document = {key: value for key, value in answer.document.items() if key not in _OWN_TO_A_RUN} if answer.out else {}
    for result in document.get("families", {}).values():
        result["card"] = Path(result["card"] or "").name
    scored, scores = home.score(records)
    return {
        "exit": (answer.code, held.code, scored.code),
        "document": document,
        "pointer": home.pointer(),
        "scores": scores,
        "issues": issues,
        "held": held.out,
        "drift": drift,
    }


@pytest.fixture(scope="module")
def untouched(lived: Home, records: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an untouched copy tells."""
    found = told(lived.copy(tmp_path_factory.mktemp("untouched")), records, also_drift=True)
    assert found["exit"] == (0, 0, 0)
    assert found["drift"][0] == "drift"
    return found


def effects(home: Home, records: Path, untouched: dict[str, Any], *, also_drift: bool) -> dict[str, Any]:
    """What ``home`` tells otherwise than an untouched one. A run that refuses, and says so, is no effect."""
    found = told(home, records, also_drift=also_drift)
    if found["exit"][0] == 1 and found["pointer"] == untouched["pointer"]:
        return {}
    return {name: found[name] for name in found if found[name] != untouched[name] and (name != "drift" or also_drift)}


def kinds_of(home: Home, area: str) -> Iterator[tuple[str, Path]]:
    """One file (the largest) of each kind below a folder: files whose paths differ in digests and numbers only."""
    largest: dict[str, Path] = {}
    for path in files_of(home.path / area):
        if path.stat().st_size:
            kind = _NAMES.sub("*", str(path.relative_to(home.path)))
            if kind not in largest or path.stat().st_size > largest[kind].stat().st_size:
                largest[kind] = path
    yield from sorted(largest.items())


def test_every_file_of_a_home_is_in_an_area_that_is_tested(lived: Home) -> None:
    top = {path.name for path in lived.path.iterdir() if path.is_dir()}
    assert top <= {*AREAS, "acts", "dagster", "cache", "runs"}
    # Who held a family last is for messages only.
    assert [path for path in files_of(lived.path / "runs") if path.suffix != ".holder"] == []
    assert [path.name for path in lived.path.iterdir() if path.is_file() and path.suffix != ".lock"] == []
    for area in AREAS:
        assert list(kinds_of(lived, area)), area


def unnamed(home: Home, victims: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Which of the files ``audit verify`` does not name while a bit of each is flipped, and what it says."""
    modes = [victim.stat().st_mode for victim in victims]
    for victim in victims:
        flip(victim)
    problems = list(verify(load_settings(home.environment))["problems"])
    for victim, mode in zip(victims, modes, strict=True):
        flip(victim)
        victim.chmod(mode)
    return [victim for victim in victims if not any(victim.name in problem for problem in problems)], problems


def batched(paths: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    """The paths in groups of at most ``size``."""
    return (paths[start : start + size] for start in range(0, len(paths), size))


@pytest.mark.slow
@pytest.mark.parametrize("area", AREAS)
def test_a_flipped_bit_in_any_kind_of_file_is_found_or_without_effect(
    area: str, copy: Copy, lived: Home, records: Path, untouched: dict[str, Any]
) -> None:
    wrong, unnoticed = {}, []
    spoilt = copy(lived)
    victims = [spoilt.path / path.relative_to(lived.path) for _, path in kinds_of(lived, area)]
    # Several at once; a flip that another one hides is looked at alone.
    for victim in [one for several in batched(victims, 8) for one in unnamed(spoilt, several)[0]]:
        still, problems = unnamed(spoilt, [victim])
        if not problems:
            unnoticed.append(victim.relative_to(spoilt.path))
        elif still:
            wrong[str(victim)] = f"not named: {problems[:2]}"
    assert spoilt.problems() == []
    # All that nobody notices at once: a flip whose effect another one hides is looked at alone in the complete sweep.
    groups = [[one] for one in unnoticed] if COMPLETE else [unnoticed]
    for group in (group for group in groups if group):
        home = copy(lived)
        for relative in group:
            flip(home.path / relative)
        if found := effects(home, records, untouched, also_drift=area == "serving"):
            wrong[", ".join(map(str, group))] = f"unnoticed, and it changes {found}"
    assert wrong == {}


REMOVALS = {
    "pointer": "models/current/logistic.json",
    "candidates": "models/candidates",
    "archive": "models/archived",
    "cards": "models/metadata",
    "one card format": "models/metadata/*_card.html",
    "provenance": "data/provenance",
    "alerts": "alerts/issues.sqlite",
    "serving": "serving",
    "signatures": "models/signatures",
    "stored objects": "data/objects",
    "records": "data/records",
    "stages": "data/stages",
    "validation history": "data/validation",
}


@pytest.mark.parametrize(
    "what",
    cases(
        *("pointer", "candidates", "archive", "cards", "provenance", "alerts", "serving"),
        more=["one card format", "signatures", "stored objects", "records", "stages", "validation history"],
    ),
)
def test_a_removal_is_found_or_without_effect(
    what: str, copy: Copy, lived: Home, records: Path, untouched: dict[str, Any]
) -> None:
    home = copy(lived)
    removed = list(home.path.glob(REMOVALS[what]))
    if not removed:
        pytest.skip(f"a home keeps no {REMOVALS[what]}")
    for path in removed:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if problems := home.problems():
        family_or_file = (*(path.name for path in removed), "logistic", what)
        assert any(name in problem for problem in problems for name in family_or_file), problems
    else:
        assert effects(home, records, untouched, also_drift=what == "serving") == {}


def test_a_forged_evaluation_is_neither_promoted_nor_signed(
    copy: Copy, lived: Home, records: Path, untouched: dict[str, Any]
) -> None:
    home = copy(lived)
    assert _forge(home, "accuracy") > 0
    assert home.problems() != []
    answer = home.run("--source", "mirror")
    pointer = json.loads(home.pointer() or b"{}")
    assert home.pointer() == untouched["pointer"], pointer.get("metrics")
    if answer.code == 0:
        accuracy = answer.document["families"]["logistic"]["metrics"]["accuracy"]
        assert accuracy == untouched["document"]["families"]["logistic"]["metrics"]["accuracy"]


def _forge(home: Home, metric: str) -> int:
    """Raise a metric in everything kept below ``data``, with every digest that needs no key made right again.

    Content-addressed documents get new names, which replace the old ones wherever they stand; a digest that a document
    carries of parts of itself is computed anew where one of the usual ways gave the old one. Returns how many files
    were changed.
    """
    changed = 0
    renamed: dict[str, str] = {}
    documents = [
        path for path in files_of(home.path / "data") if _json(path) is not None and "provenance" not in str(path)
    ]
    addressed = [path for path in documents if path.name == hashlib.sha256(path.read_bytes()).hexdigest()]
    for path in addressed:
        document = _json(path)
        if _raise(document, metric):
            data = _pretty(document)
            name = hashlib.sha256(data).hexdigest()
            target = path.parent.parent / name[:2] / name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(data)
            renamed[path.name] = name
    for path in documents:
        if path in addressed:
            continue
        before = _json(path)
        text = path.read_text(encoding="utf-8")
        for old, new in renamed.items():
            text = text.replace(old, new)
        after = json.loads(text)
        if not _raise(after, metric) and after == before:
            continue
        if isinstance(after, dict) and "digest" in after:
            for way in (_pretty, _canonical):
                for keys in (("facts", "objects"), tuple(key for key in before if key != "digest")):
                    part = {key: before[key] for key in keys if key in before}
                    if before["digest"] == f"sha256:{hashlib.sha256(way(part)).hexdigest()}":
                        part = {key: after[key] for key in keys if key in after}
                        after["digest"] = f"sha256:{hashlib.sha256(way(part)).hexdigest()}"
        path.write_bytes(_pretty(after))
        changed += 1
    return changed


def _raise(node: Any, metric: str) -> bool:
    """Set every value of ``metric`` in a document to almost 1; whether there was one."""
    if not isinstance(node, list | dict):
        return False
    # All of them, not only up to the first that has one.
    found = sum(_raise(one, metric) for one in (node if isinstance(node, list) else node.values())) > 0
    if isinstance(node, list):
        return found
    if isinstance(node.get(metric), dict) and "value" in node[metric]:
        node[metric].update(value=0.9999, low=0.999, high=1.0)
        found = True
    return found


def _pretty(document: Any) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _canonical(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return None


def _edit_records(home: Home) -> int:
    """Change what the stage records say: better metrics, more rows, another verdict."""
    changed = 0
    for path in files_of(home.path / "data" / "records"):
        text = path.read_text(encoding="utf-8")
        edited = re.sub(r'("(?:value|rows|accuracy)": )[0-9.]+', r"\g<1>0.9999", text)
        edited = edited.replace('"candidate"', '"promoted"').replace('"fail"', '"pass"')
        path.write_text(edited, encoding="utf-8")
        changed += edited != text
    return changed


def test_edited_records_are_found_or_without_effect(
    copy: Copy, lived: Home, records: Path, untouched: dict[str, Any]
) -> None:
    home = copy(lived)
    if _edit_records(home) == 0:
        pytest.skip("a home keeps no records of stages")
    if not home.problems():
        assert effects(home, records, untouched, also_drift=False) == {}


def test_an_alert_closed_by_hand_is_found(copy: Copy, lived: Home) -> None:
    home = copy(lived)
    before = home.alerts()
    assert before
    with contextlib.closing(sqlite3.connect(home.path / "alerts" / "issues.sqlite")) as connection:
        connection.execute("UPDATE issues SET state = 'closed' WHERE number = ?", (before[0]["number"],))
        connection.commit()
    if not home.problems():
        # Read from elsewhere than the table that was edited.
        assert home.alerts() == before


@pytest.mark.slow
def test_a_row_released_by_hand_is_found_or_stays_out(copy: Copy, keeping: Home) -> None:
    home = copy(keeping)
    (row,) = home.nethical("quarantine", "list", "--json").ok().document["rows"]
    assert row["status"] == "held"

    index = home.path / "data" / "quarantine" / "prompt_injection.json"
    text = index.read_text(encoding="utf-8")
    assert text.count('"held"') == 1
    index.write_text(text.replace('"held"', '"released"'), encoding="utf-8")
    assert any(row["row_id"] in problem for problem in home.problems())
    champion = home.pointer("prompt_injection")
    answer = home.run("--families", "prompt_injection", "--source", "mirror")
    assert answer.code == 1
    assert row["row_id"] in answer.err + answer.out
    assert home.pointer("prompt_injection") == champion
