"""The index says where to look, never what is there: missing, behind, damaged or edited, the answers stay right."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical_assets.core.audit import AuditLog, Event, EventType, LogReader, Subject, verify_log
from nethical_assets.core.audit.events import Chunk, Rotation, _parse_plain
from nethical_assets.core.audit.index import INDEX
from nethical_assets.core.audit.keyed_tree import EMPTY_MAP, DamagedIndexError, lookup, reachable, update
from nethical_assets.core.audit.state import Replay
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.errors import AuditError

from .attacks import new_log, other_state, resigned
from .conftest import open_log, record


def statement(text: str) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        with contextlib.closing(sqlite3.connect(folder / INDEX)) as connection, connection:
            connection.executescript(text)

    return apply


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": lambda folder: (folder / INDEX).unlink(),
    "empty": lambda folder: (folder / INDEX).write_bytes(b""),
    "no database": lambda folder: (folder / INDEX).write_bytes(b"x" * 5000),
    "cut": lambda folder: (folder / INDEX).write_bytes((folder / INDEX).read_bytes()[:5000]),
    "of the log before": lambda folder: shutil.copyfile(folder / "older.sqlite", folder / INDEX),
    "of another log": statement("UPDATE log SET root = 'x'"),
    "without nodes": statement("DELETE FROM nodes"),
    "with changed nodes": statement("UPDATE nodes SET data = x'00'"),
    "without digests": statement("DELETE FROM digests"),
    "with moved digests": statement("UPDATE digests SET leaf = leaf + 1"),
    "with leaves that are not there": statement("UPDATE digests SET leaf = 999999"),
    "with other tables": statement("DROP TABLE digests; DROP TABLE nodes"),
}


def answers(log: LogReader) -> list[object]:
    return [
        [log.run_leaves(run_id) for run_id in ("run-a", "run-b", "never")],
        [one.index for one in log.find_events(digest=digest_bytes(b"run-b/1"))],
        [one.index for one in log.find_events(digest=digest_bytes(b"never"))],
        log.view().place("run-a").sequence,
    ]


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_wrong_index_changes_no_answer_and_the_next_writer_goes_on(
    damage: Callable[[Path], object], log: AuditLog
) -> None:
    for number in range(30):
        record(log, f"run-{number}", 1)
    record(log, "run-a", 3)
    shutil.copyfile(log.folder / INDEX, log.folder / "older.sqlite")
    record(log, "run-b", 3)
    right = answers(LogReader(log.folder))
    damage(log.folder)
    assert answers(LogReader(log.folder)) == right
    assert open_log(log.folder).recorder("run-a").append("heartbeat", actor="t") == 4
    open_log(log.folder).finalize_run("run-a")
    (log.folder / "older.sqlite").unlink()
    assert [problem for problem in verify_log(log.folder).problems if "its digests are not" not in problem] == []


def test_the_index_that_the_writer_extends_is_the_one_it_would_write_anew(log: AuditLog) -> None:
    for number in range(40):
        record(log, f"run-{number}", number % 3 + 1)
    record(log, "run-3", 2)

    def content() -> list[object]:
        with log.index.reading() as session:
            return [session.covered(), session.nodes(), sorted(session.rows())]

    extended = content()
    log.index.path.unlink()
    record(log, "run-x", 1)
    record(log, "run-y", 1)
    rebuilt = content()
    log.index.path.unlink()
    open_log(log.folder).heartbeat("run-z")
    assert len(extended[1]) > 5
    assert len(rebuilt[1]) >= len(extended[1])
    assert verify_log(log.folder).problems == []


def test_a_forged_state_is_refused_where_it_would_be_used(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    folder.mkdir()
    resigned(other_state)(folder)
    with pytest.raises(AuditError, match="names another state than"):
        open_log(folder).heartbeat("run-z")
    with pytest.raises(AuditError, match="names another state than"):
        (folder / INDEX).unlink()
        LogReader(folder).run_leaves("run-a")


def test_a_state_document_that_was_changed_or_removed_is_made_again_from_the_leaves(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    folder.mkdir()
    new_log(lambda _: None)(folder)
    log = open_log(folder)
    final = log.view().final
    assert final is not None
    assert final.payload_digest is not None
    path = Path(log.payloads.path(final.payload_digest))
    right = path.read_bytes()
    for data in (b"{}", right.replace(b'"leaf":0', b'"leaf":1')):
        path.write_bytes(data)
        view = LogReader(folder).view()
        assert view.state.to_bytes() == right
        assert len(view.run_leaves("run-b")) == 3


def test_a_log_of_the_version_before_goes_on_with_states_and_a_pinned_key(tmp_path: Path) -> None:
    from .attacks import KEY, make_base

    folder = tmp_path / "audit"
    make_base(folder)
    assert LogReader(folder).view().state.audit_keys == []
    (folder / "pending" / "run-c.jsonl").unlink()
    log = open_log(folder)
    record(log, "run-a", 1)
    assert [one.index for one in log.find_events(run_id="run-a")] == [0, 1, 2, 3, 9, 10]
    assert [named.leaf for named in log.view().state.audit_keys] == [7]
    assert verify_log(folder, [KEY]).problems == []


KEYS = st.dictionaries(st.text("abcdef0123456789", min_size=1, max_size=4), st.integers(0, 2**60), max_size=80)


@settings(deadline=None, max_examples=40)
@given(KEYS, KEYS)
def test_the_map_of_runs_holds_exactly_what_was_put_in_and_its_hash_does_not_depend_on_the_order(
    first: dict[str, int], second: dict[str, int]
) -> None:
    step, whole = Replay(), Replay()
    root = EMPTY_MAP
    for part in (first, second):
        for name, number in part.items():
            root, added, removed = update(root, {name: number}, step.node)
            step.nodes.update(added)
            for digest in removed:
                step.nodes.pop(digest, None)
    content = {**first, **second}
    at_once, added, _ = update(EMPTY_MAP, content, whole.node)
    whole.nodes.update(added)
    assert at_once == root or not content
    assert all(lookup(root, name, step.node) == number for name, number in content.items())
    assert lookup(root, "absent", step.node) is None
    assert reachable(root, step.node) == step.nodes.keys(), "nothing is kept that is not needed"
    for digest in list(step.nodes):
        changed = {**step.nodes, digest: step.nodes[digest] + b"\x00"}
        with pytest.raises(DamagedIndexError):
            reachable(root, changed.__getitem__)


TEXT = st.text(max_size=8)
DIGEST = st.binary(max_size=3).map(digest_bytes)


@settings(deadline=None)
@given(
    actor=TEXT,
    subjects=st.lists(st.builds(Subject, TEXT, DIGEST), max_size=3),
    parents=st.lists(DIGEST, max_size=3),
    payload=st.none() | DIGEST,
    sequence=st.integers(0, 2**53 - 1),
    kind=st.sampled_from(list(EventType)),
)
def test_the_quick_parser_of_leaves_accepts_exactly_canonical_ones(
    actor: str, subjects: list[Subject], parents: list[str], payload: str | None, sequence: int, kind: EventType
) -> None:
    event = Event(
        "run-1",
        sequence,
        "2026-01-01T00:00:00.000000Z",
        kind,
        actor,
        tuple(subjects),
        tuple(parents),
        payload,
        Chunk(1, 2, "ab", "cd") if kind is EventType.CHUNK_FINAL else None,
        Rotation("a", "b") if kind is EventType.KEY_ROTATED else None,
    )
    leaf = event.leaf()
    assert Event.parse(leaf) == event
    assert _parse_plain(leaf) in (event, None)
    for changed in (
        leaf + b" ",
        b" " + leaf,
        leaf.replace(b'"parents":', b'"parents": ', 1),
        leaf.replace(b"run-1", b"run/1"),
    ):
        assert _parse_plain(changed) is None
