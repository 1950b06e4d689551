"""Errands of a person outside the graph: scoring, restoring, verification, lineage, quarantine, status."""
