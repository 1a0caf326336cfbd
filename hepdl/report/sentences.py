"""What a paired difference says, in plain words and no stronger than its significance allows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hepdl.report.numbers import decimals_of, whole, with_error

__all__ = ["DASH", "Words", "describe_comparison", "headline"]

DASH = "\N{EN DASH}"
_SIGMA = "\N{GREEK SMALL LETTER SIGMA}"

# From three standard deviations on we say "better"; between two and three it is a hint.
_CLAIM, _HINT = 3.0, 2.0
_LOG_REJECTION = "log_background_rejection_"


@dataclass(frozen=True)
class Words:
    """A comparison in words.

    Attributes:
        metric: Name of the number, e.g. ``AUC``.
        difference: First minus second with its error.
        significance: In standard deviations.
        sentence: Who is better, by how much, and how sure that is.
    """

    metric: str
    difference: str
    significance: str
    sentence: str


def describe_comparison(entry: Mapping[str, Any]) -> Words:
    """Return one entry of ``comparisons`` in words.

    Args:
        entry: ``a, b, metric, value, error, bootstrap_error, seed_error, n_seeds, significance``,
            and if known ``n_entries`` and ``selection``.

    >>> describe_comparison({"a": "recnn", "b": "mlp", "metric": "auc", "value": 0.0081,
    ...     "error": 0.0012, "bootstrap_error": 0.0008, "seed_error": 0.0009, "n_seeds": 3,
    ...     "significance": 6.75}).sentence[:68]
    'recnn is better than mlp: ΔAUC = 0.0081 ± 0.0012 (bootstrap 0.0008, '
    """
    metric, symbol, at = _names(str(entry["metric"]))
    value, error = _number(entry.get("value")), _number(entry.get("error"))
    if not (math.isfinite(value) and math.isfinite(error)):
        note = entry.get("note") or "the difference or its error is not finite"
        sentence = f"{entry['a']} and {entry['b']} cannot be compared in {metric}: {note}"
        return Words(metric, DASH, DASH, sentence)
    difference = with_error(value, error).replace("-", "\N{MINUS SIGN}")
    sigma = _number(entry.get("significance"))
    if not math.isfinite(sigma):
        sentence = f"{entry['a']} and {entry['b']} give the same {metric} on {_sample(entry)}"
        return Words(metric, difference, DASH, sentence)
    first, second = (entry["a"], entry["b"]) if value >= 0.0 else (entry["b"], entry["a"])
    where = at + _where(entry)
    claim = _claim(first, second, abs(sigma), where, entry)
    size = with_error(abs(value), error)
    details = ", ".join(_parts(entry, error))
    sentence = f"{claim}: {symbol} = {size} ({details}), {abs(sigma):.1f} {_SIGMA}"
    if str(entry["metric"]).startswith(_LOG_REJECTION) and abs(sigma) >= _CLAIM:
        sentence += f"; {_ratio(abs(value), error)} times the rejection"
    significance = f"{sigma:+.1f} {_SIGMA}".replace("-", "\N{MINUS SIGN}")
    return Words(metric, difference, significance, sentence)


def headline(metrics: Mapping[str, Any]) -> list[str]:
    """Return the sentences on the area for all test entries: the answer that the run gives."""
    return [
        describe_comparison(entry).sentence + "."
        for entry in metrics.get("comparisons", ())
        if entry["metric"] == "auc" and entry.get("selection", "all") == "all"
    ]


def _names(metric: str) -> tuple[str, str, str]:
    """Return name of the metric, symbol of a difference, and its working point."""
    if metric == "auc":
        return "AUC", "ΔAUC", ""
    if metric.startswith(_LOG_REJECTION):
        point = metric.removeprefix(_LOG_REJECTION)
        at = f" at ε_S = {point}"
        return f"ln(1/ε_B){at}", "Δln(1/ε_B)", at
    return metric, f"Δ{metric}", ""


def _claim(first: str, second: str, sigma: float, where: str, entry: Mapping[str, Any]) -> str:
    if sigma >= _CLAIM:
        return f"{first} is better than {second}{where}"
    if sigma >= _HINT:
        return f"{first} may be better than {second}{where}"
    return f"{first} and {second} are not distinguishable{where} on {_sample(entry)}"


def _sample(entry: Mapping[str, Any]) -> str:
    number = entry.get("n_entries")
    return "the test entries" if number is None else f"{whole(number)} test entries"


def _where(entry: Mapping[str, Any]) -> str:
    selection = entry.get("selection", "all")
    return "" if selection == "all" else f" for {selection}"


def _parts(entry: Mapping[str, Any], error: float) -> list[str]:
    decimals = max(decimals_of(error), 0)
    parts = []
    for name, key in (("bootstrap", "bootstrap_error"), ("seeds", "seed_error")):
        if entry.get(key) is not None:
            parts.append(f"{name} {entry[key]:.{decimals}f}")
    if entry.get("seed_error") is None:
        parts.append("one seed, so without the spread between trainings")
    elif entry.get("n_seeds") is not None:
        parts.append(f"n = {entry['n_seeds']}")
    return parts


def _ratio(value: float, error: float) -> str:
    ratio = math.exp(value)
    return with_error(ratio, ratio * error)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
