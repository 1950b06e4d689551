"""Each text is screened once by one ruleset, and nobody can tell from the findings."""

from __future__ import annotations

import pandas as pd
import pytest

from nethical_assets.core.governance.findings import mask
from nethical_assets.core.governance.frames import screen_frame
from nethical_assets.core.governance.memo import ScreeningMemo, memo_of
from nethical_assets.core.governance.rules import Ruleset
from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.governance.values import Reading

TEXTS = [
    "write to jane.doe@example.org please",
    "nothing here",
    None,
    "",
    "write to jane.doe@example.org please",
    "my card is 4111 1111 1111 1111",
    "\ud83d broken, jane.doe@example.org",
    "jane [at] example [dot] org",
    "\u202ejane.doe@example.org",
]


def remembering(ruleset: Ruleset, memo: ScreeningMemo, key: bytes | None = None) -> Screener:
    return Screener(ruleset, hash_key=key, memo=memo)


@pytest.mark.parametrize("key", [None, b"secret"])
def test_findings_are_those_without_a_memo(ruleset: Ruleset, key: bytes | None) -> None:
    plain, memo = Screener(ruleset, hash_key=key), ScreeningMemo()
    for column in (pd.Series(TEXTS, dtype=object), pd.Series(TEXTS[::-1], dtype=object), pd.Series(TEXTS[3:6])):
        for _ in range(2):
            assert remembering(ruleset, memo, key).screen(column).table.equals(plain.screen(column).table)
    assert len(plain.screen(TEXTS))


def test_a_text_is_screened_once_in_whatever_column_it_comes_again(ruleset: Ruleset) -> None:
    memo = ScreeningMemo()
    remembering(ruleset, memo).screen(pd.Series(TEXTS, dtype=object))
    assert memo.texts_screened == len({text for text in TEXTS if text is not None})
    before = memo.texts_screened
    remembering(ruleset, memo).screen(pd.Series(TEXTS[::-1], dtype=object))
    assert memo.texts_screened == before
    remembering(ruleset, memo).screen(pd.Series(["something new"]))
    assert memo.texts_screened == before + 1


def test_a_masked_text_is_another_text(ruleset: Ruleset) -> None:
    memo = ScreeningMemo()
    screener = remembering(ruleset, memo)
    texts = pd.Series(TEXTS[:2])
    found = screener.screen(texts)
    assert len(found) and len(screener.screen(mask(texts, found))) == 0


def test_released_rows_and_labels_decide_again(ruleset: Ruleset) -> None:
    frame = pd.DataFrame({"text": TEXTS[:2] + TEXTS[5:6], "label": [1, 0, 0], "row_id": ["a", "b", "c"]})
    plain, screener = Screener(ruleset), remembering(ruleset, ScreeningMemo())
    for released in ((), ("c",), ()):
        for labels in ([1, 0, 0], [0, 1, 1]):
            given = frame.assign(label=labels)
            want = screen_frame(given, {"text": Reading.PROSE}, plain, released=released)
            have = screen_frame(given, {"text": Reading.PROSE}, screener, released=released)
            pd.testing.assert_frame_equal(have.frame, want.frame)
            pd.testing.assert_frame_equal(have.findings, want.findings)
            assert have.summary() == want.summary()


def test_rulesets_and_keys_do_not_share_a_memo() -> None:
    assert memo_of("sha256:a", None) is memo_of("sha256:a", None)
    memos = {id(memo_of(digest, key)) for digest, key in (("sha256:a", b"k"), ("sha256:a", b"l"))}
    assert len(memos) == 2


def test_memory_is_bounded_and_forgetting_changes_nothing(ruleset: Ruleset) -> None:
    memo = ScreeningMemo(maximum_items=3)
    texts = [f"mail {number}@example.org" for number in range(20)]
    plain = Screener(ruleset).screen(texts)
    for _ in range(2):
        assert remembering(ruleset, memo).screen(texts).table.equals(plain.table)
        assert sum(1 + len(hits) for hits in memo._known.values()) <= 3
    assert memo.texts_screened > 30, "what was forgotten is screened again"


def test_neither_texts_nor_matches_are_kept(ruleset: Ruleset) -> None:
    memo = ScreeningMemo()
    remembering(ruleset, memo, b"secret").screen(pd.Series(TEXTS, dtype=object))
    kept = repr(memo._known)
    assert "jane" not in kept and "4111" not in kept and b"jane" not in b"".join(memo._known)
