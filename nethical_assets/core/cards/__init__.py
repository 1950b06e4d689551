"""Model cards: one manifest, rendered to every format."""

from nethical_assets.core.cards.card import (
    REQUIRED_FIELDS,
    AuditReference,
    CardEvidence,
    audit_reference,
    build_card,
    card_bytes,
    card_digest,
)
from nethical_assets.core.cards.markdown import render_markdown

__all__ = [
    "REQUIRED_FIELDS",
    "AuditReference",
    "CardEvidence",
    "audit_reference",
    "build_card",
    "card_bytes",
    "card_digest",
    "render_markdown",
]
