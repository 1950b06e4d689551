"""Markdown under hostile text, read by a real parser: the same blocks, no markup that the layout did not put there."""

from __future__ import annotations

import re
from typing import Any

import pytest
from markdown_it import MarkdownIt

from nethical_assets.core.cards import render_all

from .examples import HOSTILE, filled_with
from .pages import split_front_matter

SUFFIXES = ("md", "annex_iv.md", "hugging_face.md")
PLAIN = {"text", "code_inline", "softbreak"}


def structure(source: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The blocks, and everything inside them that is not plain text."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(source)
    blocks = [(token.type, token.tag) for token in tokens]
    inline = [child for token in tokens for child in token.children or []]
    return blocks, [
        (child.type, child.content if child.type == "html_inline" else "")
        for child in inline
        if child.type not in PLAIN
    ]


def body(suffix: str, card: dict[str, Any]) -> str:
    text = render_all(card)[suffix].decode()
    return split_front_matter(text)[1] if suffix.startswith("hugging") else text


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("word", [word for word in HOSTILE if word.strip()])
def test_hostile_text_changes_no_block_and_opens_no_markup(word: str, suffix: str, example: dict[str, Any]) -> None:
    attacked, harmless = (body(suffix, filled_with(text, example)) for text in (word, "word"))
    assert structure(attacked) == structure(harmless)
    outside_code = re.sub(r"`[^`\n]*`", "", attacked)
    linked = re.findall(r"(?<!\\)://|www\.e|(?<!\\)@", outside_code)
    assert linked == [], "an address becomes a link by itself"
    assert not set(attacked) & set("\x00\x07\x1b\x7f\x85\u202e\u2066\u200b\ufeff\u2028")
