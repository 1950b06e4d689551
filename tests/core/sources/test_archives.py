"""Archives: unpacked whole or refused; damage is told apart from malice."""

from __future__ import annotations

import io
import stat
import zipfile

import pytest

from nethical_assets.core.sources.archives import (
    DamagedArchiveError,
    ExtractionLimits,
    RefusedArchiveError,
    extract,
)
from tests.core.sources.kaggle_double import zip_of


@pytest.fixture
def unpack(tmp_path):
    target = tmp_path / "target"
    target.mkdir()

    def unpack_bytes(data: bytes, **limits: int):
        archive = tmp_path / "archive.zip"
        archive.write_bytes(data)
        extract(archive, target, ExtractionLimits(**limits))
        return {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()}

    return unpack_bytes


def entry_with(name: str = "x", **attributes: int) -> bytes:
    info = zipfile.ZipInfo(name)
    for key, value in attributes.items():
        setattr(info, key, value)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, b"/etc/passwd")
    return buffer.getvalue()


def test_a_sound_archive_is_unpacked(unpack):
    files = {"a.csv": b"1" * 5000, "deep/er/b c.csv": b"", "é.txt": b"x"}
    assert unpack(zip_of(files)) == files


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "..", "C:/x", "a\\..\\x"])
def test_paths_that_lead_outside_are_refused(name, unpack, tmp_path):
    with pytest.raises(RefusedArchiveError, match="outside the folder"):
        unpack(zip_of({name: b"x"}))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["12:30 log.csv", "a/b: c.csv", "10:00/x.csv", "ab:c.csv", "::.csv"])
def test_a_colon_is_no_drive(name, unpack):
    assert unpack(zip_of({name: b"x"})) == {name: b"x"}


@pytest.mark.parametrize("name", ["C:", "c:x.csv", "Z:\\x", "\\\\server\\share", "a\\..\\..\\x"])
def test_a_drive_and_roots_lead_outside(name, unpack):
    with pytest.raises(RefusedArchiveError, match="outside the folder"):
        unpack(zip_of({name: b"x"}))


def test_separators_of_windows_make_folders(unpack):
    assert unpack(zip_of({"data\\": b"", "data\\train.csv": b"x"})) == {"data/train.csv": b"x"}


@pytest.mark.parametrize("name", ["__MACOSX/._a.csv", "._a.csv", ".DS_Store", "x/Thumbs.db"])
def test_litter_is_left_out(name, unpack):
    assert unpack(zip_of({name: b"\0", "a.csv": b"x"})) == {"a.csv": b"x"}


@pytest.mark.parametrize("name", ["n" * 256, "deep/" + "é" * 128 + "/a.csv", "a/" * 2500 + "x"])
def test_names_that_no_file_can_have_are_refused_and_named_in_short(name, unpack):
    with pytest.raises(
        RefusedArchiveError, match=r"the entry '.{10,90}' (has a name of over 255|cannot have this name)"
    ):
        unpack(zip_of({name: b"x"}))


@pytest.mark.parametrize(
    "names", [["a", "a/b"], ["a/b", "a"], ["a", "a/"], ["a/b/c", "a/b"], ["a/", "a"], ["a/b", "a/b/c/d"]]
)
def test_a_file_is_no_folder_in_any_order(names, unpack):
    with pytest.raises(RefusedArchiveError, match="two entries claim the path"):
        unpack(zip_of(dict.fromkeys(names, b"x")))


def test_folders_may_be_named_again(unpack):
    assert unpack(zip_of({"a/": b"", "a/b": b"x", "a/c/": b""})) == {"a/b": b"x"}


def test_links_and_double_names_are_refused(unpack):
    with pytest.raises(RefusedArchiveError, match="symbolic link"):
        unpack(entry_with(external_attr=(stat.S_IFLNK | 0o777) << 16))
    with pytest.raises(RefusedArchiveError, match="two entries claim"):
        unpack(zip_of({"a": b"1", "a/b": b"2"}))
    with pytest.warns(UserWarning, match="Duplicate name"):
        doubled = double_entry()
    with pytest.raises(RefusedArchiveError, match="two entries claim"):
        unpack(doubled)


def double_entry() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("b", b"1")
        archive.writestr("b", b"2")
    return buffer.getvalue()


def test_encrypted_and_unknown_entries_are_refused(unpack):
    data = bytearray(zip_of({"x": b"abc"}))
    central = data.index(b"PK\x01\x02")
    encrypted = bytearray(data)
    encrypted[central + 8] |= 1
    with pytest.raises(RefusedArchiveError, match="encrypted"):
        unpack(bytes(encrypted))
    data[central + 10] = 99
    with pytest.raises(RefusedArchiveError, match="unknown compression 99"):
        unpack(bytes(data))


def test_bombs_are_refused_while_they_unpack(unpack):
    bomb = zip_of({"zeros": bytes(4 << 20)})
    with pytest.raises(RefusedArchiveError, match="decompression bomb"):
        unpack(bomb, ratio=100, ratio_from_bytes=1 << 20)
    with pytest.raises(RefusedArchiveError, match="more data than the limit"):
        unpack(zip_of({"a": bytes(3 << 20), "b": bytes(3 << 20)}), total_bytes=5 << 20)
    with pytest.raises(RefusedArchiveError, match="3 entries"):
        unpack(zip_of({"a": b"", "b": b"", "c": b""}), files=2)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.999])
def test_truncated_archives_are_damaged(keep, unpack):
    data = zip_of({"a.csv": bytes(range(256)) * 100})
    with pytest.raises(DamagedArchiveError):
        unpack(data[: int(len(data) * keep)])


def test_flipped_bits_never_give_other_content(unpack, tmp_path):
    content = bytes(range(200))
    data = zip_of({"a": content})
    positions = range(30 + len("a"), data.index(b"PK\x01\x02"))  # behind the local header
    noticed = 0
    for position in positions:
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        (tmp_path / "target" / "a").unlink(missing_ok=True)
        try:
            assert unpack(bytes(damaged)) == {"a": content}
        except DamagedArchiveError:
            noticed += 1
    # The last byte of a deflate stream has bits that mean nothing.
    assert noticed >= len(positions) - 1


@pytest.mark.parametrize("name", ["../anna@example.org.csv", "../078-05-1120.csv", "../4111111111111111.csv"])
def test_a_name_of_an_entry_that_looks_like_data_is_not_told(name, unpack):
    with pytest.raises(RefusedArchiveError, match=r"the entry \(its name looks like data\) leads outside") as caught:
        unpack(zip_of({name: b"x"}))
    assert name[3:9] not in str(caught.value)
