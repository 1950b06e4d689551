"""Near-duplicates, distribution, label errors, leakage, overlap and personal data on tables with known answers."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nethical_assets.core.datasets.overlap import source_overlap
from nethical_assets.core.governance.rules import load_ruleset
from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.governance.values import Reading
from nethical_assets.core.quality import label_errors, near_duplicates
from nethical_assets.core.quality.checks import CHECKS, CheckOutcome, enforced, stopping
from nethical_assets.core.quality.distribution import DriftLimits, distribution_outcome
from nethical_assets.core.quality.history import ValidationHistory
from nethical_assets.core.quality.label_errors import find_label_errors, label_errors_outcome
from nethical_assets.core.quality.leakage import leakage_outcome, single_column_auc, split_overlap_outcome
from nethical_assets.core.quality.near_duplicates import (
    SIMILARITY,
    NearDuplicates,
    group_near_duplicates,
    near_duplicates_outcome,
)
from nethical_assets.core.quality.overlap import source_overlap_outcome
from nethical_assets.core.quality.personal_data import personal_data_outcome
from nethical_assets.core.rows.ngrams import FlatTokens
from tests.tiny_mirror import CHECKOUT

LIMITS = DriftLimits(threshold=0.15, alpha=0.01, minimum_rows=200)
SECRET = "jane.doe.1987@private-clinic.example"


@functools.cache
def rules() -> Screener:
    return Screener(load_ruleset(CHECKOUT / "config" / "screening"))


def words(count: int, seed: int) -> list[str]:
    generator = np.random.default_rng(seed)
    return [f"word{number}" for number in generator.integers(0, 100_000, count)]


def jaccard(first: str, second: str) -> float:
    one, two = ({tuple(part[i : i + 3]) for i in range(len(part) - 2)} for part in (first.split(), second.split()))
    return len(one & two) / len(one | two)


class TestNearDuplicates:
    def test_changed_words_make_a_near_duplicate_until_there_are_too_many(self) -> None:
        base = words(120, 1)
        little, much = base.copy(), base.copy()
        little[60] = "changed"
        for position in range(0, 120, 6):
            much[position] = f"changed{position}"
        texts = [" ".join(base), " ".join(words(120, 2)), " ".join(little), " ".join(much)]
        assert jaccard(texts[0], texts[2]) > 0.9
        assert jaccard(texts[0], texts[3]) < 0.4
        found = group_near_duplicates(pd.Series(texts, dtype="str"))
        assert found.repeated.tolist() == [2]
        assert found.group[0] == found.group[2]
        assert len(set(found.group.tolist())) == 3

    def test_exact_repetitions_and_texts_without_words_are_not_compared(self) -> None:
        texts = pd.Series(
            ["Hello  there friend", "hello THERE friend", "", None, "   ", "other words entirely"], dtype="str"
        )
        found = group_near_duplicates(texts)
        assert found.compared.tolist() == [0, 5]
        assert found.repeated.tolist() == []

    @pytest.mark.parametrize("texts", [[], [""], ["one"], ["one", "two"]])
    def test_tiny_columns(self, texts: list[str]) -> None:
        found = group_near_duplicates(pd.Series(texts, dtype="str"))
        assert found.repeated.tolist() == []
        assert near_duplicates_outcome(found, 0.2).status == "pass"

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 10_000), st.integers(5, 60), st.integers(0, 12))
    def test_pairs_are_grouped_as_their_exact_similarity_says(self, seed: int, length: int, changes: int) -> None:
        base = words(length, seed)
        other = base.copy()
        for position in np.random.default_rng(seed).integers(0, length, changes).tolist():
            other[position] = f"changed{position}"
        texts = [" ".join(base), " ".join(other)]
        similarity = jaccard(*texts)
        found = group_near_duplicates(pd.Series(texts, dtype="str"))
        if similarity >= SIMILARITY + 0.19 and similarity < 1:
            assert len(found.repeated) == 1
        if similarity <= SIMILARITY - 0.25:
            assert len(found.repeated) == 0

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.integers(0, 60), max_size=12), st.integers(1, 70), st.integers(0, 1000))
    def test_a_signature_is_the_least_of_every_permutation(self, lengths: list[int], at_once: int, seed: int) -> None:
        counts = np.array(lengths, dtype=np.int64)
        hashes = np.random.default_rng(seed).integers(0, 2**64, counts.sum(), dtype=np.uint64)
        tokens = FlatTokens(hashes, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
        whole = near_duplicates.minhash(tokens)
        # As many at once as one text has, or less: the signatures stay.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(near_duplicates, "_SHINGLES_AT_ONCE", at_once)
            assert near_duplicates.minhash(tokens).tolist() == whole.tolist()
        assert whole.shape == (64, np.count_nonzero(counts))
        # Texts alone have the signatures that they have among others.
        starts = tokens.offsets[:-1][counts > 0]
        for place, (start, length) in enumerate(zip(starts, counts[counts > 0], strict=True)):
            alone = FlatTokens(hashes[start : start + length], np.array([0, length]))
            assert near_duplicates.minhash(alone)[:, 0].tolist() == whole[:, place].tolist()

    def test_a_sample_is_said_to_be_one(self) -> None:
        texts = pd.Series([" ".join(words(8, seed)) for seed in range(40)], dtype="str")
        found = group_near_duplicates(texts, maximum_rows=10)
        assert found.compared.tolist() == list(range(0, 40, 4))
        whole = NearDuplicates(250_000, np.arange(10), np.arange(10))
        assert "one row in 3 was compared" in near_duplicates_outcome(whole, 0.2).message

    def test_the_outcome_has_share_examples_and_pairs_across_sources(self) -> None:
        found = NearDuplicates(4, np.arange(4), np.array([0, 1, 0, 1]))
        sources = np.array(["a", "a", "b", "a"], dtype=object)
        outcome = near_duplicates_outcome(found, 0.2, sources)
        assert outcome.status == "warn"
        assert outcome.example_rows == (2, 3)
        assert (outcome.numbers["rows"], outcome.numbers["share"]) == (2, 0.5)
        assert outcome.numbers["rows_across_sources"] == 2

    def test_odd_texts_are_bounded_and_never_crash(self) -> None:
        texts = ["x" * 3_000_000, "\ud800 lone surrogate", "\x00null\x00", "a " * 500_000, "\u202e right to left"]
        found = group_near_duplicates(pd.Series(texts, dtype="object"))
        assert found.rows == 5


class TestLeakage:
    ROWS = 4000

    @pytest.fixture
    def labels(self) -> np.ndarray:
        return (np.random.default_rng(1).random(self.ROWS) < 0.3).astype(np.int8)

    def test_auc_of_known_relations(self, labels: np.ndarray) -> None:
        generator = np.random.default_rng(2)
        assert single_column_auc(pd.Series(labels), labels) == 1.0
        assert single_column_auc(pd.Series(1 - labels), labels) == 1.0
        assert abs(single_column_auc(pd.Series(generator.normal(size=self.ROWS)), labels) - 0.5) < 0.05
        # A column of unique values tells nothing about rows it was not fitted on.
        unique = pd.Series([f"id{number}" for number in generator.permutation(self.ROWS)], dtype="str")
        assert abs(single_column_auc(unique, labels) - 0.5) < 0.05
        # Not monotone: the extremes are positive.
        bent = pd.Series(np.where(labels == 1, generator.choice([-5.0, 5.0], self.ROWS), 0.0))
        assert single_column_auc(bent + generator.normal(0, 0.1, self.ROWS), labels) > 0.99
        # Only whether the value is missing tells.
        assert single_column_auc(pd.Series(np.where(labels == 1, np.nan, 1.0)), labels) == 1.0

    def test_auc_of_a_shifted_normal_is_the_theoretical_one(self) -> None:
        generator = np.random.default_rng(3)
        labels = (generator.random(60_000) < 0.3).astype(np.int8)
        values = generator.normal(size=60_000) + labels
        assert abs(single_column_auc(pd.Series(values), labels) - 0.760) < 0.01

    def test_the_column_is_named_and_no_value_is(self, labels: np.ndarray) -> None:
        leaking = pd.Series(np.where(labels == 1, SECRET, "benign"), dtype="str")
        frame = pd.DataFrame({"status": leaking, "noise": np.random.default_rng(4).normal(size=self.ROWS)})
        outcome = leakage_outcome(frame, labels, 0.99)
        assert outcome is not None
        assert outcome.status == "fail"
        assert [row["column"] for row in outcome.failures] == ["status"]
        assert "private-clinic" not in json.dumps(outcome.to_json())
        clean = leakage_outcome(frame[["noise"]], labels, 0.99)
        assert clean is not None and clean.status == "pass" and clean.failures == ()

    def test_too_few_rows_or_one_class_say_nothing(self, labels: np.ndarray) -> None:
        frame = pd.DataFrame({"x": labels})
        assert leakage_outcome(frame.head(99), labels[:99], 0.99) is None
        assert leakage_outcome(frame, np.zeros(self.ROWS, np.int8), 0.99) is None


class TestSplitOverlap:
    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "row_id": [f"{number:064x}" for number in range(6)],
                "source": ["a"] * 6,
                "group": ["g", "g", "", "", "h", "h"],
                "split": ["train", "train", "train", "test", "test", "test"],
                "text": [f"text number {number}" for number in range(6)],
            }
        )

    def test_nothing_shared_passes(self) -> None:
        outcome = split_overlap_outcome(self.frame(), ["text"], None, 0.2)
        assert outcome.status == "pass"
        assert (outcome.numbers["rows"], outcome.numbers["groups"]) == (0, 0)

    def test_a_shared_row_or_group_fails_with_its_rows(self) -> None:
        frame = self.frame()
        frame.loc[3, "row_id"] = frame.loc[0, "row_id"]
        outcome = split_overlap_outcome(frame, [], None, 0.2)
        assert (outcome.status, outcome.numbers["rows"], outcome.example_rows) == ("fail", 2, (0, 3))
        frame = self.frame()
        frame.loc[5, "group"] = "g"
        outcome = split_overlap_outcome(frame, [], None, 0.2)
        assert (outcome.status, outcome.numbers["groups"], outcome.example_rows) == ("fail", 1, (0, 1, 5))
        # The same group name in another source is another group.
        frame.loc[5, "source"] = "b"
        assert split_overlap_outcome(frame, [], None, 0.2).status == "pass"

    def test_equal_inputs_in_two_splits_fail_unless_they_are_left_out(self) -> None:
        frame = self.frame()
        trained, tested = (int(np.flatnonzero(frame["split"] == name)[0]) for name in ("train", "test"))
        frame.loc[tested, "text"] = frame.loc[trained, "text"]
        outcome = split_overlap_outcome(frame, [], None, 0.2)
        assert (outcome.status, outcome.numbers["rows_with_equal_inputs"]) == ("fail", 2)
        assert set(outcome.example_rows) == {trained, tested}
        for unused in ("left_out", "evaluation"):
            frame.loc[tested, "split"] = unused
            assert split_overlap_outcome(frame, [], None, 0.2).numbers["rows_with_equal_inputs"] == 0

    def test_near_repetitions_of_training_texts_warn_above_the_limit(self) -> None:
        found = NearDuplicates(6, np.arange(6), np.array([0, 1, 2, 0, 4, 4]))
        outcome = split_overlap_outcome(self.frame(), ["text"], found, 0.2)
        assert (outcome.status, outcome.numbers["near_duplicates"]) == ("warn", 1)
        assert split_overlap_outcome(self.frame(), ["text"], found, 0.5).status == "pass"
        masked = self.frame()
        masked.loc[4, "text"] = masked.loc[1, "text"]
        assert split_overlap_outcome(masked, ["text"], found, 0.9).numbers["near_duplicates"] == 2


class TestSourceOverlap:
    def test_shared_records_are_counted_for_every_pair(self) -> None:
        row_ids = pd.Series(["1", "2", "3", "1", "2", "9", "1", "1"])
        sources = pd.Series(["a", "a", "a", "b", "b", "b", "c", "a"])
        found = source_overlap(row_ids, sources)
        assert [(p["first"], p["second"], p["rows"], p["smaller"]) for p in found] == [
            ("a", "b", 2, 3),
            ("a", "c", 1, 1),
            ("b", "c", 1, 1),
        ]
        outcome = source_overlap_outcome(found, 3, 0.05)
        assert outcome is not None
        assert (outcome.status, outcome.numbers["worst_share"]) == ("warn", 1.0)

    def test_disjoint_sources_pass_and_one_source_says_nothing(self) -> None:
        assert source_overlap(pd.Series(["1", "2"]), pd.Series(["a", "b"])) == []
        outcome = source_overlap_outcome([], 2, 0.05)
        assert outcome is not None and outcome.status == "pass"
        assert source_overlap_outcome([], 1, 0.05) is None


class TestDistribution:
    def frame(self, rows: int, seed: int, shift: float = 0.0, positives: float = 0.5) -> pd.DataFrame:
        generator = np.random.default_rng(seed)
        return pd.DataFrame(
            {
                "amount": generator.normal(size=rows) + shift,
                "colour": pd.Series(generator.choice(["red", "green"], rows), dtype="str"),
                "_label": (generator.random(rows) < positives).astype(np.int8),
                "_file": "rows.csv",
            }
        )

    def test_equal_distributions_pass_at_every_size(self) -> None:
        for seed in range(20):
            for rows in (60, 250):
                outcome = distribution_outcome(self.frame(2000, seed), self.frame(rows, seed + 100), LIMITS)
                assert outcome is not None
                assert outcome.undecided is (rows < LIMITS.minimum_rows), (rows, seed, outcome.message)
                assert outcome.status == ("warn" if outcome.undecided else "pass")

    def test_a_shifted_column_and_a_shifted_label_are_named(self) -> None:
        outcome = distribution_outcome(self.frame(2000, 1), self.frame(2000, 2, shift=1.0), LIMITS)
        assert outcome is not None
        assert (outcome.status, [row["column"] for row in outcome.failures]) == ("warn", ["amount"])
        outcome = distribution_outcome(self.frame(2000, 1), self.frame(2000, 2, positives=0.05), LIMITS)
        assert outcome is not None
        assert [row["column"] for row in outcome.failures] == ["label"]
        assert outcome.numbers["label_changed"] == 1

    def test_what_could_not_tell_says_nothing_of_since_when(self, tmp_path: Path) -> None:
        history = ValidationHistory(tmp_path)
        first, later = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 8, tzinfo=UTC)
        undecided = distribution_outcome(self.frame(2000, 1), self.frame(50, 2), LIMITS)
        changed = distribution_outcome(self.frame(2000, 1), self.frame(2000, 2, shift=1.0), LIMITS)
        assert undecided is not None and changed is not None
        assert history.dated("raw", "a", [undecided], first)[0].failing_since == ""
        (since,) = [one.failing_since for one in history.dated("raw", "a", [changed], first)]
        history.dated("raw", "a", [undecided], later)
        assert history.dated("raw", "a", [changed], later)[0].failing_since == since != ""

    def test_too_few_rows_say_so_and_nothing_in_common_says_nothing(self) -> None:
        outcome = distribution_outcome(self.frame(2000, 1), self.frame(50, 2, shift=3.0), LIMITS)
        assert outcome is not None
        assert (outcome.status, outcome.undecided) == ("warn", True)
        assert not stopping([outcome], "delivered", ["distribution"])
        assert enforced([outcome], "delivered", ["distribution"]) == (outcome,)
        assert "not certain" in outcome.message and "50 rows; at least 200" in outcome.message
        assert distribution_outcome(self.frame(0, 1), self.frame(9, 1), LIMITS) is None
        assert distribution_outcome(pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]}), LIMITS) is None


class TestLabelErrors:
    def flipped(self, rows: int = 3000) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
        generator = np.random.default_rng(5)
        truth = generator.random(rows) < 0.4
        flip = generator.random(rows) < 0.04
        frame = pd.DataFrame(
            {
                "x": truth * 4.0 + generator.normal(size=rows),
                "kind": pd.Series(np.where(truth, "odd", "even"), dtype="str"),
            }
        )
        return frame, (truth ^ flip).astype(np.int8), flip

    def test_flipped_labels_of_records_are_found(self) -> None:
        frame, labels, flip = self.flipped()
        found = find_label_errors(frame, labels, pd.Series("", index=frame.index), "records")
        assert found is not None
        assert flip[found.suspects].mean() > 0.9
        assert len(found.suspects) > 0.7 * flip.sum()
        outcome = label_errors_outcome(found, 0.02)
        assert outcome.status == "warn"
        assert abs(float(outcome.numbers["share"]) - 0.04) < 0.015
        assert all(flip[list(outcome.example_rows)])

    @pytest.mark.parametrize("kind", ["text", "sequence"])
    def test_flipped_labels_of_texts_and_sequences_are_found(self, kind: str) -> None:
        generator = np.random.default_rng(6)
        truth = generator.random(1500) < 0.5
        flip = generator.random(1500) < 0.04
        vocabulary = np.array([f"w{number}" for number in range(60)])
        texts = [" ".join(generator.choice(vocabulary[30:] if bad else vocabulary[:35], 12)) for bad in truth]
        labels = (truth ^ flip).astype(np.int8)
        frame = pd.DataFrame({"text": pd.Series(texts, dtype="str")})
        found = find_label_errors(frame, labels, pd.Series("", index=frame.index), kind)  # type: ignore[arg-type]
        assert found is not None
        assert flip[found.suspects].mean() > 0.9

    def test_the_same_rows_give_the_same_answer(self) -> None:
        frame, labels, _ = self.flipped()
        groups = pd.Series([f"g{number % 50}" for number in range(len(frame))])
        first, second = (find_label_errors(frame, labels, groups, "records") for _ in range(2))
        assert first is not None and second is not None
        assert first.suspects.tolist() == second.suspects.tolist()

    def test_all_rows_are_judged_also_where_models_are_fitted_on_some(self, monkeypatch: pytest.MonkeyPatch) -> None:
        frame, labels, flip = self.flipped(12_000)
        fitted: list[int] = []

        def model(kind: str, made: Callable[[str], Any] = label_errors._model) -> Any:
            found = made(kind)
            fit = found.fit
            found.fit = lambda rows, given: fitted.append(len(rows)) or fit(rows, given)
            return found

        monkeypatch.setattr(label_errors, "FITTED_ROWS", 1000)
        monkeypatch.setattr(label_errors, "_model", model)
        found = find_label_errors(frame, labels, pd.Series("", index=frame.index), "records")
        assert found is not None and found.rows == 12_000
        assert len(fitted) == 3 and all(900 <= rows <= 1000 for rows in fitted)
        assert flip[found.suspects].mean() > 0.9
        assert len(found.suspects) > 0.7 * flip.sum()
        # Suspects come from everywhere, not from every n-th row.
        assert {len(set(found.suspects % step)) for step in (2, 3, 5, 12)} == {2, 3, 5, 12}
        outcome = label_errors_outcome(found, 0.02)
        assert f"about {found.estimated} of 12000 labels" in outcome.message
        assert outcome.numbers["compared"] == 12_000

    @settings(max_examples=200, deadline=None)
    # Half a row to be rounded.
    @example(seed=65_535, rows=30, shape=(0.1484375, 0.25), noise=0.0, digits=None, positives=None)
    @given(
        seed=st.integers(0, 100_000),
        rows=st.integers(4, 400),
        shape=st.tuples(st.floats(0.05, 3.0), st.floats(0.05, 3.0)),
        noise=st.sampled_from([0.0, 0.03, 0.2, 0.5]),
        digits=st.sampled_from([None, 2, 1, 0]),
        positives=st.one_of(st.none(), st.floats(0.01, 0.3)),
    )
    def test_the_findings_are_those_of_cleanlab(
        self,
        seed: int,
        rows: int,
        shape: tuple[float, float],
        noise: float,
        digits: int | None,
        positives: float | None,
    ) -> None:
        from cleanlab.count import num_label_issues
        from cleanlab.filter import find_label_issues

        generator = np.random.default_rng(seed)
        probabilities = generator.beta(*shape, rows)
        if digits is not None:
            probabilities = probabilities.round(digits)
        told = generator.random(rows) < (probabilities if positives is None else positives)
        labels = (told ^ (generator.random(rows) < noise)).astype(np.int64)
        labels[:4] = [0, 0, 1, 1]
        both = np.column_stack([1 - probabilities, probabilities])
        expected = find_label_issues(labels, both, return_indices_ranked_by="self_confidence", n_jobs=1)
        suspects, estimated = label_errors.confident_learning(labels, probabilities)
        assert estimated == num_label_issues(labels, both)
        own = both[np.arange(rows), labels]
        # Of rows that are equally doubtful cleanlab takes and shows any.
        assert [(own[row], labels[row]) for row in sorted(suspects, key=lambda row: (own[row], labels[row]))] == [
            (own[row], labels[row]) for row in sorted(expected, key=lambda row: (own[row], labels[row]))
        ]
        assert np.all(np.diff(own[suspects]) >= 0)
        if len(np.unique(own)) == rows:
            assert suspects.tolist() == expected.tolist()

    def test_only_rows_that_can_be_suspects_are_given_to_cleanlab(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import cleanlab.filter

        given_to_it: list[int] = []

        def find(
            labels: Any, *rest: Any, whole: Callable[..., Any] = cleanlab.filter.find_label_issues, **how: Any
        ) -> Any:
            given_to_it.append(len(labels))
            return whole(labels, *rest, **how)

        monkeypatch.setattr(cleanlab.filter, "find_label_issues", find)
        frame, labels, _ = self.flipped(3000)
        found = find_label_errors(frame, labels, pd.Series("", index=frame.index), "records")
        assert found is not None and len(found.suspects) > 50
        assert given_to_it[0] < 600

    def test_too_few_rows_of_a_class_say_nothing(self) -> None:
        frame, labels, _ = self.flipped()
        groups = pd.Series("", index=frame.index)
        assert find_label_errors(frame.head(150), labels[:150], groups.head(150), "records") is None
        rare = np.zeros(len(frame), np.int8)
        rare[:10] = 1
        assert find_label_errors(frame, rare, groups, "records") is None


class TestPersonalData:
    def test_repeated_values_count_as_often_as_they_occur(self) -> None:
        frame = pd.DataFrame({"note": pd.Series(["plain", f"mail {SECRET}", None, f"mail {SECRET}"], dtype="str")})
        outcome = personal_data_outcome(frame, {"note": Reading.PROSE}, rules())
        assert outcome.status == "warn"
        assert outcome.numbers["findings"] == 2
        assert outcome.example_rows == (1, 3)
        (row,) = outcome.failures
        assert (row["column"], row["rows"], row["share"]) == ("note", 2, 0.5)
        assert "private-clinic" not in json.dumps(outcome.to_json())

    def test_plain_text_and_mixed_objects_pass(self) -> None:
        frame = pd.DataFrame({"a": pd.Series(["x", 3, None, [1]], dtype="object")})
        assert personal_data_outcome(frame, {"a": Reading.VALUES}, rules()).status == "pass"
        assert personal_data_outcome(frame, {}, rules()).numbers["findings"] == 0


def test_every_outcome_round_trips_and_is_declared() -> None:
    outcome = CheckOutcome("licence", "warn", "m", {"rows": 1}, ({"column": "a"},), (3, 4), "2026-01-01T00:00:00+00:00")
    assert CheckOutcome.from_json(json.loads(json.dumps(outcome.to_json()))) == outcome
    for kind in CHECKS.values():
        assert kind.description.endswith(".")
        assert kind.advice
        assert kind.subjects
