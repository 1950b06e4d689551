from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nethical_assets.core.audit import (
    AuditLog,
    EventType,
    RunRecorder,
    SigningKeys,
    rotate_key,
    verify_log,
    verify_prefix_root,
)
from nethical_assets.core.audit.keys import KEY_FILE_VARIABLE, write_private_key
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.errors import AuditError, InputFileError, IntegrityError
from nethical_assets.core.tlog.merkle import hash_leaf, root_of, verify_consistency

from .conftest import KEY_RUN, open_log, private_key, record


def test_a_run_becomes_one_signed_chunk_that_verifies(log: AuditLog) -> None:
    record(log, "run-a", 3)
    receipt_b = None
    record(log, "run-b", 2, finalize=False)
    receipt_b = log.finalize_run("run-b")
    report = verify_log(log.folder)
    assert report.problems == []
    assert report.size == receipt_b.size == 9
    assert report.root == receipt_b.root
    assert [(chunk.run_id, chunk.first_index, chunk.events) for chunk in report.chunks] == [
        (KEY_RUN, 0, 1),
        ("run-a", 2, 3),
        ("run-b", 6, 2),
    ]
    verify_consistency(
        receipt_b.previous_size,
        receipt_b.size,
        bytes.fromhex(receipt_b.previous_root),
        bytes.fromhex(receipt_b.root),
        [bytes.fromhex(one) for one in receipt_b.consistency_proof],
    )
    assert receipt_b.checkpoint == (log.folder / "checkpoint").read_text()
    leaves = [found.event.leaf() for found in log.entries(6)]
    assert receipt_b.chunk_root == root_of(map(hash_leaf, leaves[:2])).hex()


def test_finalizing_twice_appends_nothing_and_gives_the_same_receipt(log: AuditLog) -> None:
    record(log, "run-a", 3)
    record(log, "run-b", 1)
    before = {path: path.read_bytes() for path in log.folder.rglob("*") if path.is_file()}
    receipt = log.finalize_run("run-a")
    assert (receipt.first_index, receipt.size) == (2, 6)
    assert {path: path.read_bytes() for path in log.folder.rglob("*") if path.is_file()} == before


def test_a_run_may_go_on_after_its_chunk(log: AuditLog) -> None:
    recorder = log.recorder("run-a")
    assert recorder.append("run_started", actor="t") == 0
    log.finalize_run("run-a")
    assert recorder.append("alert_filed", actor="t") == 2, "sequence 1 is the chunk_final leaf"
    claim = recorder.prefix_root()
    assert claim[0] == 3
    assert "holds 2 of this run" in verify_prefix_root(log.folder, "run-a", *claim)[0]
    log.finalize_run("run-a")
    assert verify_prefix_root(log.folder, "run-a", *claim) == []
    assert verify_log(log.folder).problems == []


def test_the_claim_of_a_card_is_verified_against_the_log(log: AuditLog) -> None:
    record(log, "run-a", 4, finalize=False)
    size, root = log.recorder("run-a").prefix_root()
    record(log, "other", 2)
    log.finalize_run("run-a")
    assert verify_prefix_root(log.folder, "run-a", size, root) == []
    assert "states root" in verify_prefix_root(log.folder, "run-a", size - 1, root)[0]
    assert "states root" in verify_prefix_root(log.folder, "other", 1, root)[0]
    assert "holds 0" in verify_prefix_root(log.folder, "unknown", 1, root)[0]
    assert verify_prefix_root(log.folder, "run-a", 0, root) != []


def test_abandoned_runs_are_finalised_with_an_interruption(log: AuditLog) -> None:
    record(log, "dead", 2, finalize=False)
    record(log, "alive", 1, finalize=False)
    log.recorder("ended").append(EventType.RUN_COMPLETED, actor="t")
    receipts = log.finalize_abandoned(lambda run_id: run_id == "alive")
    assert [receipt.run_id for receipt in receipts] == ["dead", "ended"]
    assert log.pending_runs() == ["alive"]
    interrupted = [found.event.run_id for found in log.find_events(event_type="run_interrupted")]
    assert interrupted == ["dead"]
    assert verify_log(log.folder).problems == []


def test_events_are_found_by_run_type_and_digest(log: AuditLog) -> None:
    record(log, "run-a", 3)
    record(log, "run-b", 3)
    digest = digest_bytes(b"run-b/1")
    (found,) = log.find_events(digest=digest)
    assert (found.index, found.event.run_id, found.event.sequence) == (7, "run-b", 1)
    assert log.payload(found.event) == {"number": 1, "run": "run-b"}
    assert [one.index for one in log.find_events(run_id="run-b", event_type="data_fetched")] == [6, 7, 8]
    assert [one.index for one in log.find_events(event_type=EventType.CHUNK_FINAL)] == [1, 5, 9]
    assert [one.index for one in log.entries(8)] == [8, 9]


def test_floats_of_payloads_become_decimal_text_and_leaves_hold_none(log: AuditLog) -> None:
    recorder = log.recorder("run-a")
    recorder.append("model_evaluated", actor="t", payload={"accuracy": 0.1, "counts": [1, 2.5], "none": None})
    log.finalize_run("run-a")
    (found,) = log.find_events(event_type="model_evaluated")
    assert log.payload(found.event) == {"accuracy": "0.1", "counts": [1, "2.5"], "none": None}
    assert json.loads(found.event.leaf())["payload_digest"].startswith("sha256:")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"type": "made_up"}, "unknown event type 'made_up'; known are run_started"),
        ({"type": "chunk_final"}, "written by finalize_run only"),
        ({"payload": {"x": float("nan")}}, "nan is not a number"),
        ({"payload": {"x": object()}}, "must be JSON"),
        ({"payload": 2**60}, "must be JSON"),
        ({"actor": "x" * 70000}, "at most 65535 fit in a leaf"),
        ({"actor": "\ud800"}, "no canonical JSON form"),
        ({"subjects": [{"name": "x"}]}, "exactly the texts name and digest"),
        ({"subjects": [{"name": "x", "digest": "md5:1"}]}, "malformed digest"),
        ({"parents": ["x"]}, "malformed digest"),
        ({"actor": 7}, "malformed leaf"),
    ],
)
def test_malformed_events_are_refused_and_leave_no_trace(log: AuditLog, arguments: dict, message: str) -> None:
    recorder = log.recorder("run-a")
    with pytest.raises((AuditError, IntegrityError), match=message):
        recorder.append(**{"type": "heartbeat", "actor": "t", **arguments})
    assert recorder.prefix_root()[0] == 0
    assert log.pending_runs() == []


@pytest.mark.parametrize("run_id", ["", "../x", "a/b", ".", "x" * 129, "a b", "a..b"])
def test_run_ids_cannot_leave_the_folder(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(AuditError, match="malformed run id"):
        RunRecorder(tmp_path, run_id, SigningKeys(tmp_path / "keys", environment={}))


def test_a_run_without_events_cannot_be_finalised(log: AuditLog) -> None:
    with pytest.raises(AuditError, match="recorded no events"):
        log.finalize_run("nothing")


def test_the_key_is_created_once_private_and_announced(tmp_path: Path) -> None:
    keys = SigningKeys(tmp_path / "audit" / "keys", environment={})
    first = AuditLog(tmp_path / "audit", keys)
    record(first, "run-a", 1)
    assert first.key_created == tmp_path / "audit" / "keys" / "signing-key.pem"
    assert first.key_created.stat().st_mode & 0o777 == 0o600
    second = AuditLog(tmp_path / "audit", SigningKeys(tmp_path / "audit" / "keys", environment={}))
    record(second, "run-b", 1)
    assert second.key_created is None


def test_the_key_may_be_named_by_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.pem"
    write_private_key(path, private_key(7))
    log = AuditLog(
        tmp_path / "audit", SigningKeys(tmp_path / "audit" / "keys", environment={KEY_FILE_VARIABLE: str(path)})
    )
    record(log, "run-a", 1)
    assert not (tmp_path / "audit" / "keys" / "signing-key.pem").exists()
    assert verify_log(tmp_path / "audit").ok
    path.unlink()
    with pytest.raises(InputFileError, match=r"elsewhere\.pem: no such file; name a file with an unencrypted Ed25519"):
        record(log, "run-b", 1)


def test_another_key_cannot_extend_the_log(tmp_path: Path) -> None:
    record(open_log(tmp_path / "audit"), "run-a", 1)
    write_private_key(tmp_path / "other.pem", private_key(9))
    stranger = AuditLog(tmp_path / "audit", SigningKeys(tmp_path, key_file=tmp_path / "other.pem", environment={}))
    before = (tmp_path / "audit" / "checkpoint").read_bytes()
    with pytest.raises(AuditError, match="wrong key"):
        record(stranger, "run-b", 1)
    assert (tmp_path / "audit" / "checkpoint").read_bytes() == before
    assert stranger.pending_runs() == [], "nothing is recorded that could not be signed"


def test_the_writer_refuses_a_log_that_was_changed(log: AuditLog) -> None:
    record(log, "run-a", 2)
    tile = log.folder / "tile" / "0" / "000.p" / "5"
    tile.write_bytes(tile.read_bytes()[::-1])
    with pytest.raises(AuditError, match=r"the tiles give root .* the log was changed"):
        record(log, "run-b", 1)


def test_the_log_grows_over_full_tiles(log: AuditLog) -> None:
    for number, events in enumerate([100, 154, 1, 300, 2]):
        record(log, f"run-{number}", events)
    report = verify_log(log.folder)
    assert report.problems == []
    assert report.size == 564
    assert sorted(path.name for path in (log.folder / "tile" / "0").iterdir()) == ["000", "001", "002.p"]


def test_times_that_run_backwards_are_noted_with_both(tmp_path: Path) -> None:
    """Fault C1: the clock was set back between two chunks, and within one."""
    folder = tmp_path / "audit"
    open_log(folder)
    moments = [datetime(2026, 5, day, tzinfo=UTC) for day in (10, 10, 11, 9, 12, 8)]
    log = AuditLog(folder, SigningKeys(folder / "keys", environment={}), clock=lambda: moments.pop(0))
    recorder = log.recorder("run-a")
    recorder.append("heartbeat", actor="t")
    recorder.append("heartbeat", actor="t")
    log.finalize_run("run-a")
    report = verify_log(folder)
    assert report.problems == []
    (inside,) = [note for note in report.notes if "before" in note]
    assert inside == (
        "leaf 3: its time 2026-05-09T00:00:00.000000Z is before 2026-05-11T00:00:00.000000Z of the leaf before it"
    )
    AuditLog(folder, log.keys, clock=lambda: datetime(2025, 1, 1, tzinfo=UTC)).heartbeat("late")
    noted = [
        note for note in verify_log(folder).notes if "of the chunk before it" in note or "when a chunk before" in note
    ]
    assert len(noted) == 1
    assert "2025-01-01" in noted[0]
    assert "2026-05-12" in noted[0]


def test_before_the_first_run_finished_the_log_says_so(log: AuditLog) -> None:
    record(log, "run-a", 2, finalize=False)
    report = verify_log(log.folder)
    assert report.problems == []
    assert "no run finished yet" in report.notes
    log.finalize_run("run-a")
    assert "no run finished yet" not in verify_log(log.folder).notes


def test_a_verification_says_how_far_it_is(log: AuditLog) -> None:
    record(log, "run-a", 300)
    seen: list[tuple[str, int, int]] = []
    verify_log(log.folder, progress=lambda *now: seen.append(now))
    assert ("leaves read", 303, 303) in seen
    assert [what for what, *_ in seen if what == "leaves checked"] != []


def test_events_of_a_run_that_goes_on_during_a_rotation_are_kept(log: AuditLog) -> None:
    """What the old key signed would not count after the rotation: it enters the log before."""
    recorder = log.recorder("run-a")
    recorder.append("run_started", actor="t")
    rotate_key(log, actor="t")
    assert recorder.append("heartbeat", actor="t") == 2
    log.finalize_run("run-a")
    assert [str(found.event.type) for found in log.find_events(run_id="run-a")] == [
        "run_started",
        "chunk_final",
        "heartbeat",
        "chunk_final",
    ]
    assert verify_log(log.folder).problems == []
