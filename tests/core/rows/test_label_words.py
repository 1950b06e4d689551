"""Label values in messages: the usual words, and never what somebody wrote."""

from __future__ import annotations

import pytest

from nethical_assets.core.rows.label_words import says_negative, says_positive, shown_values
from nethical_assets.core.rows.naming import looks_like_data, looks_like_name, shown_column, shown_columns


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([], "no values"),
        (["0", "1"], "'0', '1'"),
        (["Spam", "ham"], "'Spam', 'ham'"),
        (["anna.berg@example.org", "call 212-555-0134 bert"], "2 values"),
        (["-1", "Anna"], "'-1' and 1 other value"),
        (["078051120", "yes"], "'yes' and 1 other value"),
        ([str(number) for number in range(60)], "60 values"),
    ],
)
def test_only_usual_words_and_single_digits_are_shown(values: list[str], shown: str) -> None:
    assert shown_values(values) == shown


def test_no_word_says_both() -> None:
    for word in ("spam", "ham", "true", "ethical", "unethical", "TRUE", "0", "1"):
        assert says_positive(word) != says_negative(word)


@pytest.mark.parametrize("name", ["text", "Severity Level", "données", "文本", "dst_host_count", "12", "pH (5.0)"])
def test_what_looks_like_a_name_is_shown(name: str) -> None:
    assert looks_like_name(name) and not looks_like_data(name)
    assert shown_column(name, 3) == repr(name)
    assert shown_columns([name]) == name


@pytest.mark.parametrize(
    "name",
    [
        "anna@example.org",
        "4111 1111 1111 1111",
        "call 212-555-0134 now",
        "078051120",
        "my name is Anna and I live there",
    ],
)
def test_what_looks_like_data_is_counted(name: str) -> None:
    assert not looks_like_name(name)
    assert shown_column(name, 3) == "column 3"
    assert name not in shown_columns(["text", name])


@pytest.mark.parametrize("name", ["mail anna@example.org", "4111 1111 1111 1111", "word " * 50])
def test_a_header_of_data_is_recognised(name: str) -> None:
    assert looks_like_data(name)
    assert not looks_like_data("What is your age?")
