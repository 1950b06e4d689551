"""The stages of a cycle: core decisions joined with settings, stores and the audit log.

What belongs here: one function a stage, each load, decide through ``core``, store, record. What does not: a decision
(``core``) or anything of Dagster (``assets``, ``sensors``, ``resources``).
"""
