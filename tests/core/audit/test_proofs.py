from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nethical_assets.core.audit import (
    AuditLog,
    Fact,
    SigningKeys,
    VerifierKey,
    check_proof,
    export_bundle,
    prove,
    reconcile,
    rotate_key,
    verify_log,
)
from nethical_assets.core.audit.keys import write_private_key
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.errors import AuditError, SettingsError
from tests.processes import no_room

from .conftest import open_log, private_key, record


def key_of(log: AuditLog, number: int = 1) -> VerifierKey:
    head = log.head()
    assert head is not None
    return VerifierKey.of(head.checkpoint.origin, private_key(number))


@pytest.fixture
def filled(log: AuditLog) -> AuditLog:
    record(log, "run-a", 5)
    record(log, "run-b", 3)
    return log


def test_every_leaf_can_be_proven_offline(filled: AuditLog) -> None:
    for index in range(12):
        document = json.dumps(prove(filled.folder, index))
        report = check_proof(document, key_of(filled))
        assert report.problems == []
        assert (report.index, report.size) == (index, 12)
    assert report.event is not None
    assert report.event["type"] == "chunk_final"


def test_a_digest_is_proven_by_the_newest_event_that_names_it(filled: AuditLog) -> None:
    document = prove(filled.folder, digest_bytes(b"run-b/2"))
    assert document["index"] == 10
    assert json.loads(document["payload"]) == {"number": 2, "run": "run-b"}
    with pytest.raises(AuditError, match=r"none of the 12 events names sha256:"):
        prove(filled.folder, digest_bytes(b"never seen"))
    with pytest.raises(AuditError, match="leaf 12 is not in a tree of 12 leaves"):
        prove(filled.folder, 12)
    with pytest.raises(AuditError, match="no signed log here"):
        prove(filled.folder / "nowhere", 0)


def test_a_changed_proof_is_refused_with_its_reason(filled: AuditLog) -> None:
    good = prove(filled.folder, 2)
    other = prove(filled.folder, 3)
    cases = {
        "leads to root": {"entry": other["entry"]},
        "are too few": {"inclusion_proof": good["inclusion_proof"][:-1]},
        "are too many": {"inclusion_proof": [*good["inclusion_proof"], good["inclusion_proof"][0]]},
        "leaf 4": {"index": 4},
        "outside a tree": {"index": 12},
        "the index is no integer": {"index": "2"},
        "payload in the proof is not the one": {"payload": "{}"},
        "format 'x'": {"format": "x"},
        "does not match the text": {"checkpoint": good["checkpoint"].replace("\n12\n", "\n13\n")},
        "malformed base64": {"inclusion_proof": ["AA=", *good["inclusion_proof"]]},
        "malformed proof document": {"rotations": None},
        "every hash must have 32 bytes": {"inclusion_proof": ["AAAA", *good["inclusion_proof"][1:]]},
    }
    for message, change in cases.items():
        report = check_proof({**good, **change}, key_of(filled))
        assert not report.ok
        assert message in report.problems[0], message
        assert report.event is None, "nothing unproven is reported"
    assert "wrong key" in check_proof(good, key_of(filled, 2)).problems[0]
    assert "malformed proof document" in check_proof("no json", key_of(filled)).problems[0]
    with pytest.raises(AuditError, match="malformed verifier key"):
        check_proof(good, "no key")


def test_an_embedded_key_may_be_replaced_by_one_from_a_file(filled: AuditLog, tmp_path: Path) -> None:
    write_private_key(tmp_path / "own.pem", private_key(5))
    key = rotate_key(filled, actor="tester", new_key_file=tmp_path / "own.pem")
    assert key.public == private_key(5).public_key().public_bytes_raw()
    again = open_log(filled.folder)
    record(again, "run-c", 1)
    assert verify_log(filled.folder, [key]).ok, "the log goes on with it, from its own folder"
    assert not (filled.folder / "keys" / "next-signing-key.pem").exists()
    created = rotate_key(open_log(filled.folder), actor="tester", new_key_file=tmp_path / "created.pem")
    assert created != key and (tmp_path / "created.pem").stat().st_mode & 0o777 == 0o600
    record(open_log(filled.folder), "run-d", 1)


def test_a_key_that_waits_is_not_overwritten(filled: AuditLog, tmp_path: Path) -> None:
    waiting = filled.folder / "keys" / "next-signing-key.pem"
    write_private_key(waiting, private_key(6))
    with pytest.raises(AuditError, match="a rotation to this key has begun"):
        rotate_key(filled, actor="tester", new_key_file=tmp_path / "created.pem")
    assert rotate_key(filled, actor="tester").public == private_key(6).public_key().public_bytes_raw()


def test_rotation_is_signed_by_the_old_key_and_every_generation_verifies(filled: AuditLog) -> None:
    first = key_of(filled)
    before = prove(filled.folder, 1)
    second = rotate_key(filled, actor="tester")
    record(filled, "run-c", 2)
    third = rotate_key(open_log(filled.folder), actor="tester")
    record(open_log(filled.folder), "run-d", 1)
    assert len({str(key) for key in (first, second, third)}) == 3
    for trusted in (first, second, third):
        assert verify_log(filled.folder, [trusted]).problems == []
    assert verify_log(filled.folder).problems == []
    document = prove(filled.folder, 1)
    assert check_proof(document, first).ok, "through two rotations"
    assert check_proof(document, second).ok
    assert check_proof(document, third).ok
    assert check_proof(before, first).ok
    assert "wrong key" in check_proof(before, third).problems[0]
    assert not list((filled.folder / "keys").glob("next*"))
    stranger = VerifierKey.of(first.name, private_key(9))
    assert "wrong key, no checkpoint is signed by a trusted key" in verify_log(filled.folder, [stranger]).problems[-1]


def test_a_rotation_cut_short_by_a_crash_is_completed(filled: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    first = key_of(filled)

    def die(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(AuditLog, "heartbeat", die)
        with pytest.raises(KeyboardInterrupt):
            rotate_key(filled, actor="tester")
    assert verify_log(filled.folder, [first]).problems == []
    record(open_log(filled.folder), "run-c", 1)
    report = verify_log(filled.folder, [first])
    assert report.problems == []
    assert VerifierKey.of(first.name, SigningKeys(filled.folder / "keys", environment={}).load()) != first


def test_an_external_key_is_rotated_to_a_named_file(tmp_path: Path) -> None:
    old, new = tmp_path / "old.pem", tmp_path / "new.pem"
    write_private_key(old, private_key(3))
    log = AuditLog(tmp_path / "audit", SigningKeys(tmp_path / "audit" / "keys", key_file=old, environment={}))
    with pytest.raises(AuditError, match="nothing was signed yet"):
        rotate_key(log, actor="t")
    record(log, "run-a", 1)
    with pytest.raises(AuditError, match="name the file of the new key"):
        rotate_key(log, actor="t")
    with pytest.raises(AuditError, match="the key that signs already"):
        rotate_key(log, actor="t", new_key_file=old)
    rotate_key(log, actor="t", new_key_file=new)
    assert verify_log(log.folder, [key_of(log, 3)]).problems == []
    with pytest.raises(AuditError, match="wrong key"):
        record(log, "run-b", 1)
    record(AuditLog(log.folder, SigningKeys(log.folder / "keys", key_file=new, environment={})), "run-c", 1)
    assert verify_log(log.folder, [key_of(log, 3)]).ok


def run_verifier(bundle: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": path or os.environ["PATH"]}
    command = [sys.executable, "-I", "-S", "verify.py", *arguments]
    return subprocess.run(command, cwd=bundle, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture
def bundle(filled: AuditLog, tmp_path: Path) -> Path:
    card = tmp_path / "card.json"
    card.write_bytes(b"run-a/1")
    return export_bundle(filled.folder, "run-a", tmp_path / "bundle", attachments={"card.json": card})


def test_a_bundle_verifies_with_the_standard_library_and_openssl(
    filled: AuditLog, bundle: Path, tmp_path: Path
) -> None:
    done = run_verifier(bundle, "--key", str(key_of(filled)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "attachments/card.json: thing-1, named by data_fetched" in done.stdout
    assert done.stdout.endswith("VERIFIED\n")
    moved = shutil.copytree(bundle, tmp_path / "elsewhere" / "copy")
    assert "compare it with one you got elsewhere" in run_verifier(moved).stdout
    claim_size, claim_root = 5, filled.finalize_run("run-a").chunk_root
    assert run_verifier(bundle, "--claim", str(claim_size), claim_root).returncode == 0
    wrong = run_verifier(bundle, "--claim", "4", claim_root)
    assert (wrong.returncode, "the claim is wrong" in wrong.stdout) == (1, True)


def test_openssl_alone_verifies_the_checkpoint_as_the_readme_says(bundle: Path) -> None:
    (command,) = [line.strip() for line in (bundle / "README.txt").read_text().splitlines() if "pkeyutl" in line]
    done = subprocess.run(command.split(), cwd=bundle, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "Signature Verified Successfully\n")
    text = bundle / "checkpoint.text"
    text.write_bytes(text.read_bytes().replace(b"\n12\n", b"\n13\n"))
    assert subprocess.run(command.split(), cwd=bundle, capture_output=True, check=False).returncode == 1


def test_a_changed_bundle_is_refused_by_the_standalone_verifier(filled: AuditLog, bundle: Path, tmp_path: Path) -> None:
    document = json.loads((bundle / "bundle.json").read_text())

    def leaves(change: list[dict]) -> dict[str, bytes]:
        return {"bundle.json": json.dumps({**document, "leaves": change}).encode()}

    original = document["leaves"]
    forged = {**original[1], "entry": original[1]["entry"].replace("tester", "nobody")}
    doubled = {**original[0], "inclusion_proof": original[0]["inclusion_proof"] * 2}
    payload = next((bundle / "payloads").iterdir()).name
    cases: list[tuple[str, dict[str, bytes]]] = [
        ("is not in the signed tree", leaves([original[0], forged, *original[2:]])),
        ("is missing or out of order", leaves([original[0], *original[2:]])),
        ("is missing or out of order", leaves([original[1], original[0], *original[2:]])),
        ("the last chunk is not complete", leaves(original[:-1])),
        ("the last chunk is not complete", leaves([])),
        (
            "inclusion proof is too long",
            leaves([doubled]),
        ),
        ("cannot be in a tree", leaves([{**original[0], "index": 99}])),
        ("changed, or named by no event", {f"payloads/{payload}": b"{}"}),
        ("no event of this run names it", {"attachments/card.json": b"other"}),
        ("no event of this run names it", {"attachments/extra.json": b"other"}),
        ("signature by", {"checkpoint": (bundle / "checkpoint").read_bytes().replace(b"\n12\n", b"\n13\n")}),
        ("wrong key", {"verifier.vkey": f"{key_of(filled, 2)}\n".encode()}),
        ("NOT VERIFIED", {"bundle.json": b"{}"}),
        ("NOT VERIFIED", {"bundle.json": b"{"}),
        ("malformed checkpoint", {"checkpoint": b"x\n"}),
    ]
    for number, (message, change) in enumerate(cases):
        copy = shutil.copytree(bundle, tmp_path / f"case-{number}")
        for name, data in change.items():
            (copy / name).write_bytes(data)
        done = run_verifier(copy, "--key", str(key_of(filled)))
        assert done.returncode == 1, message
        assert message in done.stdout
    stranger = run_verifier(bundle, "--key", str(key_of(filled, 2)))
    assert (stranger.returncode, "wrong key" in stranger.stdout) == (1, True)
    assert run_verifier(bundle, "--key", "junk").returncode == 1
    (bundle / "checkpoint").unlink()
    assert run_verifier(bundle).returncode == 2


def test_a_bundle_follows_key_rotations(filled: AuditLog, tmp_path: Path) -> None:
    first = key_of(filled)
    second = rotate_key(filled, actor="tester")
    bundle = export_bundle(filled.folder, "run-a", tmp_path / "bundle")
    for arguments in ([], ["--key", str(first)], ["--key", str(second)]):
        done = run_verifier(bundle, *arguments)
        assert done.returncode == 0, done.stdout
    document = json.loads((bundle / "bundle.json").read_text())
    document["rotations"][0]["entry"] = document["rotations"][0]["entry"].replace("tester", "nobody")
    (bundle / "bundle.json").write_text(json.dumps(document))
    assert run_verifier(bundle, "--key", str(first)).returncode == 1


def test_an_export_is_complete_or_absent(filled: AuditLog, tmp_path: Path) -> None:
    stray = tmp_path / "stray"
    stray.write_bytes(b"unrelated")
    known = tmp_path / "known"
    known.write_bytes(b"run-a/0")
    target = tmp_path / "out" / "bundle"
    with pytest.raises(AuditError, match="would prove nothing"):
        export_bundle(filled.folder, "run-a", target, attachments={"stray": stray})
    with pytest.raises(AuditError, match="leads out of the bundle"):
        export_bundle(filled.folder, "run-a", target, attachments={"../../evil": known})
    with pytest.raises(AuditError, match="not in the log"):
        export_bundle(filled.folder, "unknown", target)
    assert not target.exists()
    assert not list(target.parent.glob("*"))
    export_bundle(filled.folder, "run-a", target)
    with pytest.raises(SettingsError, match="exists already"):
        export_bundle(filled.folder, "run-a", target)


@pytest.mark.parametrize("size", [0, 6000])
def test_a_bundle_that_finds_no_room_is_named_and_leaves_nothing(filled: AuditLog, tmp_path: Path, size: int) -> None:
    """Without room the first file, or a later one, is not written: the error is about the bundle."""
    target = tmp_path / "out" / "bundle"
    with no_room(size), pytest.raises(OSError, match="File too large") as told:
        export_bundle(filled.folder, "run-a", target)
    assert told.value.filename == str(target)
    assert list(target.parent.iterdir()) == []
    export_bundle(filled.folder, "run-a", target)


def test_an_omitted_event_is_found_by_reconciliation(filled: AuditLog) -> None:
    record(filled, "run-c", 1, finalize=False)
    there = [Fact("run-a", "data_fetched", digest_bytes(b"run-a/4")), Fact("run-b", "chunk_final")]
    waiting = Fact("run-c", "data_fetched", digest_bytes(b"run-c/0"))
    missing = [
        Fact("run-a", "model_promoted", digest_bytes(b"run-a/4")),
        Fact("run-a", "data_fetched", digest_bytes(b"run-b/1")),
        Fact("run-x", "run_started"),
    ]
    result = reconcile([*there, waiting, *missing, *there], filled)
    assert set(result.omitted) == set(missing)
    assert result.waiting == (waiting,)
    assert result.matched == 2
    assert not result.ok
    assert f"run run-a: the log has no model_promoted event about {digest_bytes(b'run-a/4')}" in result.problems()
    assert reconcile(there, filled).ok
