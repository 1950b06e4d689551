"""What was found in texts that this process screened already, so that no text is screened twice by one ruleset.

What belongs here: findings by the digest of the text, in bounded memory. What does not: finding anything
(``screener``). Neither a text nor what was matched in it is kept; a masked text is another text, with another digest.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

MAXIMUM_ITEMS = 500_000
"""So many texts and hits are remembered (about 100 MB at most); then the oldest are forgotten."""

_DIGEST_BYTES = 32


class Hit(NamedTuple):
    """A match in one text: the rule's number, the span in code points, the keyed hash where a key is set."""

    rule: int
    start: int
    end: int
    keyed_hash: str | None


Hits = tuple[Hit, ...]
Find = Callable[[pa.LargeStringArray], Sequence[Hits]]


class ScreeningMemo:
    """The hits of one ruleset by text. Safe for threads: two that meet a new text at once both screen it."""

    def __init__(self, maximum_items: int = MAXIMUM_ITEMS) -> None:
        """``maximum_items`` bounds texts and hits together."""
        self._maximum = maximum_items
        self._known: dict[bytes, Hits] = {}
        self._items = 0
        self._guard = threading.Lock()
        self.texts_asked = 0
        self.texts_screened = 0

    def hits(self, texts: pa.LargeStringArray, find: Find) -> list[Hits]:
        """The hits in each text; ``find`` is called with the distinct texts that are not remembered."""
        digests = _digests(texts)
        found: dict[bytes, Hits] = {}
        missing: dict[bytes, int] = {}
        for position, digest in enumerate(digests):
            if digest is None or digest in found or digest in missing:
                continue
            known = self._known.get(digest)
            if known is None:
                missing[digest] = position
            else:
                found[digest] = known
        if missing:
            positions = pa.array(np.fromiter(missing.values(), dtype=np.int64, count=len(missing)))
            new = dict(zip(missing, find(texts.take(positions)), strict=True))
            self._remember(new)
            found |= new
        self.texts_asked += len(digests)
        self.texts_screened += len(missing)
        return [() if digest is None else found[digest] for digest in digests]

    def _remember(self, new: dict[bytes, Hits]) -> None:
        with self._guard:
            for digest, hits in new.items():
                if digest not in self._known:
                    self._known[digest] = hits
                    self._items += 1 + len(hits)
            while self._items > self._maximum:
                oldest = next(iter(self._known))
                self._items -= 1 + len(self._known.pop(oldest))


def memo_of(ruleset_digest: str, hash_key: bytes | None) -> ScreeningMemo:
    """The memo of this process for one ruleset and one key: keyed hashes of another key are other results."""
    return _memo_of(ruleset_digest, None if hash_key is None else hashlib.sha256(hash_key).digest())


@functools.lru_cache(maxsize=2)
def _memo_of(ruleset_digest: str, key: bytes | None) -> ScreeningMemo:
    return ScreeningMemo()


def _digests(texts: pa.LargeStringArray) -> list[bytes | None]:
    """The digest of each text, None where there is none."""
    offsets = np.frombuffer(texts.buffers()[1], dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1].tolist()
    buffer = texts.buffers()[2]
    data = memoryview(b"" if buffer is None else buffer)
    present = texts.is_valid().to_pylist()
    return [
        hashlib.blake2b(data[start:end], digest_size=_DIGEST_BYTES).digest() if valid else None
        for start, end, valid in zip(offsets[:-1], offsets[1:], present, strict=True)
    ]
