from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest

from nethical_assets.core.evaluation import evaluate
from nethical_assets.core.evaluation.plots import (
    confusion_png,
    reliability_png,
)


@pytest.fixture(params=[10, 100], ids=["10 bins", "100 bins"])
def evaluation(request):
    generator = np.random.default_rng(0)
    probabilities = generator.random(5000)
    labels = (generator.random(5000) < probabilities).astype(np.int8)
    sources = np.array(["a", "b"])[np.arange(5000) % 2]
    options = {"ece_bins": request.param, "bootstrap_samples": 10, "seed": 0, "sources": sources}
    return evaluate(labels, probabilities, probabilities, **options)


@pytest.mark.parametrize("draw", [reliability_png, confusion_png])
def test_pictures_are_small_wide_enough_and_the_same_each_time(evaluation, draw):
    from PIL import Image

    data = draw(evaluation)
    assert len(data) <= 50_000
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG" and 500 <= image.width <= 700
        assert len(np.unique(np.asarray(image.convert("L")))) > 5
    assert draw(evaluation) == data


def test_pictures_of_nothing_usable_are_still_pictures():
    labels = np.array([0, 1], dtype=np.int8)
    broken = evaluate(labels, np.array([np.nan, 1.0]), labels * 1.0, ece_bins=10, bootstrap_samples=2, seed=0)
    for draw in (reliability_png, confusion_png):
        assert draw(broken).startswith(b"\x89PNG")


def test_importing_evaluation_loads_neither_matplotlib_nor_scipy():
    code = (
        "import sys, nethical_assets.core.evaluation.plots;"
        "heavy = {'matplotlib', 'scipy', 'sklearn', 'dagster'} & set(sys.modules); sys.exit(', '.join(heavy) or 0)"
    )
    finished = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert finished.returncode == 0, finished.stderr
