"""Anchors: evidence outside the log that a checkpoint existed, each optional.

``timestamp`` (RFC 3161 authority), ``git_tag`` (signed tag), ``object_lock`` (S3 that cannot be overwritten). A witness
is another kind (``core.audit.witness``). What an anchor kept is given to ``verify_log(known_checkpoints=...)``.
"""
