"""Where a home keeps things, and what of its catalog others are told."""

from __future__ import annotations

from nethical_assets.home.stores import inhibition_by
from tests.tiny_mirror import CATALOG


def test_alerts_about_a_model_are_held_back_by_its_files_alone() -> None:
    # What the files were joined to is looked at again by the next training only, perhaps a week after they are fresh.
    found = inhibition_by(CATALOG).data
    assert "raw/nslkdd" in found["logistic"]
    assert {asset.partition("/")[0] for assets in found.values() for asset in assets} == {"raw"}
