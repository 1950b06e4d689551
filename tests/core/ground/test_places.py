"""Paths of this machine become names and back; other texts stay as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from nethical_assets.core.ground.places import Places


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    return Places({"HOME": tmp_path / "state", "MIRROR": tmp_path / "state" / "mirror", "LINK": tmp_path / "link"})


def test_every_text_of_a_document_is_named_and_opened_again(places: Places, tmp_path: Path) -> None:
    document = {
        f"{tmp_path}/state/key": [
            f"{tmp_path}/state/data/x was damaged ({tmp_path}/state/mirror/a.csv)",
            3,
            None,
            True,
        ],
        "where": {"link": f"'{tmp_path}/link/b'"},
    }
    named = {"HOME/key": ["HOME/data/x was damaged (MIRROR/a.csv)", 3, None, True], "where": {"link": "'LINK/b'"}}
    assert places.named(document) == named
    assert places.opened(named) == document


def test_a_place_is_found_by_where_a_link_leads_and_at_the_end_of_a_sentence(places: Places, tmp_path: Path) -> None:
    assert places.named(f"{tmp_path}/disk/b: no such file; look into {tmp_path}/state.") == (
        "LINK/b: no such file; look into HOME."
    )


def test_what_is_no_place_stays(places: Places, tmp_path: Path) -> None:
    for text in (f"{tmp_path}/state2/x", f"/else{tmp_path}/state/x", str(tmp_path)):
        assert places.named(text) == text
    assert places.opened("set HOME to a folder laid out OWNER/SLUG") == "set HOME to a folder laid out OWNER/SLUG"
    assert Places({}).named("/a/b") == "/a/b"
    assert Places({"ROOT": Path("/")}).named("/a/b") == "/a/b"
