from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nethical_assets.core.audit import AuditLog, VerifierKey, verify_log
from nethical_assets.core.audit.witness import Witness, request_cosignature, serve_witness
from nethical_assets.core.ground.errors import AuditError
from nethical_assets.core.tlog.checkpoint import Checkpoint
from nethical_assets.core.tlog.merkle import MerkleTree, hash_leaf
from nethical_assets.core.tlog.note import COSIGNATURE_ED25519

from .attacks import KEY, ORIGIN, keep_and_fork, make_base, rolled_back
from .conftest import open_log, private_key, record

NAME = "witness.example/w1"
TREE = MerkleTree()
TREE.extend(hash_leaf(bytes([number])) for number in range(20))


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    return Witness(tmp_path / "witness", NAME, private_key(5), [KEY], clock=lambda: 1_700_000_000.9)


@pytest.fixture
def url(witness: Witness) -> Iterator[str]:
    server = serve_witness(witness, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def request(
    old: int,
    size: int,
    *,
    proof: list[bytes] | None = None,
    root: bytes | None = None,
    key: int = 1,
    origin: str = ORIGIN,
) -> bytes:
    steps = TREE.consistency_proof(old, size) if proof is None else proof
    note = Checkpoint(origin, size, root or TREE.root(size)).sign(private_key(key))
    lines = [f"old {old}", *(base64.b64encode(one).decode() for one in steps), "", ""]
    return "\n".join(lines).encode() + note


def test_the_witness_answers_every_status_of_the_protocol(witness: Witness) -> None:
    assert witness.add_checkpoint(b"junk").status == 400
    assert witness.add_checkpoint(b"old 0\n" + b"AAAA\n" * 64 + b"\n" + request(0, 5)).status == 400
    assert witness.add_checkpoint(b"old 05" + request(0, 5)[5:]).status == 400
    assert witness.add_checkpoint(request(0, 5, origin="unknown.example")).status == 404
    assert witness.add_checkpoint(request(0, 5, key=2)).status == 403
    assert witness.add_checkpoint(request(0, 5).replace(b"\n5\n", b"\n6\n")).status == 403
    assert witness.add_checkpoint(request(7, 5, proof=[])).status == 400
    first = witness.add_checkpoint(request(0, 5))
    assert first.status == 200
    conflict = witness.add_checkpoint(request(0, 8))
    assert (conflict.status, conflict.body, conflict.content_type) == (409, b"5\n", "text/x.tlog.size")
    assert witness.add_checkpoint(request(5, 8, proof=[])).status == 422
    assert witness.add_checkpoint(request(5, 8, root=bytes(32))).status == 422
    assert witness.add_checkpoint(request(5, 5, root=bytes(32))).status == 409
    assert witness.add_checkpoint(request(5, 5)).status == 200, "the same checkpoint may be cosigned again"
    assert witness.add_checkpoint(request(5, 8)).status == 200
    assert witness.last(ORIGIN).size == 8


def test_what_was_cosigned_is_remembered_across_restarts(witness: Witness, tmp_path: Path) -> None:
    assert witness.add_checkpoint(request(0, 5)).status == 200
    restarted = Witness(tmp_path / "witness", NAME, private_key(5), [KEY])
    assert restarted.add_checkpoint(request(0, 8)).status == 409
    assert restarted.add_checkpoint(request(5, 8)).status == 200


def test_a_cosigned_log_satisfies_a_reader_who_demands_the_witness(log: AuditLog, witness: Witness, url: str) -> None:
    for number in range(3):
        record(log, f"run-{number}", number + 1)
        head = log.head()
        assert head is not None
        log.attach_cosignatures(head.size, [request_cosignature(log, url, witness.key)])
        report = verify_log(log.folder, [KEY], witness_keys=[witness.key], required_witnesses=1)
        assert report.problems == []
        assert report.witnesses == [NAME]
    assert (log.folder / "checkpoint").read_text().count(NAME) == 1
    log.attach_cosignatures(head.size, [request_cosignature(log, url, witness.key)])
    assert (log.folder / "checkpoint").read_text().count(NAME) == 1
    record(log, "run-later", 1)
    missing = verify_log(log.folder, [KEY], witness_keys=[witness.key], required_witnesses=1)
    assert any("no valid cosignature" in problem for problem in missing.problems)
    stranger = VerifierKey.of(NAME, private_key(6), COSIGNATURE_ED25519)
    assert not verify_log(log.folder, [KEY], witness_keys=[stranger], required_witnesses=1).ok


def test_the_witness_refuses_a_fork_and_a_rollback(tmp_path: Path, witness: Witness, url: str) -> None:
    folder = tmp_path / "audit"
    make_base(folder)
    log = open_log(folder)
    request_cosignature(log, url, witness.key)
    keep_and_fork(folder)
    with pytest.raises(AuditError, match="status 409: another root was cosigned"):
        request_cosignature(log, url, witness.key)
    rolled_back(folder)
    with pytest.raises(AuditError, match="it cosigned size 7, this log has 4; the log was rolled back"):
        request_cosignature(log, url, witness.key)


def test_trouble_with_a_witness_is_one_line(log: AuditLog, witness: Witness, url: str) -> None:
    with pytest.raises(AuditError, match="nothing was signed yet"):
        request_cosignature(log, url, witness.key)
    record(log, "run-a", 1)
    with pytest.raises(AuditError, match="cannot be reached"):
        request_cosignature(log, "http://127.0.0.1:9", witness.key)
    with pytest.raises(AuditError, match="expected an http"):
        request_cosignature(log, "ftp://x", witness.key)
    with pytest.raises(AuditError, match="status 404"):
        request_cosignature(log, url + "/nowhere", witness.key)
    with pytest.raises(AuditError, match="no cosignature by other"):
        request_cosignature(log, url, VerifierKey.of("other", private_key(5), COSIGNATURE_ED25519))
    with pytest.raises(AuditError, match="missing checkpoint"):
        log.attach_cosignatures(99, [])
