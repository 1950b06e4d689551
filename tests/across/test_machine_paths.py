"""Evidence names no folder of the machine it was made on; an error card is known by what it was measured on."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nethical_assets.home.records import StageRecord
from nethical_assets.home.settings import load_settings
from nethical_assets.stages.screening import ERROR_CARD
from nethical_assets.stages.stage import PLATFORM, carry_out
from tests.across.platform import Home, files_of, flip
from tests.fake_stages import open_workspace
from tests.tiny_mirror import build_mirror

pytestmark = pytest.mark.slow
EVIDENCE = ("acts", "audit", "data", "models", "serving")


def add_corpora(mirror: Path) -> Path:
    """Give a tiny mirror the corpora of the error card that it lacks."""
    texts = [f"write to person{number}@example.org, please" for number in range(40)]
    spans = [{"entity_type": "EMAIL_ADDRESS", "start_position": 9, "end_position": text.index(",")} for text in texts]
    labelled = [{"full_text": text, "spans": [span]} for text, span in zip(texts, spans, strict=True)]
    write(mirror / "nethical-mirror/pii-spans/synth_dataset_v2.json", json.dumps(labelled))
    tweets = pd.DataFrame({"class": [0, 1, 2] * 10, "tweet": [f"an opinion {number}" for number in range(30)]})
    write(mirror / "mrmorj/hate-speech-and-offensive-language-dataset/labeled_data.csv", tweets.to_csv(index=False))
    messages = pd.DataFrame({"v1": ["ham", "spam"] * 15, "v2": [f"see you at {number}" for number in range(30)]})
    write(mirror / "uciml/sms-spam-collection-dataset/spam.csv", messages.to_csv(index=False))
    numbers = pd.DataFrame({"price": np.arange(30) / 7})
    for name in ("yashsharan/the-elec2-dataset/elec.csv", "nethical-mirror/uci-phishing-websites/phishing.csv"):
        write(mirror / name, numbers.to_csv(index=False))
    return mirror


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def measure(home: Home, run_id: str) -> StageRecord:
    """The error card as a run of its own makes it."""
    workspace = open_workspace(load_settings(home.environment), run_id)
    record = carry_out(ERROR_CARD, workspace, PLATFORM)
    workspace.end()
    return record


def naming(home: Home, *made_in: Path | None) -> list[str]:
    """The files of evidence that name a folder of this machine, also inside a signed envelope."""
    folders = [str(folder).encode() for folder in (home.path, home.mirror, home.folder, *made_in)]
    found = []
    for area in EVIDENCE:
        for path in files_of(home.path / area):
            data = path.read_bytes()
            with contextlib.suppress(ValueError, TypeError, KeyError):
                data += base64.b64decode(json.loads(data)["payload"])
            found += [str(path.relative_to(home.path)) for folder in folders if folder in data]
    return sorted(set(found))


@pytest.fixture(scope="module")
def first(real: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home after a mirror cycle and an error card."""
    folder = tmp_path_factory.mktemp("first")
    home = Home(real.server, folder / "measured", add_corpora(build_mirror(folder / "mirror", rows=450)))
    home.run("--families", "logistic,prompt_injection", "--source", "mirror").ok()
    measure(home, "measuring")
    return home


@pytest.fixture
def measured(first: Home, tmp_path: Path) -> Home:
    """A copy of that home and of its mirror, which a test may spoil."""
    assert first.mirror is not None
    mirror = Path(shutil.copytree(first.mirror, tmp_path / "mirror"))
    return first.copy(tmp_path / "measured", mirror=mirror)


def test_no_evidence_names_a_folder_of_the_machine(first: Home, measured: Home, tmp_path: Path) -> None:
    assert naming(measured, first.path, first.mirror, first.folder) == []
    assert measured.problems() == []

    # A source that has not the dataset, a snapshot that is damaged, a backup that cannot be made: each says where.
    (measured.path / "data" / "backups").chmod(0o500)
    nslkdd = next((measured.mirror or tmp_path).rglob("KDDTrain*"))
    nslkdd.rename(tmp_path / "elsewhere")
    for path in files_of(measured.path / "data" / "snapshots" / "objects"):
        if path.read_bytes().startswith(b"PAR1"):
            flip(path)
    answer = measured.run("--source", "mirror", "--samples", "550")
    assert answer.code == 1, answer.out
    assert "mirror" in answer.out
    assert naming(measured) == []


def test_an_error_card_follows_what_the_corpora_hold_wherever_they_are(measured: Home, tmp_path: Path) -> None:
    assert measured.mirror is not None
    before = measure(measured, "again")
    assert before.reused
    moved = measured.mirror.rename(tmp_path / "moved")
    elsewhere = Home(measured.server, measured.folder, moved)
    assert measure(elsewhere, "moved").reused
    spans = moved / "nethical-mirror/pii-spans/synth_dataset_v2.json"
    write(spans, json.dumps(json.loads(spans.read_text(encoding="utf-8"))[:20]))
    changed = measure(elsewhere, "changed")
    assert not changed.reused
    assert changed.facts["personal_data"]["EMAIL"]["labelled"] < before.facts["personal_data"]["EMAIL"]["labelled"]
    assert elsewhere.problems() == []
