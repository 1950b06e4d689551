from __future__ import annotations

import sys

import pandas as pd
import pytest

from nethical_assets.core.governance.findings import SCHEMA
from nethical_assets.core.governance.recogniser import PresidioRecogniser
from nethical_assets.core.ground.errors import SettingsError


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(SettingsError, match=r"nethical-assets\[presidio\]"):
        PresidioRecogniser()


@pytest.mark.filterwarnings("ignore")
def test_with_the_extra_findings_have_the_common_form() -> None:
    pytest.importorskip("presidio_analyzer")
    findings = PresidioRecogniser().screen(pd.Series(["my name is Jane", None, ""]))
    assert findings.table.schema == SCHEMA
    with pytest.raises(SettingsError, match="no_such_model"):
        PresidioRecogniser("no_such_model")
