"""The index of the quarantine shows what the log says was decided, or nobody acts on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from nethical_assets.core.governance.quarantine import REASONS_COLUMN
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace, utc_now
from nethical_assets.operations.quarantine import decide
from tests.fake_stages import open_workspace

FAMILY = "prompt_injection"
Row = dict[str, Any]


@pytest.fixture
def decided(settings: Settings) -> Workspace:
    """Three rows: ``aa1`` was released, ``bb2`` confirmed, ``cc3`` nobody has decided about."""
    workspace = open_workspace(settings, "run-1")
    rows = pd.DataFrame({"row_id": ["aa1", "bb2", "cc3"], "text": ["x", "y", "z"], REASONS_COLUMN: "PRIVATE_KEY"})
    workspace.quarantine.add(FAMILY, rows, now=utc_now())
    for row, verdict in (("aa1", "confirm"), ("aa1", "release"), ("bb2", "confirm")):
        decide(settings, verdict, FAMILY, row, actor="dana", reason="looked at")  # type: ignore[arg-type]
    return open_workspace(settings, "run-2")


def edited(workspace: Workspace, edit: Callable[[dict[str, Row]], None]) -> None:
    path = workspace.home / "data" / "quarantine" / f"{FAMILY}.json"
    rows = {row["row_id"]: row for row in json.loads(path.read_text())}
    edit(rows)
    path.write_text(json.dumps(list(rows.values())))


def test_what_was_decided_holds(decided: Workspace) -> None:
    assert decided.released_rows(FAMILY) == {"aa1"}
    assert decided.released_rows("logistic") == frozenset()


EDITS: dict[str, Callable[[dict[str, Row]], None]] = {
    "released, shown as held": lambda rows: rows["aa1"].update(status="held"),
    "released, shown as confirmed": lambda rows: rows["aa1"].update(status="confirmed"),
    "released, shown as undecided": lambda rows: rows["aa1"].update(
        status="held", decision="", decided_at="", actor="", decision_reason=""
    ),
    "released, forgotten": lambda rows: rows.pop("aa1") and None,
    "confirmed, shown as released": lambda rows: rows["bb2"].update(status="released"),
    "confirmed, shown as held": lambda rows: rows["bb2"].update(status="held"),
    "confirmed, forgotten": lambda rows: rows.pop("bb2") and None,
    "confirmed, with a decision about another row": lambda rows: rows["bb2"].update(
        status="released", decision=rows["aa1"]["decision"]
    ),
    "undecided, shown as confirmed": lambda rows: rows["cc3"].update(status="confirmed", actor="eve"),
    "undecided, shown as released": lambda rows: rows["cc3"].update(status="released"),
    "undecided, with a decision about another row": lambda rows: rows["cc3"].update(
        {name: rows["aa1"][name] for name in ("status", "decided_at", "actor", "decision_reason", "decision")}
    ),
    "undecided, with a name": lambda rows: rows["cc3"].update(actor="eve"),
    "decided by somebody else": lambda rows: rows["aa1"].update(actor="eve"),
    "decided for another reason": lambda rows: rows["bb2"].update(decision_reason="harmless"),
    "decided at another time": lambda rows: rows["bb2"].update(decided_at="2020-01-01T00:00:00+00:00"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_any_other_decision_in_the_index_is_refused(edit: Callable[[dict[str, Row]], None], decided: Workspace) -> None:
    edited(decided, edit)
    with pytest.raises(IntegrityError, match="restore data/quarantine from a backup"):
        decided.released_rows(FAMILY)


def test_an_earlier_decision_put_back_is_refused(decided: Workspace, settings: Settings) -> None:
    path = decided.home / "data" / "quarantine" / f"{FAMILY}.json"
    before = path.read_bytes()
    decide(settings, "confirm", FAMILY, "aa1", actor="dana", reason="after all")
    assert open_workspace(settings, "run-3").released_rows(FAMILY) == frozenset()
    path.write_bytes(before)
    with pytest.raises(IntegrityError, match="has another decision in the index"):
        open_workspace(settings, "run-4").released_rows(FAMILY)
