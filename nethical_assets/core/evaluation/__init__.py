"""Judging detectors on labelled rows: metrics with intervals, the gate, the comparison with the champion, plots."""

from nethical_assets.core.evaluation.estimate import Estimate
from nethical_assets.core.evaluation.gate import GateDecision, decide
from nethical_assets.core.evaluation.metrics import (
    ConfusionMatrix,
    Evaluation,
    ReliabilityBin,
    SourceEvaluation,
    evaluate,
)
from nethical_assets.core.evaluation.regression import RegressionReport, compare_with_champion

__all__ = [
    "ConfusionMatrix",
    "Estimate",
    "Evaluation",
    "GateDecision",
    "RegressionReport",
    "ReliabilityBin",
    "SourceEvaluation",
    "compare_with_champion",
    "decide",
    "evaluate",
]
