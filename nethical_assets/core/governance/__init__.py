"""Screening: rules, normalisation, validators, decisions, masking and quarantine."""
