from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nethical_assets.core.drift.tables import compare_tables
from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.reading.tables import read_records, write_records
from nethical_assets.core.rows.labels import FILE_COLUMN

OPTIONS = {"threshold": 0.15, "alpha": 0.01, "minimum_rows": 50}


def table(rows, seed, **changes):
    random = np.random.default_rng(seed)
    columns = {
        "amount": random.normal(size=rows),
        "protocol": random.choice(["tcp", "udp", "icmp"], p=[0.7, 0.2, 0.1], size=rows),
        "port": random.zipf(1.6, size=rows) % 1000,
        "message": [f"message {n} " + "x" * int(n) for n in random.integers(0, 90, size=rows) + np.arange(rows) / 1e6],
        "seen": pd.date_range("2026-01-01", periods=rows, freq="min"),
    }
    return pd.DataFrame(columns | changes)


def drifted(report):
    return {column.name for column in report.columns if column.drifted}


def test_equal_distributions_are_stable():
    found = [compare_tables(table(2000, seed), table(400, seed + 100), **OPTIONS).verdict for seed in range(15)]
    assert found == ["stable"] * 15


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("amount", np.linspace(2, 3, 400)),
        ("amount", np.full(400, np.nan)),
        ("amount", ["n/a"] * 400),
        ("protocol", ["udp"] * 400),
        ("protocol", ["quic"] * 400),
        ("protocol", [None] * 400),
        ("port", np.zeros(400)),
        ("message", [f"{n}" for n in range(400)]),
    ],
)
def test_a_changed_column_of_any_type_is_found(name, values):
    report = compare_tables(table(2000, 0), table(400, 1, **{name: values}), **OPTIONS)
    assert report.verdict == "drift" and drifted(report) == {name}


def test_moments_and_missing_columns_are_named_not_compared():
    report = compare_tables(table(300, 0), table(300, 1).drop(columns="port").assign(extra=1), **OPTIONS)
    assert report.not_compared == (
        "port: not in the window",
        "seen: a moment in time",
        "extra: not in the reference",
    )
    text = report.to_markdown()
    assert "Not compared: seen: a moment in time." in text and "Not compared: port" not in text
    assert "Column port: not in the window, so whether it changed is not known." in text


def both_ways(reference, window):
    """The reports of two tables and of the same tables exchanged."""
    return [compare_tables(*pair, **OPTIONS) for pair in ((reference, window), (window, reference))]


def through(frame, path):
    """A table as it comes back from a file."""
    write_records(frame, path)
    return read_records(path).drop(columns=FILE_COLUMN)


YES_AND_NO = [
    (1, 0),
    (1.0, 0.0),
    (True, False),
    ("1", "0"),
    ("True", "False"),
    ("true", "false"),
    ("TRUE", "FALSE"),
    ("t", "f"),
    ("yes", "no"),
    ("Yes ", " No"),
    ("Y", "N"),
    ("on", "off"),
    ("ON", "Off"),
]


def flags(spelling, rows=400, share=0.3, seed=0):
    chosen = np.random.default_rng(seed).random(rows) < share
    return pd.DataFrame({"flag": [spelling[0] if flag else spelling[1] for flag in chosen]})


@pytest.mark.parametrize("spelling", YES_AND_NO, ids=str)
@pytest.mark.parametrize("other", [(1, 0), (True, False), ("yes", "no")], ids=str)
def test_flags_mean_the_same_however_they_are_spelled(spelling, other):
    for report in both_ways(flags(spelling), flags(other)):
        assert report.verdict == "stable" and report.columns[0].effect == 0.0
    for report in both_ways(flags(spelling), flags(other, share=0.8, seed=1)):
        assert report.verdict == "drift"


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
@pytest.mark.parametrize("other", [".csv", ".parquet", ".jsonl"])
def test_flags_mean_the_same_whatever_file_holds_them(tmp_path, suffix, other):
    first = through(flags((True, False)).assign(x=1), tmp_path / f"a{suffix}")
    for spelling in ((1, 0), ("yes", "no"), ("True", "False")):
        second = through(flags(spelling).assign(x=1), tmp_path / f"b{other}")
        assert {report.verdict for report in both_ways(first, second)} == {"stable"}


def test_flags_of_mixed_types_and_with_gaps():
    mixed = flags(("yes", "no")).astype("object")
    mixed.loc[:99, "flag"] = [1 if value == "yes" else 0 for value in mixed["flag"][:100]]
    mixed.loc[100:199, "flag"] = [value == "yes" for value in mixed["flag"][100:200]]
    mixed.loc[[5, 50], "flag"] = ["?", None]
    for report in both_ways(mixed, flags((1, 0))):
        assert report.verdict == "stable"
        assert len(report.notes) == 1 and "1 of 399 " in report.notes[0]


@pytest.mark.parametrize("other", [(1, 2), (-1, 1.5), ("ja", "nein"), ("active", "inactive")], ids=str)
def test_a_flag_and_two_other_values_are_named_as_not_comparable(other):
    for report in both_ways(flags((True, False)).assign(x=1), flags(other).assign(x=1)):
        assert report.verdict == "needs_more_data"
        assert report.not_compared == ("flag: a flag in one table, two other values in the other",)
        assert "Column flag: a flag in one table" in report.to_markdown()


def test_numbers_and_texts_that_only_look_like_flags_are_still_compared():
    for first, second in (((0, 0), (5, 5)), ((0, 1), (2, 3)), (("F", "M"), ("F", "F")), (("no", "se"), ("no", "no"))):
        for report in both_ways(flags(first), flags(second)):
            assert report.verdict == "drift"


MOMENTS = {
    "day": "%Y-%m-%d",
    "slashes": "%Y/%m/%d",
    "day first": "%d.%m.%Y",
    "month first": "%m/%d/%Y",
    "two digits": "%m/%d/%y",
    "compact": "%Y%m%d",
    "month only": "%Y-%m",
    "named month": "%d %b %Y",
    "long": "%B %d, %Y",
    "hyphens": "%d-%b-%y",
    "minutes": "%Y-%m-%d %H:%M",
    "seconds": "%Y-%m-%d %H:%M:%S",
    "fractions": "%Y-%m-%dT%H:%M:%S.%f",
    "zulu": "%Y-%m-%dT%H:%M:%SZ",
    "offset": "%Y-%m-%dT%H:%M:%S+02:00",
    "offset of python": "%Y-%m-%d %H:%M:%S+0000",
    "zone": "%Y-%m-%d %H:%M:%S UTC",
    "half day": "%m/%d/%Y %I:%M:%S %p",
    "basic": "%Y%m%dT%H%M%SZ",
    "mail": "%a, %d %b %Y %H:%M:%S +0000",
    "log": "%d/%b/%Y:%H:%M:%S +0000",
    "brackets": "[%d/%b/%Y:%H:%M:%S +0000]",
    "syslog": "%b %d %H:%M:%S",
    "c": "%a %b %d %H:%M:%S %Y",
}


def week(start, form, rows=400, seed=0):
    generator = np.random.default_rng(seed)
    minutes = pd.Series(generator.integers(0, 7 * 24 * 60, rows), dtype="int64")
    moments = pd.Timestamp(start) + pd.to_timedelta(minutes, unit="min")
    return pd.DataFrame({"when": form(moments), "x": generator.normal(size=rows)})


@pytest.mark.parametrize("form", MOMENTS.values(), ids=list(MOMENTS))
def test_moments_in_any_form_are_not_compared(tmp_path, form):
    one, other = (
        week(day, lambda moments: moments.dt.strftime(form), seed=seed)
        for seed, day in enumerate(("2026-01-05", "2026-03-12"))
    )
    other.loc[3, "when"] = None
    other.loc[7, "when"] = "?"
    typed = week("2026-03-12", lambda moments: moments, seed=1)
    read = through(one, tmp_path / "a.csv"), through(other, tmp_path / "b.csv")
    for report in (*both_ways(*read), *both_ways(one, typed)):
        assert report.not_compared == ("when: a moment in time",)
        assert report.verdict == "stable" and [column.name for column in report.columns] == ["x"]


TYPES = {
    "moments": lambda moments: moments,
    "moments with zone": lambda moments: moments.dt.tz_localize("Europe/Berlin"),
    "days": lambda moments: moments.dt.date,
}


@pytest.mark.parametrize("form", TYPES.values(), ids=list(TYPES))
@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_moments_of_any_type_are_not_compared(tmp_path, form, suffix):
    files = [tmp_path / f"{name}{suffix}" for name in "ab"]
    tables = [through(week(day, form, seed=seed), files[seed]) for seed, day in enumerate(("2026-01-05", "2026-03-12"))]
    for report in both_ways(*tables):
        assert report.verdict == "stable" and report.not_compared == ("when: a moment in time",)


def test_tables_of_nothing_but_moments_are_no_verdict():
    for report in both_ways(table(300, 0)[["seen"]], table(300, 1)[["seen"]]):
        assert report.verdict == "needs_more_data" and report.reasons == ("No column could be compared.",)


@pytest.mark.parametrize(
    "values",
    [
        [f"{n % 7}.{n % 10}.{n % 3}" for n in range(400)],
        [f"{10000000 + n * 7919}" for n in range(400)],
        [f"10.0.{n % 4}.{n % 7}" for n in range(400)],
        [f"may {n % 5}" for n in range(400)],
        [2026 - n % 9 for n in range(400)],
    ],
)
def test_versions_numbers_addresses_and_years_are_no_moments(values):
    (report, _) = both_ways(pd.DataFrame({"x": values}), pd.DataFrame({"x": values}))
    assert report.not_compared == () and report.verdict == "stable"


@pytest.mark.parametrize("words", [["?"], ["n/a", "unknown"], ["-"] * 60, ["oops", "see note", "?", "void"]], ids=len)
@pytest.mark.parametrize("few", [True, False])
def test_stray_words_leave_a_column_of_numbers_one(tmp_path, words, few):
    generator = np.random.default_rng(3)
    ages = generator.integers(18, 27 if few else 90, (2, 500))
    one = pd.DataFrame({"age": ages[0].astype(str), "x": 1})
    one.loc[: len(words) - 1, "age"] = words
    other = pd.DataFrame({"age": np.where(np.arange(500) < len(words), np.nan, ages[1]), "x": 1})
    pairs = [(one, other)]
    pairs.append(tuple(through(frame, tmp_path / f"{n}.csv") for n, frame in enumerate((one, other))))
    for pair in pairs:
        for report in both_ways(*pair):
            assert report.verdict == "stable"
            (note,) = report.notes
            assert "Column age holds numbers" in note and f"{len(words)} of 500 " in note
            assert not any(word in note for word in ("oops", "unknown", "see note"))
    for report in both_ways(one, other.assign(age=other["age"] + 30)):
        assert drifted(report) == {"age"}


def test_numbers_among_many_words_are_compared_by_value():
    codes = np.random.default_rng(0).choice(["A", "B", "12", "7"], 400)
    floats = np.where(codes == "12", "12.0", np.where(codes == "7", "7.00", codes))
    for report in both_ways(pd.DataFrame({"code": codes}), pd.DataFrame({"code": floats})):
        assert report.verdict == "stable" and report.columns[0].effect == 0.0 and report.notes == ()


def test_identifiers_with_leading_zeros_stay_texts():
    zips = np.random.default_rng(0).choice(["01067", "1067", "80331"], 400, p=[0.1, 0.45, 0.45])
    for report in both_ways(
        pd.DataFrame({"zip": zips}), pd.DataFrame({"zip": np.where(zips == "1067", "01067", zips)})
    ):
        assert report.verdict == "drift"


LOSSES = {
    "renamed": lambda frame: frame.rename(columns={"amount": "Amount"}),
    "dropped": lambda frame: frame.drop(columns="amount"),
    "all missing": lambda frame: frame.assign(amount=np.nan),
    "all none": lambda frame: frame.assign(amount=pd.Series([None] * len(frame), dtype="str")),
    "all blank": lambda frame: frame.assign(amount=" "),
    "all not a number": lambda frame: frame.assign(amount="n/a"),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
@pytest.mark.parametrize("column", ["amount", "seen", "protocol"])
def test_a_lost_column_is_named_and_never_stable(loss, column):
    names = {"amount": column, column: "amount"}
    first, second = table(400, 0), table(400, 1).rename(columns=names)
    for report in both_ways(first, loss(second).rename(columns={column: "amount", "amount": column})):
        assert report.verdict in ("needs_more_data", "drift")
        assert column in " ".join(report.reasons) and column in report.to_markdown()


def test_a_table_that_kept_no_column_is_no_verdict():
    for report in both_ways(table(300, 0)[["amount"]], table(300, 1)[["port"]]):
        assert report.verdict == "needs_more_data"
        assert "amount" in report.to_markdown() and "port" in report.to_markdown()


def test_a_lost_column_that_hardly_had_values_is_no_loss():
    rare = pd.DataFrame({"x": np.where(np.arange(400) < 2, 1.0, np.nan), "y": 1.0})
    for report in both_ways(rare, rare[300:]):
        assert report.verdict == "stable"
    for report in both_ways(rare, pd.concat([rare[300:]] * 40)):
        assert report.verdict == "needs_more_data"
    for report in both_ways(rare.assign(x=None), rare.assign(x=np.nan)):
        assert report.verdict == "stable" and report.not_compared == ("x: no values in either table",)


VALUES = {
    "constant": [2.0],
    "flag": [0, 1],
    "rates": [0.1, 0.25, 0.5, 1.0],
    "prices": [19.99, 129.0, 4999.5],
    "steps": np.arange(1, 21) / 4,
    "skewed": [0.0] * 30 + list(np.arange(1, 40) * 1.5),
    "negative": [-3.25, -1.0, 2.5],
}


@pytest.mark.parametrize("values", VALUES.values(), ids=list(VALUES))
@pytest.mark.parametrize("error", [1e-6, -3e-7])
def test_values_that_agree_in_six_digits_are_the_same(values, error):
    generator = np.random.default_rng(0)
    one = generator.choice(values, 600)
    noisy = one + error * np.where(generator.random(600) < 0.5, 1.0, 0.3) * np.where(one == 0, 0, 1)
    for other in (one * (1 + error), one + np.sign(one) * error, noisy):
        for report in both_ways(pd.DataFrame({"rate": one}), pd.DataFrame({"rate": other})):
            assert report.verdict == "stable" and report.columns[0].effect == 0.0


@pytest.mark.parametrize("values", VALUES.values(), ids=list(VALUES))
def test_values_that_differ_in_three_digits_are_not(values):
    one = np.random.default_rng(0).choice(values, 600)
    moved = np.where(one == values[0], one + 0.002 + 0.002 * abs(one), one)
    if len(set(np.asarray(values).tolist())) <= 10:
        for report in both_ways(pd.DataFrame({"rate": one}), pd.DataFrame({"rate": moved})):
            assert report.verdict == "drift"


def test_large_whole_numbers_are_not_rounded():
    codes = np.random.default_rng(0).choice([70000001, 70000002, 70000003], 400)
    for report in both_ways(
        pd.DataFrame({"code": codes}), pd.DataFrame({"code": np.where(codes == 70000001, 70000002, codes)})
    ):
        assert report.verdict == "drift"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["numbers", "texts", "flags", "outliers"])
@pytest.mark.parametrize("share", [1.0, 0.999])
def test_columns_of_nearly_one_value_alarm_only_when_they_change(kind, share):
    usual, other = {"numbers": (0.0, 7.5), "texts": ("a", "b"), "flags": (False, True), "outliers": (3.0, None)}[kind]

    def column(rows, share, seed):
        generator = np.random.default_rng(seed)
        rare = generator.random(rows) >= share
        values = [(generator.normal() * 50 if other is None else other) if odd else usual for odd in rare]
        return pd.DataFrame({"value": values, "x": generator.normal(size=rows)})

    for seed in range(4):
        for rows in (60, 400, 4000):
            for report in both_ways(column(3000, share, seed), column(rows, share, seed + 50)):
                assert report.verdict == "stable"
    for report in both_ways(column(3000, share, 0), column(400, 0.7, 1)):
        assert drifted(report) == {"value"}
    if kind in ("numbers", "outliers"):
        for changed in (-1.0, 1.0, 2.99, 1e6):
            for report in both_ways(column(3000, share, 0), column(400, 1.0, 1).assign(value=changed)):
                assert drifted(report) == {"value"}


def test_values_never_reach_the_report():
    report = compare_tables(table(300, 0), table(300, 1, protocol=["secret-value"] * 300), **OPTIONS)
    text = str(report.to_json()) + report.to_markdown()
    assert "secret-value" not in text and "message 1" not in text


def test_bad_input_is_one_line():
    good = table(100, 0)
    with pytest.raises(DatasetError, match="column 'nope' is not in the reference table"):
        compare_tables(good, good, columns=["nope"], **OPTIONS)
    with pytest.raises(DatasetError, match="window table has no rows"):
        compare_tables(good, good[:0], **OPTIONS)


def test_a_table_survives_its_file_formats(tmp_path):
    frame = table(200, 0).drop(columns="seen")
    paths = [tmp_path / name for name in ("t.csv", "t.parquet", "t.jsonl")]
    for path in paths:
        write_records(frame, path)
    first, *others = (read_records(path).drop(columns=FILE_COLUMN) for path in paths)
    for other in others:
        report = compare_tables(first, other, **OPTIONS)
        assert len(report.columns) == 4 and {column.effect for column in report.columns} == {0.0}


def _written(values, decimal, group):
    plain = [f"{value:,.2f}" for value in values]
    return [text.replace(",", "_").replace(".", decimal).replace("_", group) for text in plain]


@pytest.mark.parametrize(
    ("decimal", "group"), [(".", ","), (",", "."), (".", " "), (",", "\u202f"), (".", "'"), (",", "")]
)
def test_numbers_with_separators_are_the_numbers_they_are(decimal, group):
    random = np.random.default_rng(4)
    values = random.lognormal(9, 3, size=2000)
    reference = pd.DataFrame({"amount": values[:1000]})
    same = pd.DataFrame({"amount": _written(values[1000:], decimal, group)})
    report = compare_tables(reference, same, **OPTIONS)
    assert (report.verdict, report.not_compared, report.notes) == ("stable", (), ())
    other = pd.DataFrame({"amount": _written(values[1000:] * 50, decimal, group)})
    assert drifted(compare_tables(reference, other, **OPTIONS)) == {"amount"}
    assert drifted(compare_tables(other, reference, **OPTIONS)) == {"amount"}


def test_numbers_that_may_be_one_or_a_thousand_are_not_compared_with_plain_ones():
    values = np.random.default_rng(5).integers(1000, 9999, size=800)
    plain, separated = pd.DataFrame({"n": values[:400]}), pd.DataFrame({"n": [f"{value:,}" for value in values[400:]]})
    for tables in ((plain, separated), (separated, plain)):
        report = compare_tables(*tables, **OPTIONS)
        assert report.verdict == "needs_more_data" and "which may be 1 or 1000" in report.not_compared[0]
    again = pd.DataFrame({"n": [f"{value:,}" for value in values[:400]]})
    assert compare_tables(separated, again, **OPTIONS).verdict == "stable", "both are written in the same way"
    assert drifted(compare_tables(separated, again.assign(n=[f"{value * 9:,}" for value in values[:400]]), **OPTIONS))


@pytest.mark.parametrize("name", ["timestamp", "createdAt", "ts", "event_time"])
@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
@pytest.mark.parametrize("kind", ["int64", "float64", "str"])
def test_seconds_since_1970_are_moments(name, unit, kind):
    moments = (1_700_000_000 + 3600 * np.arange(800)) * unit
    tables = [pd.DataFrame({name: part, "x": 1}).astype({name: kind}) for part in (moments[:400], moments[400:])]
    report = compare_tables(*tables, **OPTIONS)
    assert (report.verdict, report.not_compared) == ("stable", (f"{name}: a moment in time",))
    renamed = [table.rename(columns={name: "account"}) for table in tables]
    assert drifted(compare_tables(*renamed, **OPTIONS)) == {"account"}, "nothing says that these are moments"


def test_whole_numbers_are_exact_where_they_are_written_as_such():
    rounded = [pd.DataFrame({"n": np.full(400, number)}) for number in (1e6, 1e6 + 1)]
    assert compare_tables(*rounded, **OPTIONS).verdict == "stable"
    assert drifted(compare_tables(*(table.astype("int64") for table in rounded), **OPTIONS)) == {"n"}
    assert drifted(compare_tables(rounded[0], rounded[1].astype("int64"), **OPTIONS)) == {"n"}
    assert drifted(compare_tables(rounded[0], rounded[0] + 1000, **OPTIONS)) == {"n"}, "more than a rounding"
