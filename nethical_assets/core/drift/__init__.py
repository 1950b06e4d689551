"""Watching what champions see: references, comparisons with a later window, the inference log, the ethical report."""

from nethical_assets.core.drift.reference import ColumnSketch, Reference, build_reference
from nethical_assets.core.drift.verdict import ColumnDrift, DriftReport, RateShift, compare

__all__ = ["ColumnDrift", "ColumnSketch", "DriftReport", "RateShift", "Reference", "build_reference", "compare"]
