"""Lineage: provenance statements of stages, the chain they form, and whether a retrained model is the same.

Statements are in-toto statements with the SLSA provenance predicate (``provenance``) in DSSE envelopes
(``core.signing``). ``chain`` verifies from raw data to the pointer of a model; ``reproduction`` compares two models.
"""
