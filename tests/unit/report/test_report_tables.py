"""Tables in every style, and sentences that claim no more than the numbers hold."""

from __future__ import annotations

import csv
import io

import pytest

from hepdl.errors import ConfigError
from hepdl.report.layout import render_table
from hepdl.report.numbers import decimals_of, whole, with_error, with_interval
from hepdl.report.sentences import describe_comparison, headline
from hepdl.report.tables import (
    accounting_table,
    comparison_columns,
    comparison_table,
    difference_table,
    splits_table,
)

METRICS = {
    "models": {
        "recnn_gated": {
            "auc": {"value": 0.8801, "low": 0.8789, "high": 0.8813},
            "background_rejection": {"0.5": {"value": None, "low": 310.0, "high": None}},
            "expected_calibration_error": {"value": 0.021, "low": 0.018, "high": 0.0251},
            "dependence": {"jsd": {"value": 0.052, "low": 0.048, "high": 0.056}},
            "dependence_on": {"jet_mass": {}},
            "n_parameters": 48761,
            "fit_seconds": 61.27,
            "events_per_second": 2310.4,
            "seeds": {"0": {}, "1": {}, "2": {}},
            "window": {
                "selection": "50 < m < 110",
                "auc": {"value": 0.8, "low": 0.79, "high": 0.81},
            },
        },
        "<b>&": {
            "auc": {"value": 0.872, "low": 0.871, "high": 0.8734},
            "background_rejection": {"0.5": {"value": 21.04, "low": 19.9, "high": 22.2}},
            "seeds": {"0": {}},
        },
    },
    "data": {
        "accounting": {"read": 20412, "rejected": {"jet_pt": 300}, "selected": 20112},
        "accounting_by_process": {
            "w": {"read": 10200, "rejected": {"jet_pt": 100}, "selected": 10100},
            "qcd": {"read": 10212, "rejected": {"jet_pt": 200}, "selected": 10012},
        },
        "splits": {"train": {"signal": 5012, "background": 4988}, "test": {"signal": 3}},
    },
}


def comparison(**changes):
    entry = {
        "a": "recnn_gated",
        "b": "boosted_trees",
        "metric": "auc",
        "value": 0.0081,
        "error": 0.0012,
        "bootstrap_error": 0.0008,
        "seed_error": 0.0009,
        "n_seeds": 3,
        "significance": 6.75,
        "selection": "all",
        "n_entries": 4021,
    }
    return {**entry, **changes}


def plain(text: str) -> str:
    """Return text as it looks, in letters that a keyboard has."""
    letters = {"\N{NARROW NO-BREAK SPACE}": " ", "\N{MINUS SIGN}": "-", "\N{EN DASH}": "-"}
    return text.translate(str.maketrans(letters))


def test_text_table_is_aligned():
    lines = plain(comparison_table(METRICS)).splitlines()
    assert lines[0] == "All test entries; errors are 68 % intervals."
    assert lines[1].split("  ")[0] == "model"
    assert lines[3].startswith("recnn_gated      48 761         10 000         0.8801 ± 0.0012")
    assert lines[3].endswith("61.3      2 310      3")
    assert "> 310" in lines[3]
    assert "0.8720 +0.0014 -0.0010" in lines[4]
    assert len({len(line) for line in lines[1:]}) == 1


def test_markdown_table():
    assert plain(comparison_table(METRICS, style="markdown", selection="window")) == (
        "Test entries with 50 \\< m \\< 110; errors are 68 % intervals.\n\n"
        "| model | parameters | train entries | AUC |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| recnn\\_gated | 48 761 | 10 000 | 0.800 ± 0.010 |\n"
        "| \\<b>& | - | 10 000 | - |"
    )


def test_latex_table():
    text = comparison_table(METRICS, style="latex")
    assert r"recnn\_gated & 48\,761 & 10\,000 & $0.8801 \pm 0.0012$ & $> 310$ &" in text
    assert r"\textless{}b\textgreater{}\& & -- & 10\,000 & $0.8720^{+0.0014}_{-0.0010}$" in text
    assert r"$1/\varepsilon_B$ at 0.5" in text
    assert text.splitlines()[1] == r"\begin{tabular}{lrrrrrrrr r}".replace(" ", "")
    assert text.endswith("\\bottomrule\n\\end{tabular}")


def test_csv_holds_unrounded_numbers_one_a_column():
    rows = list(csv.DictReader(io.StringIO(comparison_table(METRICS, style="csv"))))
    assert rows[0]["auc_low"] == "0.8789"
    assert rows[0]["background_rejection_0.5"] == ""
    assert rows[0]["background_rejection_0.5_low"] == "310.0"
    assert rows[0]["fit_seconds"] == "61.27"
    assert rows[1]["model"] == "<b>&"
    assert rows[1]["n_parameters"] == ""


def test_html_table_escapes_names():
    text = comparison_table(METRICS, style="html")
    assert "&lt;b&gt;&amp;" in text
    assert "<b>" not in text


def test_columns_without_any_number_are_left_out():
    table = comparison_columns({"models": {"m": {"auc": {"value": 0.5, "low": 0.4, "high": 0.6}}}})
    assert [column.title for column in table.columns] == ["model", "AUC"]


def test_unknown_style_names_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown table style 'markdwn'.*'markdown'"):
        comparison_table(METRICS, style="markdwn")


def test_accounting_adds_up_in_every_row():
    table = accounting_table(METRICS)
    assert [row[0].text for row in table.rows] == ["w", "qcd", "all"]
    for row in table.rows:
        read, *rejected, selected = (cell.numbers[0] for cell in row[1:])
        assert read == sum(rejected) + selected


def test_accounting_without_processes_has_one_row():
    table = accounting_table({"data": {"accounting": METRICS["data"]["accounting"]}})
    assert [row[0].text for row in table.rows] == ["all"]


def test_splits_show_a_missing_class_as_zero():
    assert plain(render_table(splits_table(METRICS), "text")).splitlines()[-1].split() == [
        "test",
        "3",
        "0",
    ]


def test_a_significant_difference_is_called_better():
    assert describe_comparison(comparison()).sentence == (
        "recnn_gated is better than boosted_trees: ΔAUC = 0.0081 ± 0.0012 "
        "(bootstrap 0.0008, seeds 0.0009, n = 3), 6.8 \N{GREEK SMALL LETTER SIGMA}"
    )


def test_the_better_model_comes_first_whatever_the_sign():
    words = describe_comparison(comparison(value=-0.0081, significance=-6.75))
    assert words.sentence.startswith("boosted_trees is better than recnn_gated: ΔAUC = 0.0081")
    assert plain(words.difference) == "-0.0081 ± 0.0012"
    assert plain(words.significance) == "-6.8 \N{GREEK SMALL LETTER SIGMA}"


@pytest.mark.parametrize(
    ("sigma", "claim"),
    [(3.0, "is better than"), (2.99, "may be better than"), (1.99, "are not distinguishable on")],
)
def test_claims_are_as_strong_as_the_significance(sigma, claim):
    assert claim in describe_comparison(comparison(significance=sigma)).sentence


def test_undistinguished_models_come_with_the_number_of_entries_and_the_window():
    entry = comparison(significance=0.4, value=0.0005, selection="50 < m < 110")
    sentence = plain(describe_comparison(entry).sentence)
    assert "are not distinguishable for 50 < m < 110 on 4 021 test entries" in sentence


def test_one_seed_is_said_to_be_one():
    sentence = describe_comparison(comparison(seed_error=None, n_seeds=1)).sentence
    assert "one seed, so without the spread between trainings" in sentence
    assert "n = 1" not in sentence


def test_rejections_are_also_given_as_a_ratio():
    entry = comparison(
        metric="log_background_rejection_0.5", value=0.6931, error=0.1, significance=6.9
    )
    sentence = describe_comparison(entry).sentence
    assert "at ε_S = 0.5: Δln(1/ε_B) = 0.69 ± 0.10" in sentence
    assert sentence.endswith("2.00 ± 0.20 times the rejection")


@pytest.mark.parametrize("changes", [{"value": None}, {"error": None}])
def test_a_difference_that_is_not_finite_is_no_statement(changes):
    note = "no background passes a working point: the ratio is unbounded"
    words = describe_comparison(comparison(**changes, significance=None, note=note))
    assert words.sentence.endswith(note)
    assert "cannot be compared" in words.sentence


def test_identical_models_are_called_the_same():
    entry = comparison(
        value=0.0, error=0.0, bootstrap_error=0.0, seed_error=None, significance=None
    )
    assert "give the same AUC" in describe_comparison(entry).sentence


def test_headline_keeps_to_the_area_on_all_entries():
    entries = [
        comparison(),
        comparison(selection="50 < m < 110"),
        comparison(metric="log_background_rejection_0.5"),
    ]
    assert len(headline({"comparisons": entries})) == 1
    assert len(difference_table({"comparisons": entries}).rows) == 3
    assert headline({}) == []


@pytest.mark.parametrize(
    ("error", "decimals"),
    # The rule's own borders: 354 keeps two digits, 355 one, 950 becomes 1000.
    [(0.00123, 4), (0.00354, 4), (0.00355, 3), (0.00949, 3), (0.0095, 3), (1.0, 1), (41.0, -1)],
)
def test_errors_keep_one_or_two_digits(error, decimals):
    assert decimals_of(error) == decimals


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((0.5, 0.4, 0.6), "0.50 ± 0.10"),
        ((0.5, 0.4, 0.8), "0.50 +0.30 -0.10"),
        ((12.0, 9.0, None), "12.0 +∞ -3.0"),
        ((None, 310.2, None), "> 310"),
        ((None, None, None), "∞"),
        ((1.0, 1.0, 1.0), "1.000"),
        ((0.0, 0.0, 0.0021), "0.0000 +0.0021 -0.0000"),
        ((8000.0, 7100.0, 8900.0), "8000 ± 900"),
    ],
)
def test_intervals_read_as_physicists_write_them(interval, expected):
    value, low, high = interval
    assert plain(with_interval({"value": value, "low": low, "high": high})) == expected


def test_values_and_errors_share_their_decimals():
    assert with_error(0.05, 0.0123) == "0.050 ± 0.012"
    assert plain(whole(1234567.4)) == "1 234 567"
