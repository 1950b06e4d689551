"""Files that a person named: what cannot be read is one line that says why and what to do."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from nethical_assets.core.ground.errors import InputFileError
from nethical_assets.core.ground.given_files import (
    MAXIMUM_BYTES,
    read_given,
    read_given_json,
    read_given_text,
    read_given_toml,
)

ADVICE = "name a key"


def _open_files() -> int:
    listed = Path("/proc/self/fd")
    return len(list(listed.iterdir())) if listed.exists() else 0


def refused(path: Path) -> str:
    before = _open_files()
    with pytest.raises(InputFileError, match=ADVICE) as caught:
        read_given(path, ADVICE)
    assert _open_files() == before, "what was opened is closed"
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 200_000)
    assert read_given(tmp_path / "a", ADVICE) == b"x" * 200_000
    (tmp_path / "largest").write_bytes(bytes(MAXIMUM_BYTES))
    assert len(read_given(tmp_path / "largest", ADVICE)) == MAXIMUM_BYTES


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none")
    assert "is a folder" in refused(tmp_path)
    (tmp_path / "empty").touch()
    assert "is empty" in refused(tmp_path / "empty")
    (tmp_path / "loop").symlink_to("loop")
    assert "symbolic links" in refused(tmp_path / "loop")
    assert "is larger than 16 MB" in refused(Path("/dev/zero"))


def test_only_its_owner_reads_a_closed_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").write_bytes(b"secret")
    (tmp_path / "closed").chmod(0)
    monkeypatch.chdir(tmp_path)
    if as_root := os.geteuid() == 0:
        tmp_path.chmod(0o755)
        os.seteuid(65534)
    try:
        assert "cannot be read (Permission denied)" in refused(Path("closed"))
    finally:
        if as_root:
            os.seteuid(0)


def test_a_pipe_is_read_where_somebody_writes_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is empty" in refused(tmp_path / "pipe")
    reads, writes = os.pipe()

    def write() -> None:
        os.write(writes, b"a key")
        os.close(writes)

    later = threading.Timer(0.2, write)
    later.start()
    try:
        assert read_given(Path(f"/dev/fd/{reads}"), ADVICE) == b"a key", "as a shell hands over <(command)"
    finally:
        later.join()
        os.close(reads)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"not readable as JSON \(.*, line 1, column 2\)"),
        (b'{"a": 1, "a": 2}', "key 'a' is given twice"),
        (b"[" * 100_000, "not readable as JSON"),
        (b"\xff{}", "byte 0 is not UTF-8 text"),
    ],
)
def test_what_is_no_json_says_where(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(InputFileError, match=message) as caught:
        read_given_json(tmp_path / "a", ADVICE)
    assert str(caught.value).endswith(ADVICE)


def test_documents_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('{"a": 1}')
    assert read_given_json(tmp_path / "a", ADVICE) == {"a": 1}
    assert read_given_text(tmp_path / "a", ADVICE) == '{"a": 1}'
    (tmp_path / "b").write_text("a = 1")
    assert read_given_toml(tmp_path / "b", ADVICE) == {"a": 1}
    with pytest.raises(InputFileError, match="not readable as TOML"):
        read_given_toml(tmp_path / "a", ADVICE)
