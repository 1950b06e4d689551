"""The formats in which a card is stored beside its JSON document; adding one is one entry here.

What belongs here: which formats there are, and rendering all of them. What does not: any format itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nethical_assets.core.cards.annex_iv import render_annex_iv
from nethical_assets.core.cards.bill_of_materials import render_bill_of_materials
from nethical_assets.core.cards.card import card_bytes
from nethical_assets.core.cards.html import render_html
from nethical_assets.core.cards.hugging_face import render_hugging_face
from nethical_assets.core.cards.markdown import render_markdown


@dataclass(frozen=True)
class CardFormat:
    """One format: the suffix of its file, what it is, and how a card is rendered to its bytes."""

    suffix: str
    title: str
    render: Callable[[Mapping[str, Any]], bytes]


FORMATS = (
    CardFormat("md", "Markdown", lambda card: render_markdown(card).encode()),
    CardFormat("html", "Page", lambda card: render_html(card).encode()),
    CardFormat("hugging_face.md", "Hugging Face model card", lambda card: render_hugging_face(card).encode()),
    CardFormat("cdx.json", "CycloneDX bill of materials", render_bill_of_materials),
    CardFormat("annex_iv.md", "EU AI Act, Annex IV", lambda card: render_annex_iv(card).encode()),
)


def render_all(card: Mapping[str, Any]) -> dict[str, bytes]:
    """Suffix -> bytes of every format. A card gives the same bytes before it is stored and after it was read back."""
    stored = json.loads(card_bytes(card))
    return {form.suffix: form.render(stored) for form in FORMATS}
