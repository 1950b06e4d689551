"""Screening what a model puts out: explanations and outputs that leak matched text are stopped.

What belongs here: the check of outputs against the findings in their inputs. What does not: screening of training
rows (``frames``), the gateway that acts on the outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from nethical_assets.core.governance.findings import Findings, mask
from nethical_assets.core.governance.normalise import fold_characters
from nethical_assets.core.governance.rules import Decision, Role
from nethical_assets.core.governance.screener import Screener

MINIMUM_LEAK_CHARACTERS = 5
"""Shorter matched text is not looked for in outputs: it occurs there by chance."""


@dataclass(frozen=True)
class OutputScreening:
    """What became of some outputs.

    ``outputs``: masked, and empty where stopped; ``stopped``: one truth value an output; ``leaked``: those that repeat
    personal data or a secret of their input; ``findings``: in the outputs, positions as rows.
    """

    outputs: pd.Series
    stopped: pd.Series
    leaked: pd.Series
    findings: Findings

    def summary(self) -> dict[str, Any]:
        """Counts as JSON, never text."""
        return {
            "outputs": len(self.outputs),
            "stopped": int(self.stopped.sum()),
            "leaked": int(self.leaked.sum()),
            "findings": len(self.findings),
            "by_kind": self.findings.counts_by("kind"),
        }


def screen_outputs(outputs: pd.Series, screener: Screener, inputs: pd.Series | None = None) -> OutputScreening:
    """Screen a model's outputs or explanations, one for each of ``inputs`` where given (same length).

    An output is stopped when it repeats personal data or a secret found in its input, in any spelling that folds to
    the same characters, or when the policy blocks it; other personal data and secrets in it are masked.

    Raises:
        ValueError: ``inputs`` has another length.
    """
    if inputs is not None and len(inputs) != len(outputs):
        raise ValueError(f"{len(outputs)} outputs for {len(inputs)} inputs")
    findings = screener.screen(outputs)
    decisions = findings.names("decision")
    stopped = np.zeros(len(outputs), dtype=bool)
    stopped[findings.rows[np.isin(decisions, [decision for decision in Decision if decision.removes_row])]] = True
    leaked = np.zeros(len(outputs), dtype=bool)
    if inputs is not None:
        leaked[_leaking_rows(outputs, inputs, screener)] = True
    stopped |= leaked
    safe = mask(outputs.astype("str"), findings.where(decisions == Decision.ALLOW_WITH_MODIFICATION))
    return OutputScreening(
        outputs=safe.mask(pd.Series(stopped, index=outputs.index), ""),
        stopped=pd.Series(stopped, index=outputs.index),
        leaked=pd.Series(leaked, index=outputs.index),
        findings=findings,
    )


def screen_explanation(explanation: str, screener: Screener, input_text: str | None = None) -> OutputScreening:
    """``screen_outputs`` for one explanation of the prediction about ``input_text``."""
    inputs = None if input_text is None else pd.Series([input_text], dtype="str")
    return screen_outputs(pd.Series([explanation], dtype="str"), screener, inputs)


def _leaking_rows(outputs: pd.Series, inputs: pd.Series, screener: Screener) -> Sequence[int]:
    protected = {rule.id for rule in screener.ruleset.rules if rule.role in (Role.PERSONAL_DATA, Role.SECRET)}
    found = screener.screen(inputs)
    found = found.where(np.isin(found.names("rule"), sorted(protected)))
    columns = (found.table[name].to_pylist() for name in ("row", "start", "end"))
    return sorted(
        {
            row
            for row, start, end in zip(*columns, strict=True)
            if end - start >= MINIMUM_LEAK_CHARACTERS
            and _folded(str(inputs.iloc[row])[start:end]) in _folded(str(outputs.iloc[row]))
        }
    )


def _folded(text: str) -> str:
    return fold_characters(text).casefold()
