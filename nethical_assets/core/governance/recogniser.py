"""Names and street addresses through presidio, an optional extra.

What belongs here: calling presidio on a column of texts and turning its results into findings. What does not:
anything needed without the extra; it is imported only when a recogniser is made.
"""

from __future__ import annotations

import importlib
from typing import Any

import pandas as pd
import pyarrow as pa

from nethical_assets.core.governance.findings import SCHEMA, Findings
from nethical_assets.core.governance.rules import Decision, Severity
from nethical_assets.core.ground.errors import SettingsError

KINDS = {"PERSON": "PERSON", "LOCATION": "ADDRESS"}
"""presidio's entities and the kinds they are reported as."""

MINIMUM_CONFIDENCE = 0.5


class PresidioRecogniser:
    """Names and places in texts. Slow (about 2 000 short texts a second without a language model): for review."""

    def __init__(self, language_model: str | None = None) -> None:
        """``language_model``: an installed spaCy model such as ``en_core_web_lg``; None takes a blank one.

        A blank model finds no names: with it only presidio's own patterns work.

        Raises:
            SettingsError: presidio or the language model is not installed.
        """
        try:
            presidio = importlib.import_module("presidio_analyzer")
            engines = importlib.import_module("presidio_analyzer.nlp_engine")
            spacy = importlib.import_module("spacy")
        except ImportError:
            raise SettingsError(
                "names and addresses need presidio, which is not installed; install the extra: pip install"
                " 'nethical-assets[presidio]'"
            ) from None
        try:
            model = spacy.load(language_model) if language_model else spacy.blank("en")
        except OSError:
            raise SettingsError(
                f"language model {language_model!r} is not installed; run: python -m spacy download {language_model}"
            ) from None
        engine = engines.SpacyNlpEngine()
        engine.nlp = {"en": model}
        self._analyzer: Any = presidio.AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])

    def screen(self, texts: pd.Series) -> Findings:
        """Findings of rule ``presidio.person`` and ``presidio.location`` in ``texts``, to be masked."""
        columns: dict[str, list[Any]] = {field.name: [] for field in SCHEMA}
        for row, text in enumerate(texts):
            if not isinstance(text, str) or not text:
                continue
            for result in self._analyzer.analyze(text=text, language="en", entities=list(KINDS)):
                if result.score < MINIMUM_CONFIDENCE:
                    continue
                values = (
                    row,
                    KINDS[result.entity_type],
                    f"presidio.{result.entity_type.lower()}",
                    result.start,
                    result.end,
                    str(Severity.MEDIUM),
                    str(Decision.ALLOW_WITH_MODIFICATION),
                    float(result.score),
                    None,
                )
                for field, value in zip(SCHEMA, values, strict=True):
                    columns[field.name].append(value)
        arrays = [_column(columns[field.name], field.type) for field in SCHEMA]
        return Findings(pa.table(arrays, schema=SCHEMA))


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return pa.array(values, pa.string()).cast(kind)
    return pa.array(values, kind)
