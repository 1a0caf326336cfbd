"""Tables of yields, significances and variations from numbers as metrics.json has them."""

from __future__ import annotations

from hepdl.report.layout import render_table
from hepdl.report.sentences import DASH
from hepdl.report.yields import significance_table, variations_table, yields_table

POINT = {"value": 1.25, "low": 1.2, "high": 1.3}
NOTHING = {"value": None, "low": None, "high": None}
METRICS = {
    "yields": {"tt": {"value": 1234.5, "statistical_error": 12.0, "n_entries": 900, "n_effective": 812.4}},
    "models": {
        "a": {
            "significance": {
                "value": 3.2, "low": 3.1, "high": 3.3, "signal": 40.0, "background": 120.0,
                "n_background_entries": 77, "is_limited_by_statistics": True, "binned": NOTHING,
            },
            "systematics": {
                "up": {
                    "auc_difference": {"value": -0.012, "error": 0.003},
                    "signal_yield": POINT,
                    "background_yield": NOTHING,
                    "working_points": {"0.5": {"signal_yield": POINT, "background_yield": NOTHING}},
                }
            },
        },
        "b": {"significance": {"note": "no cut leaves enough"}},
    },
}  # fmt: skip


def test_a_yield_has_its_error_and_entries() -> None:
    lines = render_table(yields_table(METRICS), "csv").splitlines()
    assert lines[1].split(",") == ["tt", "1234 ± 12", "900", "812"]


def test_what_is_not_known_is_a_dash_and_not_infinite() -> None:
    lines = render_table(significance_table(METRICS), "csv").splitlines()
    assert lines[1] == f"a,3.20 ± 0.10,40,120,77,{DASH},a tighter cut has too few entries"
    assert lines[2] == f"b,{DASH},{DASH},{DASH},{DASH},{DASH},no cut leaves enough"
    text = render_table(variations_table(METRICS), "text")
    assert "∞" not in text
    assert "-0.0120 ± 0.0030" in text
    assert text.count("1.25 ± 0.05") == 2
