"""Lineage: signatures of models, provenance statements of stages, the chain they form, and retraining from it.

Everything is published formats on an offline key: OpenSSF model signing (``signatures``), in-toto statements with the
SLSA provenance predicate (``provenance``), both in DSSE envelopes (``dsse``). ``chain`` verifies from raw data to the
pointer of a model; ``reproduction`` says whether a retrained model is the same.
"""
