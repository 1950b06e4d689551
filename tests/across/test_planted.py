"""Personal data planted in every source and every kind of column is nowhere in a home but where sources are kept."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.ground.parquet import read_table
from nethical_assets.home.stores import open_audit_log
from tests.across.conftest import Copy
from tests.across.planted import (
    CARD,
    DOMAINS,
    EMAIL,
    KEPT_OUT,
    KEY,
    MARKER,
    NEEDLES,
    NUMBER,
    VALUES,
    found_in,
    mark,
    plant,
)
from tests.across.platform import LENIENT, Answer, ForkServer, Home, files_of, write_records
from tests.conftest import Once
from tests.tiny_mirror import CATALOG, add_private_key, build_mirror, connections, write_connections

pytestmark = pytest.mark.slow

AS_THEY_CAME = ("data/snapshots/objects/", "data/backups/")
"""Copies of the sources, which hold what the sources hold (docs/screening.md)."""


@pytest.fixture(scope="module")
def planted(server: ForkServer, once: Once) -> Home:
    """A home after a cycle of all families over the planted mirror. Not to be changed: copy it."""

    def make(folder: Path) -> None:
        home = Home(server, folder, plant(folder / "mirror"))
        answer = home.run("--families", ",".join(family_names()), "--source", "mirror").ok()
        (folder / "said").write_text(answer.out + answer.err, encoding="utf-8")

    folder = once("planted", make)
    return Home(server, folder, folder / "mirror")


def places(home: Home, needles: tuple[str, ...] = NEEDLES) -> dict[str, set[str]]:
    """The files of a home that hold some of the needles, in any form, with those they hold."""
    found = {
        path.relative_to(home.path).as_posix(): found_in(path.read_bytes(), needles) for path in files_of(home.path)
    }
    return {path: needles for path, needles in found.items() if needles}


def facts_of(home: Home, stage: str, family: str) -> dict[str, Any]:
    record = json.loads((home.path / "data" / "records" / "newest" / stage / f"{family}.json").read_text())
    return dict(record["facts"])


def table_of(home: Home, stage: str, family: str) -> pd.DataFrame:
    record = json.loads((home.path / "data" / "records" / "newest" / stage / f"{family}.json").read_text())
    digest = record["objects"]["frame"].partition(":")[2]
    return read_table((home.path / "data" / "objects" / digest[:2] / digest).read_bytes()).to_pandas()


def score(home: Home, rows: pd.DataFrame) -> tuple[Answer, str]:
    """Score connections with the heuristic champion: the answer, and what was written."""
    records, output = write_records(home.folder / "records.csv", rows), home.folder / "scores.csv"
    output.unlink(missing_ok=True)
    answer = home.nethical("score", "heuristic", str(records), "--output", str(output))
    return answer, output.read_text(encoding="utf-8") if output.exists() else ""


def test_the_values_are_where_the_sources_are_kept_and_nowhere_else(planted: Home) -> None:
    found = places(planted)
    kept = {path: needles for path, needles in found.items() if path.startswith(AS_THEY_CAME)}
    assert {needle for needles in kept.values() for needle in needles} >= {*VALUES, *DOMAINS}, "the search finds them"
    assert sorted(found.keys() - kept.keys()) == []
    assert found_in((planted.folder / "said").read_bytes()) == set()


def test_a_row_that_is_kept_out_is_kept_with_the_quarantine_and_nowhere_else(planted: Home) -> None:
    found = places(planted, KEPT_OUT)
    kept = {path: needles for path, needles in found.items() if path.startswith("data/quarantine/")}
    # Of logistic one, of prompt_injection the others; no number of the other families is made of them.
    assert {"logistic", "prompt_injection"} == {path.split("/")[2] for path in kept}
    assert {needle for needles in kept.values() for needle in needles} == set(KEPT_OUT)
    assert len(kept) == 3
    assert sorted(path for path in found.keys() - kept.keys() if not path.startswith(AS_THEY_CAME)) == []
    assert not any(found_in((planted.path / path).read_bytes(), (EMAIL,)) for path in kept), "masked there too"
    listed = planted.nethical("quarantine", "list", "--json").ok().document["rows"]
    reasons = {(row["family"], *row["reasons"]) for row in listed}
    assert {("logistic", "secrets.private_key"), ("prompt_injection", "secrets.private_key")} <= reasons
    assert any(family == "prompt_injection" and "engine.too_many_findings" in rules for family, *rules in reasons)


@pytest.mark.parametrize("death", ["data/quarantine/prompt_injection/", "data/records/newest/datasets/"])
def test_a_row_put_aside_by_a_run_that_died_is_listed_by_the_next_one(
    death: str, server: ForkServer, tmp_path: Path
) -> None:
    """Killed when the row is stored and its table not, and when the table is and the row is in no list yet."""
    mirror, log = add_private_key(build_mirror(tmp_path / "mirror", rows=450)), tmp_path / "writes"
    command = ("run", "--families", "prompt_injection", "--source", "mirror")
    Home(server, tmp_path / "counted", mirror).nethical(*command, injection={"log": str(log)}).ok()
    writes = [json.loads(line)[0] for line in log.read_text(encoding="utf-8").splitlines()]
    number = next(at for at, write in enumerate(writes, start=1) if write.startswith(f"replace {death}"))
    home = Home(server, tmp_path / "killed", mirror)
    assert home.nethical(*command, injection={"kill_at": number, "after": True}).code == -signal.SIGKILL
    assert home.nethical("quarantine", "list", "--json").ok().document["rows"] == []
    home.nethical(*command).ok()
    (row,) = home.nethical("quarantine", "list", "--json").ok().document["rows"]
    assert KEY[28:60] in home.nethical("quarantine", "show", "prompt_injection", row["row_id"]).ok().out
    assert home.problems() == []


@pytest.mark.parametrize("family", family_names())
def test_what_was_found_is_counted_in_the_check_the_card_and_the_log(planted: Home, family: str) -> None:
    facts = facts_of(planted, "screened", family)
    assert facts["records_screened"] > 0
    assert facts["rows_masked"] > 0
    assert {"EMAIL", "SSN", "CREDIT_CARD", "IBAN", "GITHUB_TOKEN"} <= facts["by_kind"].keys()
    card = json.loads(next((planted.path / "models" / "metadata").glob(f"{family}-*_card.json")).read_text())
    summary = card["governance_summary"]
    assert summary["data_violations"] == sum(facts["by_kind"].values()) > 0
    assert (summary["records_screened"], summary["columns_screened"]) == (
        facts["records_screened"],
        facts["columns_screened"],
    )
    assert summary["predictions_screened"] >= card["evaluation"]["test_rows"] > 0
    log = open_audit_log(planted.path)

    def told(kind: str, subject: str) -> dict[str, Any]:
        events = [found.event for found in log.find_events(event_type=kind)]
        (event,) = [event for event in events if event.subjects[0].name == subject]
        return dict(log.payload(event))

    assert told("data_screened", f"screened/{family}")["by_kind"] == facts["by_kind"]
    evaluated = told("model_evaluated", f"evaluations/{family}")
    assert evaluated["predictions_screened"] == summary["predictions_screened"]
    records = [json.loads(path.read_text()) for path in (planted.path / "data" / "stages").glob("*.json")]
    (checked,) = [one for one in records if (one["stage"], one["subject"]) == ("quality_of_datasets", family)]
    (check,) = [outcome for outcome in checked["facts"]["outcomes"] if outcome["name"] == "personal_data"]
    assert (check["status"], check["numbers"]["EMAIL"]) == ("warn", facts["by_kind"]["EMAIL"])


@pytest.mark.parametrize("family", ["heuristic", "correlation"])
def test_groups_that_are_known_by_personal_data_stay_apart_and_whole(planted: Home, family: str) -> None:
    rows = table_of(planted, "splits", family)
    incidents = rows[rows["source"] == "guide"]
    groups = incidents["group"]
    assert groups.nunique() > 50, "sixty organisations are not one [EMAIL]"
    assert groups.str.fullmatch(r"\[EMAIL [0-9a-f]{12}\]").all()
    used = incidents[incidents["split"].isin(["train", "validation", "test"])]
    assert (used.groupby("group")["split"].nunique() == 1).all()


def test_identifiers_are_counted_as_many_as_they_are(planted: Home) -> None:
    rows = table_of(planted, "datasets", "correlation")
    agents = rows.loc[rows["source"] == "guide", "agent_count"]
    assert agents.max() > 6, "three pieces of evidence name up to nine agents, whose addresses are all masked"


def test_scoring_writes_no_value_into_the_home_and_names_no_cell(planted: Home, copy: Copy) -> None:
    home = copy(planted)
    before = set(places(home))
    rows = connections(200, np.random.default_rng(5)).astype("object")
    rows["service"] = [VALUES[row % len(VALUES)] for row in range(len(rows))]
    rows.loc[16, "src_bytes"] = NUMBER
    rows.loc[17, "src_bytes"] = MARKER
    answer, scores = score(home, rows)
    assert answer.code == 0, answer.err
    assert "column src_bytes: 1 of 200 values, text (first: record 18)" in answer.out
    assert "Masked before they were scored, as in training: SSN" in answer.out
    assert found_in((answer.out + answer.err + scores).encode(), (*NEEDLES, MARKER)) == set()
    rows["src_bytes"] = MARKER
    refused, _ = score(home, rows.assign(**{CARD: 1}))
    assert "column src_bytes: 200 of 200 values are text (first: record 1)" in refused.err
    rows = rows.drop(columns="src_bytes").rename(columns={"count": EMAIL, "service": CARD})
    unreadable, _ = score(home, rows)
    assert (unreadable.code, "look like data" in unreadable.err) == (2, True)
    assert found_in((unreadable.out + unreadable.err).encode()) == set()
    assert refused.code == 2
    assert found_in((refused.out + refused.err).encode(), (*NEEDLES, MARKER)) == set()
    assert set(places(home)) == before


def test_a_source_that_cannot_be_used_is_described_without_its_values(planted: Home, copy: Copy) -> None:
    home = copy(planted)
    own = plant(home.folder / "mirror")
    rows = connections(300, np.random.default_rng(6)).astype("object")
    rows["attack"] = EMAIL
    (own / CATALOG.entry("nslkdd").slug / "KDDTrain+_20Percent.txt").unlink()
    write_connections(own, rows)
    breaches = own / CATALOG.entry("security_breach").slug / "breaches.csv"
    breaches.write_text(f"is_malicious,{EMAIL}\n" + "".join(f"{value},1\n" for value in VALUES * 20), encoding="utf-8")
    home = Home(home.server, home.folder, own)
    before = {path for path in places(home) if not path.startswith(AS_THEY_CAME)}
    said = [
        home.run("--source", "mirror"),
        home.nethical("data", "fetch", "--force"),
        home.nethical("data", "validate"),
        home.nethical("data", "list", "--json"),
    ]
    assert "holds 1 value" in said[1].out + said[1].err
    assert [found_in((answer.out + answer.err).encode()) for answer in said] == [set()] * len(said)
    assert {path for path in places(home) if not path.startswith(AS_THEY_CAME)} == before


def test_no_message_record_or_log_quotes_the_cell_that_is_wrong(server: ForkServer, tmp_path: Path) -> None:
    """A value that no check expects, and that no rule would find, in every column of every source."""
    mirror = mark(build_mirror(tmp_path / "mirror", rows=600))
    home = Home(server, tmp_path / "home", mirror, {**LENIENT, "datasets": {"blocking_checks": []}})
    said = [
        home.run("--families", ",".join(family_names()), "--source", "mirror"),
        home.nethical("data", "validate"),
        home.nethical("data", "list", "--json"),
        home.nethical("alerts", "list", "--json"),
        home.shown("run", "--families", "logistic", "--source", "mirror"),
    ]
    for name, rows in {"some": 3, "all": 200}.items():
        records = connections(200, np.random.default_rng(5)).astype("object")
        for column in records.columns:
            records.loc[: rows - 1, column] = MARKER
        records.to_csv(tmp_path / f"{name}.csv", index=False)
        for family in ("heuristic", "logistic", "correlation"):
            said.append(
                home.nethical("score", family, str(tmp_path / f"{name}.csv"), "--output", str(tmp_path / "o.csv"))
            )
    assert {answer.code for answer in said} == {0, 1, 2}, [(answer.code, answer.last_line()[:300]) for answer in said]
    assert [found_in((answer.out + answer.err).encode(), (MARKER,)) for answer in said] == [set()] * len(said)
    found = places(home, (MARKER,))
    assert any(path.startswith("data/snapshots/") for path in found), "it was read"
    # What is no personal data stays in tables, and in the few masked records that a model is tried with.
    kept = {
        path
        for path in found
        if path.startswith(AS_THEY_CAME)
        or path.endswith("/golden.json")
        or (path.startswith("data/objects/") and (home.path / path).read_bytes()[:4] == b"PAR1")
    }
    assert sorted(found.keys() - kept) == []
