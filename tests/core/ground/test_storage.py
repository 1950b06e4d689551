"""Storage under kill -9, a full disk, tampering and two processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from upath import UPath

from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.errors import BusyError, IntegrityError
from nethical_assets.core.ground.storage import (
    ObjectStore,
    exclusive_lock,
    local_path,
    read_json,
    write_atomically,
    write_json,
)

MEBIBYTE = 1 << 20


def run_python(code: str, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=check)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_replaces_the_whole_file_and_makes_its_folder(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "file"
    write_atomically(target, b"old, and longer")
    write_atomically(target, b"new")
    assert target.read_bytes() == b"new"
    assert names(target.parent) == ["file"]


def test_readers_never_see_a_mixture(tmp_path: Path) -> None:
    target = tmp_path / "file"
    contents = [bytes([letter]) * MEBIBYTE for letter in b"ab"]
    write_atomically(target, contents[0])
    done = threading.Event()

    def write() -> None:
        for turn in range(40):
            write_atomically(target, contents[turn % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(target.read_bytes())
    writer.join()
    assert seen <= set(contents)


@pytest.mark.parametrize("moment", ["fsync", "replace"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_kill_9_leaves_the_old_bytes_or_the_new(tmp_path: Path, moment: str, when: str) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    killed = run_python(
        """
        import os, signal, sys
        from pathlib import Path
        from nethical_assets.core.ground.storage import write_atomically
        target, moment, when = sys.argv[1:]
        real = getattr(os, moment)
        def deadly(*arguments):
            if when == "after":
                real(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)
        setattr(os, moment, deadly)
        write_atomically(Path(target), b"new")
        """,
        target, moment, when, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    assert target.read_bytes() == (b"new" if (moment, when) == ("replace", "after") else b"old")
    write_atomically(target, b"next")
    assert target.read_bytes() == b"next"


def test_kill_9_at_any_moment(tmp_path: Path) -> None:
    target = tmp_path / "file"
    valid = {bytes([turn]) * (2 * MEBIBYTE) for turn in range(4)}
    code = """
        import itertools, sys
        from pathlib import Path
        from nethical_assets.core.ground.storage import write_atomically
        for turn in itertools.cycle(range(4)):
            write_atomically(Path(sys.argv[1]), bytes([turn]) * (2 << 20))
            print(turn, flush=True)
    """
    for pause in (0.0, 0.003, 0.011):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(target)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(pause)
        process.kill()
        process.communicate(timeout=20)
        assert target.read_bytes() in valid


def test_a_full_disk_keeps_the_old_bytes_and_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    result = run_python(
        """
        import resource, signal, sys
        from pathlib import Path
        from nethical_assets.core.ground.storage import ObjectStore, write_atomically
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        for write in (lambda data: write_atomically(Path(sys.argv[1]), data), ObjectStore(sys.argv[2]).put):
            try:
                write(b"x" * 100_000)
            except OSError as error:
                print(error.strerror)
        """,
        target, tmp_path / "objects",
    )  # fmt: skip
    assert result.stdout.splitlines() == ["File too large"] * 2
    assert target.read_bytes() == b"old"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [target]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_an_exception_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    target = tmp_path / "file"
    target.write_bytes(b"old")
    monkeypatch.setattr(f"os.{failing}", fail)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("form", ["{}", "file://{}", "local://{}"])
def test_a_local_url_is_a_local_path(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    target = UPath(form.format(tmp_path / "kept" / "file"))
    write_atomically(target, b"data")
    assert (tmp_path / "kept" / "file").read_bytes() == b"data"
    assert local_path(target) == tmp_path / "kept" / "file"
    assert names(work) == []


def test_a_store_on_another_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base = f"memory://{tmp_path.name}/objects"
    digest = ObjectStore(base).put(b"data")
    assert ObjectStore(base).get(digest) == b"data"
    assert digest in ObjectStore(base)
    write_json(UPath(base) / "pointer.json", {"a": 1})
    write_json(UPath(base) / "pointer.json", {"a": 2})
    assert read_json(UPath(base) / "pointer.json") == {"a": 2}
    ObjectStore(base).path(digest).write_bytes(b"date")
    with pytest.raises(IntegrityError, match="do not match"):
        ObjectStore(base).get(digest)
    assert names(tmp_path) == []


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"text": "é\u2028", "number": 0.1, "list": [1, None, True]}
    write_json(tmp_path / "file.json", value)
    assert read_json(tmp_path / "file.json") == value


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000], ids=["empty", "cut", "not UTF-8", "deep"])
def test_a_damaged_json_file_is_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file.json").write_bytes(data)
    with pytest.raises(IntegrityError, match=r"file\.json: not a JSON document .* restore it or remove it"):
        read_json(tmp_path / "file.json")


def test_objects_are_named_by_their_digest_and_stored_once(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    digest = store.put(b"data")
    assert digest == digest_bytes(b"data")
    before = store.path(digest).stat()
    assert store.put(b"data") == digest
    after = store.path(digest).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert store.get(digest) == b"data"
    assert digest_bytes(b"other") not in store


@pytest.mark.parametrize("damage", [b"dat", b"datA", b"data ", b""])
def test_a_changed_object_is_refused_and_put_mends_it(tmp_path: Path, damage: bytes) -> None:
    store = ObjectStore(tmp_path)
    digest = store.put(b"data")
    store.path(digest).write_bytes(damage)
    with pytest.raises(IntegrityError, match=r"bytes do not match their digest sha256:.*restore it from a backup"):
        store.get(digest)
    assert store.put(b"data") == digest
    assert store.get(digest) == b"data"


def test_a_missing_object_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        IntegrityError, match="is missing; run again, which makes it again where it can, or restore it from a backup"
    ):
        ObjectStore(tmp_path).get(digest_bytes(b"never stored"))


@pytest.mark.parametrize("name", ["sha256:../../etc/passwd", "/etc/passwd", "sha256:" + "g" * 64])
def test_an_object_name_cannot_leave_the_store(tmp_path: Path, name: str) -> None:
    with pytest.raises(IntegrityError, match="malformed digest"):
        ObjectStore(tmp_path).get(name)


def test_a_lock_holds_off_another_process_and_dies_with_its_holder(tmp_path: Path) -> None:
    lock = tmp_path / "below" / "it.lock"
    code = """
        import sys, time
        from pathlib import Path
        from nethical_assets.core.ground.storage import exclusive_lock
        with exclusive_lock(Path(sys.argv[1]), waiting_seconds=5, what="the thing"):
            print("held", flush=True)
            time.sleep(60)
    """
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(lock)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(BusyError, match=r"^the thing is in use by another process \(lock .*it\.lock\); wait"),
            exclusive_lock(lock, waiting_seconds=0.05, what="the thing"),
        ):
            pytest.fail("two processes hold the lock")
    finally:
        holder.kill()
        holder.communicate(timeout=20)
    with exclusive_lock(lock, waiting_seconds=5, what="the thing"):
        pass


def test_a_lock_is_released_after_an_exception(tmp_path: Path) -> None:
    lock = tmp_path / "it.lock"
    with pytest.raises(RuntimeError), exclusive_lock(lock, waiting_seconds=0, what="the thing"):
        raise RuntimeError
    with exclusive_lock(lock, waiting_seconds=0, what="the thing"):
        pass


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664)])
def test_files_have_the_mode_that_the_umask_gives_and_private_ones_are_their_owners(
    tmp_path: Path, umask: int, mode: int
) -> None:
    run_python(
        """
        import os, sys
        from pathlib import Path
        os.umask(int(sys.argv[2]))
        from nethical_assets.core.audit.keys import write_private_key
        from nethical_assets.core.ground.storage import ObjectStore, write_atomically, write_json
        from nethical_assets.core.signing.keys import ModelKeys
        from tests.pins import GivenPins
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        folder = Path(sys.argv[1])
        write_json(folder / "shared" / "document", {})
        ObjectStore(folder / "shared" / "objects").put(b"object")
        write_atomically(folder / "private" / "file", b"secret", private=True)
        write_private_key(folder / "private" / "audit.pem", Ed25519PrivateKey.generate())
        keys = ModelKeys(folder / "keys", GivenPins(), environment={})
        keys.private
        os.rename(keys.path, folder / "private" / "model.pem")
        for public in (folder / "keys").glob("*.pub.pem"):
            os.rename(public, folder / "shared" / public.name)
        """,
        tmp_path,
        umask,
    )
    shared = [path for path in (tmp_path / "shared").rglob("*") if path.is_file()]
    private = list((tmp_path / "private").iterdir())
    assert (len(shared), len(private)) == (3, 3)
    assert {oct(path.stat().st_mode & 0o777) for path in shared} == {oct(mode)}
    assert {oct(path.stat().st_mode & 0o777) for path in private} == {"0o600"}
