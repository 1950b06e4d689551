"""Records before a family sees them: what is masked how, what stays, and what is counted."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

from nethical_assets.core.governance.pseudonyms import Pseudonyms
from nethical_assets.core.governance.records import RecordScreener, with_records, without_pseudonyms
from nethical_assets.core.ground.errors import IntegrityError
from tests.core.conftest import entry_of
from tests.core.record_screening import record_screener

MAIL, OTHER, CARD = "a.person@example.com", "b.person@example.com", 4111111111111111
KEY = "-----BEGIN PRIVATE KEY----- MIIEvQIBADANBgkqhkiG9w0BAQEFAASC -----END PRIVATE KEY-----"


def records(**columns: Any) -> pd.DataFrame:
    rows = len(next(iter(columns.values())))
    return pd.DataFrame(columns).assign(_file="rows.csv", _label=[row % 2 for row in range(rows)])


def entry(**changes: Any) -> Any:
    return entry_of(kind="records", **changes)


def screened(frame: pd.DataFrame, **changes: Any) -> tuple[pd.DataFrame, RecordScreener]:
    screener = record_screener()
    return screener.screen(entry(**changes), frame).frame, screener


def test_identifiers_keep_apart_what_they_kept_apart_and_say_nothing_else() -> None:
    frame, _ = screened(records(agent=[MAIL, OTHER, MAIL.upper(), "device-7"]))
    first, second, again, device = frame["agent"]
    assert first == again != second
    assert device == "device-7"
    assert without_pseudonyms(frame["agent"]).tolist() == ["[EMAIL]", "[EMAIL]", "[EMAIL]", "device-7"]
    assert "person" not in "".join(frame["agent"])


def test_a_value_keeps_what_is_around_the_finding() -> None:
    frame, _ = screened(records(note=[f"sent to {MAIL} twice", "nothing"]))
    assert without_pseudonyms(frame["note"]).tolist() == ["sent to [EMAIL] twice", "nothing"]


def test_every_column_is_looked_at_whatever_the_catalog_says_of_it() -> None:
    frame, screener = screened(records(unheard_of=[MAIL, "x"], flag=["SF", OTHER], size=[1, 2]))
    assert not frame.astype("str").apply(lambda column: column.str.contains("person")).any().any()
    assert (screener.counts.records, screener.counts.columns, screener.counts.records_masked) == (2, 3, 2)
    assert screener.counts.to_json()["by_kind_and_label"] == {"EMAIL": {"0": 1, "1": 1}}


def test_an_odd_number_becomes_missing_and_a_column_of_identifiers_pseudonyms() -> None:
    sizes, cards = [10, 20, CARD, 30], [CARD, 5500000000000004, CARD, 7]
    frame, _ = screened(records(size=sizes, owner=cards, amount=cards), numeric_columns=["amount"])
    assert frame["size"].tolist() == [10, 20, pd.NA, 30]
    assert without_pseudonyms(frame["owner"]).tolist() == ["[CREDIT_CARD]", "[CREDIT_CARD]", "[CREDIT_CARD]", "7"]
    assert frame["owner"][0] == frame["owner"][2] != frame["owner"][1]
    assert frame["amount"].isna().tolist() == [True, True, True, False]


def test_a_group_is_never_lost_because_few_of_its_names_are_personal() -> None:
    frame, _ = screened(records(org=[1, 2, CARD, 5500000000000004, 3, 4]), group_column="org")
    assert frame["org"].nunique() == 6


def test_what_is_kept_out_stays_where_it_becomes_canonical_and_is_masked_elsewhere() -> None:
    frame, screener = screened(
        records(service=[KEY, "http"], note=[KEY, "x"]), categorical_columns=["service"], numeric_columns=[]
    )
    assert frame["service"][0] == KEY
    assert "MIIE" not in frame["note"][0]
    assert screener.counts.by_kind == {"PRIVATE_KEY": 1}
    of_numbers = pd.DataFrame({"signal": [0.1, 0.2]})
    kept = record_screener()
    result = kept.screen(entry(categorical_columns=["service"]), records(service=[KEY, "http"]))
    kept.count_left(result, of_numbers, entry(categorical_columns=["service"]))
    assert kept.counts.by_kind == {"PRIVATE_KEY": 1}, "nothing of it is left to be kept out"


def test_nothing_is_changed_where_nothing_is_found() -> None:
    before = records(service=["http", "smtp"], size=[1, 2], when=["2024-01-01T00:00:00Z"] * 2, rate=[0.5, None])
    after, _ = screened(before)
    pd.testing.assert_frame_equal(after, before)


def test_pseudonyms_are_of_one_home_and_survive_it(tmp_path: Any) -> None:
    first, second = Pseudonyms(tmp_path / "a" / "key"), Pseudonyms(tmp_path / "b" / "key")
    token = first.token("EMAIL", MAIL)
    assert token == Pseudonyms(tmp_path / "a" / "key").token("EMAIL", f" {MAIL.upper()} ")
    assert token != second.token("EMAIL", MAIL), "nobody without the secret can try addresses"
    assert token != first.token("EMAIL", OTHER)
    assert (tmp_path / "a" / "key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "a" / "key").write_bytes(b"short")
    with pytest.raises(IntegrityError, match="key: not a secret of 32 bytes"):
        Pseudonyms(tmp_path / "a" / "key").token("EMAIL", MAIL)


def test_counts_of_records_and_rows_are_added_up() -> None:
    summary = {"rows": 9, "rows_masked": 1, "findings": 2, "by_kind": {"JAILBREAK": 1, "EMAIL": 1},
               "by_kind_and_label": {"JAILBREAK": {"1": 1}, "EMAIL": {"0": 1}},
               "by_decision": {"allow": 1, "allow_with_modification": 1}}  # fmt: skip
    counts = {"records": 20, "columns": 4, "records_masked": 3, "by_kind": {"EMAIL": 5},
              "by_kind_and_label": {"EMAIL": {"0": 4, "1": 1}}}  # fmt: skip
    whole = with_records(summary, counts, columns=1)
    assert (whole["records_screened"], whole["columns_screened"]) == (20, 4)
    assert (whole["rows_masked"], whole["findings"]) == (4, 7)
    assert whole["by_kind"] == {"EMAIL": 6, "JAILBREAK": 1}
    assert whole["by_kind_and_label"] == {"EMAIL": {"0": 5, "1": 1}, "JAILBREAK": {"1": 1}}
    assert whole["by_decision"] == {"allow": 1, "allow_with_modification": 6}
    alone = with_records(summary, None, columns=1)
    assert (alone["records_screened"], alone["columns_screened"], alone["findings"]) == (9, 1, 2)
    assert json.dumps(whole)
