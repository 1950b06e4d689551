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
from nethical_assets.core.cards.formats import FORMATS, CardFormat, render_all
from nethical_assets.core.cards.markdown import render_markdown

__all__ = [
    "FORMATS",
    "REQUIRED_FIELDS",
    "AuditReference",
    "CardEvidence",
    "CardFormat",
    "audit_reference",
    "build_card",
    "card_bytes",
    "card_digest",
    "render_all",
    "render_markdown",
]
