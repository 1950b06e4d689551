"""Checks of data: declarations, leakage, label errors, near duplicates, overlap, distribution, report."""
