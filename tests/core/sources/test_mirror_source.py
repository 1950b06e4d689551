"""The mirror folder: found, identified by content, and never left through a link."""

from __future__ import annotations

import json

import pytest

from nethical_assets.core.ground.errors import SourceUnavailableError
from nethical_assets.core.sources.mirror_source import MirrorSource
from nethical_assets.core.sources.source import FetchedFiles, NotThereError, Unchanged, UpstreamState
from tests.core.conftest import csv_of, entry_of


@pytest.fixture
def mirror(tmp_path):
    folder = tmp_path / "mirror"
    (folder / "owner" / "toy").mkdir(parents=True)
    (folder / "owner" / "toy" / "rows.csv").write_bytes(csv_of(5))
    facts = {"owner/toy": {"licence": "MIT", "last_updated": "2026-11-22T00:00:00Z", "version": 3}}
    (folder / "catalog.json").write_text(json.dumps(facts))
    return folder


def test_files_are_used_where_they_are_with_what_the_catalog_says(mirror, tmp_path):
    fetched = MirrorSource(mirror).fetch(entry_of(), tmp_path / "work", None)
    assert isinstance(fetched, FetchedFiles)
    assert (fetched.folder, fetched.temporary) == (mirror / "owner" / "toy", False)
    assert (fetched.licence, fetched.upstream_date, fetched.upstream.version) == ("MIT", "2026-11-22T00:00:00Z", "3")
    assert not (tmp_path / "work").exists()


def test_unchanged_means_equal_names_and_contents(mirror, tmp_path):
    source, entry = MirrorSource(mirror), entry_of()
    known = source.fetch(entry, tmp_path, None).upstream
    (mirror / "catalog.json").unlink()
    assert isinstance(source.fetch(entry, tmp_path, known), Unchanged)
    file = mirror / "owner" / "toy" / "rows.csv"
    content = file.read_bytes()
    file.write_bytes(content.replace(b"4", b"5"))
    assert isinstance(source.fetch(entry, tmp_path, known), FetchedFiles)
    file.write_bytes(content)
    assert isinstance(source.fetch(entry, tmp_path, known), Unchanged)
    file.rename(file.with_name("other.csv"))
    assert isinstance(source.fetch(entry, tmp_path, known), FetchedFiles)


def test_what_is_missing_is_said_in_one_line(mirror, tmp_path):
    for source, slug, message in (
        (MirrorSource(tmp_path / "nowhere"), "owner/toy", "nowhere is not a folder; set NETHICAL_DATA_MIRROR"),
        (MirrorSource(mirror), "owner/other", "has no dataset owner/other"),
    ):
        with pytest.raises(SourceUnavailableError, match=message):
            source.fetch(entry_of(slug=slug), tmp_path, None)
    (mirror / "owner" / "toy" / "rows.csv").unlink()
    with pytest.raises(SourceUnavailableError, match="holds no files"):
        MirrorSource(mirror).fetch(entry_of(), tmp_path, None)


@pytest.mark.parametrize("linked", ["file", "folder", "dataset"])
def test_a_link_out_of_the_mirror_is_refused(linked, mirror, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.csv").write_text("secret")
    place = mirror / "owner" / "toy"
    if linked == "file":
        (place / "more.csv").symlink_to(outside / "secret.csv")
    elif linked == "folder":
        (place / "more").symlink_to(outside)
    else:
        (place / "rows.csv").unlink()
        place.rmdir()
        place.symlink_to(outside)
    with pytest.raises(SourceUnavailableError, match="outside the mirror"):
        MirrorSource(mirror).fetch(entry_of(), tmp_path, None)


def test_links_within_the_mirror_and_a_linked_mirror_work(mirror, tmp_path):
    (mirror / "owner" / "toy" / "again.csv").symlink_to(mirror / "owner" / "toy" / "rows.csv")
    (tmp_path / "link").symlink_to(mirror)
    assert isinstance(MirrorSource(tmp_path / "link").fetch(entry_of(), tmp_path, None), FetchedFiles)


@pytest.mark.parametrize("content", ["{", "[]", '"x"'])
def test_a_broken_catalog_is_named(content, mirror, tmp_path):
    (mirror / "catalog.json").write_text(content)
    with pytest.raises(SourceUnavailableError, match=r"catalog\.json is not a JSON object"):
        MirrorSource(mirror).fetch(entry_of(), tmp_path, None)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (UpstreamState(etag="a"), UpstreamState(etag="a", last_modified="x"), True),
        (UpstreamState(etag="a", last_modified="x"), UpstreamState(etag="b", last_modified="x"), False),
        (UpstreamState(last_modified="x"), UpstreamState(etag="b", last_modified="x"), True),
        (UpstreamState(version="1"), UpstreamState(version="1"), False),
        (UpstreamState(), UpstreamState(), False),
        (UpstreamState(etag="a"), None, False),
    ],
)
def test_states_are_the_same_only_when_that_is_certain(one, other, same):
    assert one.same_as(other) is same


def test_what_systems_leave_in_a_mirror_is_no_part_of_a_dataset(tmp_path):
    place = tmp_path / "mirror" / "owner" / "toy"
    place.mkdir(parents=True)
    (place / ".DS_Store").write_bytes(b"x")
    source = MirrorSource(tmp_path / "mirror")
    with pytest.raises(NotThereError, match="holds no files"):
        source.fetch(entry_of(), tmp_path, None)
    (place / "rows.csv").write_bytes(csv_of(4))
    first = source.fetch(entry_of(), tmp_path, None)
    (place / "__MACOSX").mkdir()
    (place / "__MACOSX" / "._rows.csv").write_bytes(b"y")
    assert source.fetch(entry_of(), tmp_path, first.upstream) == Unchanged(first.upstream)
