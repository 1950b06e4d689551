"""Synthetic action sequences: seeded and labelled, for when no real sequences can be reached.

What belongs here: the motifs and the generator. What does not: the detector.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

_NORMAL_SHARE = 0.7
_MOTIFS_A_SEQUENCE = (3, 8)
_NOISE_SHARE = 0.02
_NORMAL_MOTIFS = (
    *(("read", "process", "write"), ("open", "read", "close"), ("query", "aggregate", "report")),
    *(("login", "read", "logout"), ("fetch", "validate", "store"), ("list", "copy", "verify")),
    *(("open", "edit", "save"), ("query", "process", "write"), ("fetch", "read", "archive")),
)
_ATTACK_MOTIFS = (
    *(("escalate", "access", "exfiltrate"), ("scan", "exploit", "persist"), ("access", "copy", "exfiltrate")),
    *(("enumerate", "escalate", "delete"), ("login", "escalate", "copy"), ("list", "access", "encrypt")),
)


def synthesise(rows: int, generator: np.random.Generator) -> pd.DataFrame:
    """``rows`` sequences with ``label``: 70 % normal; in the others one or more motifs are of an attack."""
    label = (generator.random(rows) >= _NORMAL_SHARE).astype(np.int8)
    motifs = np.array([*_NORMAL_MOTIFS, *_ATTACK_MOTIFS])
    actions, codes = np.unique(motifs, return_inverse=True)
    codes = codes.reshape(motifs.shape)
    least, most = _MOTIFS_A_SEQUENCE
    length = generator.integers(least, most, rows)
    chosen = generator.integers(0, len(_NORMAL_MOTIFS), (rows, most))
    attack = generator.integers(len(_NORMAL_MOTIFS), len(motifs), (rows, most))
    hit = generator.random((rows, most)) < 0.3
    hit[np.arange(rows), generator.integers(0, least, rows)] = True
    chosen = np.where(hit & (label == 1)[:, None], attack, chosen)
    tokens = codes[chosen].reshape(rows, most * motifs.shape[1])
    normal_actions = np.unique(codes[: len(_NORMAL_MOTIFS)])
    noise = generator.choice(normal_actions, tokens.shape)
    tokens = np.where(generator.random(tokens.shape) < _NOISE_SHARE, noise, tokens)
    kept = np.arange(tokens.shape[1]) < length[:, None] * motifs.shape[1]
    flat = pa.array(actions.astype(object)[tokens[kept]], type=pa.string())
    lists = pa.ListArray.from_arrays(np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int32), flat)
    text = pc.binary_join(lists, " ").to_numpy(zero_copy_only=False)
    return pd.DataFrame({"sequence": pd.Series(text, dtype="str"), "label": label})
