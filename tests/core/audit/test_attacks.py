from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from nethical_assets.core.audit import verify_log
from tests.sweeping import COMPLETE

from .attacks import ATTACKS, KEY, Attack, assert_detected, make_base
from .conftest import open_log, record


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attacks") / "base"
    make_base(folder)
    return folder


def test_the_log_that_is_attacked_verifies(base: Path) -> None:
    report = verify_log(base, [KEY])
    assert report.problems == []
    assert report.notes == [
        "pending/run-c.jsonl: 2 events wait to be finalised",
        "index.sqlite: missing; the next run writes it, until then questions take longer",
    ]


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
def test_each_attack_is_detected_with_its_own_message(attack: Attack, base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base, tmp_path / "log", symlinks=True)
    attack.apply(folder)
    assert_detected(attack, folder)


def test_no_two_attacks_share_a_name() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)


def bits(position: int) -> Iterable[int]:
    return range(8) if COMPLETE else {(position * 5 + 3) % 8}


def test_every_flipped_bit_is_detected(tmp_path: Path) -> None:
    """A bit of every byte of the checkpoint, the leaf hashes and the verifier key, or all eight in a sweep; of other
    files one bit of every 17th byte, or of every byte."""
    log = open_log(tmp_path / "audit")
    record(log, "r", 1)
    record(log, "s", 1, finalize=False)
    every = {"checkpoint", "tile/0/000.p/4", "keys/verifier.vkey"}
    files = [path for path in sorted(log.folder.rglob("*")) if path.is_file() and path.stat().st_size]
    # The index has bytes that mean nothing; what it answers is checked (test_index).
    files = [path for path in files if path.name != "index.sqlite" and "000.p/2" not in path.as_posix()]
    assert len(files) == 13
    missed = []
    for path in files:
        name = path.relative_to(log.folder).as_posix()
        original = path.read_bytes()
        for position in range(0, len(original), 1 if name in every or COMPLETE else 17):
            for bit in bits(position) if name in every else {position * 5 % 8}:
                changed = bytearray(original)
                changed[position] ^= 1 << bit
                path.write_bytes(changed)
                if verify_log(log.folder).ok:
                    missed.append((name, position, bit))
        path.write_bytes(original)
    assert missed == []
    assert verify_log(log.folder).ok


def test_removing_any_file_of_a_log_is_detected(tmp_path: Path) -> None:
    log = open_log(tmp_path / "audit")
    for number, events in enumerate([3, 260, 2]):
        record(log, f"run-{number}", events)
    optional = {"writer.lock", "pending.lock", "keys/signing-key.pem", "checkpoints/270", "index.sqlite"}
    required = ["tile/0/000", "tile/0/001.p/14", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/14"]
    for path in sorted(log.folder.rglob("*")):
        name = path.relative_to(log.folder).as_posix()
        superseded = name.startswith("tile/") and name not in required
        if path.is_file() and name not in optional and not superseded and not name.startswith("payloads/"):
            data = path.read_bytes()
            path.unlink()
            assert verify_log(log.folder).problems != [], name
            path.write_bytes(data)
    assert verify_log(log.folder).problems == []


def test_a_payload_that_retention_deleted_is_no_defect(tmp_path: Path) -> None:
    log = open_log(tmp_path / "audit")
    record(log, "run-a", 2)
    digest = next(log.entries(2)).event.payload_digest
    assert digest is not None
    Path(log.payloads.path(digest)).unlink()
    assert f"leaf 2: its payload {digest} is missing" in verify_log(log.folder).problems
    subject = {"name": "payload", "digest": digest}
    log.recorder("run-b").append("retention_deleted", actor="retention", subjects=[subject])
    log.finalize_run("run-b")
    assert verify_log(log.folder).problems == []
