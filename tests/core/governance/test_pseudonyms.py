"""The secret of pseudonyms: made once, whoever is killed or comes at the same time, and never taken for another."""

from __future__ import annotations

import errno
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from nethical_assets.core.governance import pseudonyms
from nethical_assets.core.governance.pseudonyms import Pseudonyms
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import write_atomically

MAIL = "a.person@example.com"


def token(path: Path) -> str:
    return Pseudonyms(path).token("EMAIL", MAIL)


def refused(path: Path) -> str:
    with pytest.raises(IntegrityError) as caught:
        token(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    assert "\n" not in said
    assert MAIL not in said
    return said


def _say(path: Path, answers: multiprocessing.SimpleQueue[str], barrier: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    answers.put(token(path))


def test_processes_that_create_it_at_once_have_one_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = pseudonyms.secrets.token_bytes

    def slowly(size: int) -> bytes:
        time.sleep(0.3)
        return made(size)

    # Long enough for all of them to see that there is none.
    monkeypatch.setattr(pseudonyms.secrets, "token_bytes", slowly)
    context = multiprocessing.get_context("fork")
    answers, barrier = context.SimpleQueue(), context.Barrier(4)
    processes = [context.Process(target=_say, args=(tmp_path / "key", answers, barrier)) for _ in range(4)]
    for process in processes:
        process.start()
    said = {answers.get() for _ in processes}
    for process in processes:
        process.join()
    assert said == {token(tmp_path / "key")}


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_process_that_dies_while_it_is_created_leaves_nothing_behind_that_stops_the_next(
    deaths: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[Path] = []

    def dying(path: Path, data: bytes, **options: bool) -> None:
        writes.append(path)
        if len(writes) == deaths:
            raise KeyboardInterrupt
        write_atomically(path, data, **options)

    monkeypatch.setattr(pseudonyms, "write_atomically", dying)
    with pytest.raises(KeyboardInterrupt):
        token(tmp_path / "key")
    monkeypatch.undo()
    assert token(tmp_path / "key") == token(tmp_path / "key")
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".lock") == ["key", "key.id"]


def test_a_secret_of_an_older_version_is_kept(tmp_path: Path) -> None:
    first = token(tmp_path / "key")
    (tmp_path / "key.id").unlink()
    assert token(tmp_path / "key") == first
    assert (tmp_path / "key.id").exists()


@pytest.mark.parametrize("damage", [b"", b"short", bytes(33)])
def test_a_damaged_secret_is_no_secret(damage: bytes, tmp_path: Path) -> None:
    first = token(tmp_path / "key")
    kept = (tmp_path / "key").read_bytes()
    (tmp_path / "key").write_bytes(damage)
    assert "not a secret of 32 bytes; restore it from a backup, or remove it and key.id" in refused(tmp_path / "key")
    (tmp_path / "key").write_bytes(kept)
    assert token(tmp_path / "key") == first
    (tmp_path / "key.id").unlink()
    (tmp_path / "key").write_bytes(damage)
    assert "not a secret" in refused(tmp_path / "key")
    assert not (tmp_path / "key.id").exists(), "nothing vouches for it"


def test_a_lost_secret_is_not_made_anew_without_a_word(tmp_path: Path) -> None:
    first = token(tmp_path / "key")
    (tmp_path / "key").unlink()
    assert "missing, and it was used here before; restore it from a backup" in refused(tmp_path / "key")
    assert not (tmp_path / "key").exists()
    (tmp_path / "key.id").unlink()
    assert token(tmp_path / "key") != first, "as the message says"


def test_another_homes_secret_is_refused(tmp_path: Path) -> None:
    for home in ("a", "b"):
        token(tmp_path / home / "key")
    (tmp_path / "a" / "key").write_bytes((tmp_path / "b" / "key").read_bytes())
    assert "another secret than the one that was used here before" in refused(tmp_path / "a" / "key")


def test_nobody_else_may_read_it_also_after_it_was_copied_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[str, bool] = {}

    def noted(path: Path, data: bytes, *, private: bool = False) -> None:
        written[path.name] = private
        write_atomically(path, data, private=private)

    monkeypatch.setattr(pseudonyms, "write_atomically", noted)
    first = token(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert written == {"key": True, "key.id": False}, "from its first byte on"
    (tmp_path / "key").chmod(0o644)
    assert token(tmp_path / "key") == first
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir()
    assert "cannot be read (Is a directory)" in refused(tmp_path / "key")


def test_a_full_disk_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes, **options: bool) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(pseudonyms, "write_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        token(tmp_path / "key")
