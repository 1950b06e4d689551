"""Model signing keys are trusted as the audit log pins them: first use, rotation, and what does not count."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nethical_assets.core.audit import MODEL_KEY, AuditLog, EventType, verify_log
from nethical_assets.core.ground.errors import SettingsError
from nethical_assets.core.lineage.pins import LogPins, rotate_model_key
from nethical_assets.core.signing import keys as signing_keys
from nethical_assets.core.signing.keys import KEY_FILE_VARIABLE, ModelKeys, key_digest, key_id
from tests.core.audit.conftest import open_log


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return open_log(tmp_path / "audit")


def keys_of(log: AuditLog, run_id: str | None = "run-a", named: Path | None = None) -> ModelKeys:
    recorder = None if run_id is None else lambda: log.recorder(run_id)
    environment = {} if named is None else {KEY_FILE_VARIABLE: str(named)}
    return ModelKeys(log.folder.parent / "models" / "keys", LogPins(log.folder, recorder), environment=environment)


def digest_of(keys: ModelKeys) -> str:
    return key_digest(key_id(keys.private.public_key()))


def rotate(log: AuditLog, keys: ModelKeys, new_key_file: Path | None = None) -> str:
    pins = LogPins(log.folder)
    return rotate_model_key(log, keys, pins, actor="t", reason="it may be known", new_key_file=new_key_file)


def test_a_key_is_pinned_by_the_run_that_first_uses_it_once(log: AuditLog) -> None:
    digest = digest_of(keys_of(log))
    assert LogPins(log.folder).pinned() == [digest], "while the run goes on"
    assert digest_of(keys_of(log, "run-b")) == digest
    assert list(keys_of(log, None).trusted()) == [digest.partition(":")[2]]
    log.finalize_run("run-a")
    assert LogPins(log.folder).pinned() == [digest]
    (created,) = [one.event for one in log.find_events(event_type=EventType.KEY_CREATED) if one.index > 0]
    assert created.subjects[0].name == MODEL_KEY
    assert log.pending_runs() == []


def test_without_a_run_no_key_is_pinned(log: AuditLog) -> None:
    with pytest.raises(SettingsError, match="pins no model signing key yet; run: nethical run"):
        _ = keys_of(log, None).private


def test_a_pin_that_nobody_signed_does_not_count(log: AuditLog) -> None:
    digest_of(keys_of(log))
    path = log.pending.path("run-a")
    forged = path.read_bytes()
    path.unlink()
    (log.pending.folder / "run-b.jsonl").write_bytes(forged)
    assert LogPins(log.folder).pinned() == []
    assert keys_of(log, None).trusted() == {}


def test_a_log_of_the_version_before_pins_the_key_that_its_statements_name(log: AuditLog) -> None:
    own = ModelKeys(
        log.folder.parent / "models" / "keys", LogPins(log.folder, lambda: log.recorder("x")), environment={}
    )
    digest = digest_of(own)
    log.pending.path("x").unlink()
    subjects = [{"name": "provenance/raw/x", "digest": digest}, {"name": MODEL_KEY, "digest": digest}]
    log.recorder("run-a").append("provenance_issued", actor="t", subjects=subjects)
    log.finalize_run("run-a")
    assert LogPins(log.folder).pinned() == [digest]


def test_a_rotation_replaces_the_key_and_keeps_trust_in_the_old_one(log: AuditLog) -> None:
    first = digest_of(keys_of(log))
    second = rotate(log, keys_of(log))
    keys = keys_of(log, None)
    assert LogPins(log.folder).pinned() == [first, second]
    assert digest_of(keys) == second
    assert {key_digest(identifier) for identifier in keys.trusted()} == {first, second}
    assert [path.name for path in keys.path.parent.glob("*signing-key.pem")] == ["signing-key.pem"]
    assert verify_log(log.folder).problems == []


NEXT = {
    "the same again": lambda log: rotate(log, keys_of(log)),
    "a signature": lambda log: keys_of(log).private,
    "the start of a run": lambda log: keys_of(log, None).mend(),
}


@pytest.mark.parametrize("after", NEXT)
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("survived", range(5))
def test_a_rotation_that_was_killed_is_completed_by_whoever_comes_next(
    after: str, named: bool, survived: int, log: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before and after each write of the new key's takeover, which comes after its leaf."""
    first = digest_of(keys_of(log))
    log.finalize_run("run-a")
    file = tmp_path / "mine.pem" if named else None
    left = [survived]

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def dies(path: Any, *arguments: Any, **options: Any) -> Any:
            if LogPins(log.folder).pinned() != [first]:
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
            return real(path, *arguments, **options)

        return dies

    with monkeypatch.context() as patched:
        patched.setattr(signing_keys, "write_atomically", counted("write", signing_keys.write_atomically))
        patched.setattr(Path, "unlink", counted("unlink", Path.unlink))
        with contextlib.suppress(KeyboardInterrupt):
            rotate(log, keys_of(log), file)
        assert (left[0] < 0) == (survived < 4)
    _, second = LogPins(log.folder).pinned()
    assert keys_of(log, None).problem() is None
    if survived < 4:  # a rotation that was completed is followed by another one
        NEXT[after](log)
    assert LogPins(log.folder).pinned() == [first, second]
    assert digest_of(keys_of(log)) == second
    assert {key_digest(identifier) for identifier in keys_of(log, None).trusted()} == {first, second}
    assert not keys_of(log).path.with_name("next-signing-key.pem").exists()
    assert file is None or file.exists()


def test_a_key_that_waits_without_a_pin_takes_no_place(log: AuditLog) -> None:
    first = digest_of(keys_of(log))
    keys_of(log).replacement()
    assert digest_of(keys_of(log)) == first
    keys_of(log, None).mend()
    keys_of(log).path.unlink()
    with pytest.raises(SettingsError, match="is missing, and the audit log pins"):
        _ = keys_of(log).private


def test_a_lost_key_is_replaced_by_a_rotation(log: AuditLog) -> None:
    first = digest_of(keys_of(log))
    keys_of(log).path.unlink()
    with pytest.raises(SettingsError, match="is missing, and the audit log pins"):
        _ = keys_of(log).private
    second = rotate(log, keys_of(log))
    assert digest_of(keys_of(log)) == second != first


def test_an_external_key_is_rotated_to_a_named_file(log: AuditLog, tmp_path: Path) -> None:
    own = keys_of(log)
    named = tmp_path / "mine.pem"
    digest_of(own)
    shutil.copy(own.path, named)
    with pytest.raises(SettingsError, match="name the file of the new key with --new-key-file"):
        rotate(log, keys_of(log, named=named))
    with pytest.raises(SettingsError, match="this key is in force already"):
        rotate(log, keys_of(log, named=named), named)
    second = rotate(log, keys_of(log, named=named), tmp_path / "new.pem")
    assert digest_of(keys_of(log, named=tmp_path / "new.pem")) == second
    with pytest.raises(SettingsError, match="restore that key, or replace it"):
        _ = keys_of(log, named=named).private


def test_a_second_key_without_the_first_as_its_parent_is_ignored_and_reported(log: AuditLog) -> None:
    first = digest_of(keys_of(log))
    log.recorder("run-a").append(
        "key_created", actor="t", subjects=[{"name": MODEL_KEY, "digest": "sha256:" + "0" * 64}]
    )
    log.finalize_run("run-a")
    assert LogPins(log.folder).pinned() == [first]
    assert "without the one in force as its parent" in verify_log(log.folder).problems[0]
