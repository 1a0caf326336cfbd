"""A number with its interval as text, rounded as the Particle Data Group does.

Reference:
    S. Navas et al. (Particle Data Group), Phys. Rev. D 110 (2024) 030001, introduction §5.3
    (errors of 100 to 354 keep two digits, 355 to 949 one, 950 to 999 become 1000).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["decimals_of", "whole", "with_error", "with_interval"]

_THIN = "\N{NARROW NO-BREAK SPACE}"
_SIGNS = {
    "unicode": ("±", "\N{MINUS SIGN}", "∞"),
    "mathtext": ("±", "\N{MINUS SIGN}", "∞"),
    "latex": (r"\pm", "-", r"\infty"),
}


def decimals_of(error: float) -> int:
    """Return how many decimals an error is worth; negative for tens and hundreds.

    >>> decimals_of(0.00123), decimals_of(0.0062), decimals_of(0.97), decimals_of(41.0)
    (4, 3, 1, -1)
    """
    if not math.isfinite(error) or error <= 0.0:
        return 3
    exponent = math.floor(math.log10(error))
    leading = round(error / 10.0 ** (exponent - 2))
    if leading >= 950:
        exponent, leading = exponent + 1, 100
    return (1 if leading < 355 else 0) - exponent


def whole(number: float) -> str:
    """Return a count with groups of three digits.

    >>> whole(10000).replace("\N{NARROW NO-BREAK SPACE}", " ")
    '10 000'
    """
    return f"{round(number):,}".replace(",", _THIN)


def with_error(value: float, error: float, *, signed: bool = False) -> str:
    """Return a value and its symmetric error to the same decimals.

    >>> with_error(0.00812, 0.00123)
    '0.0081 ± 0.0012'
    """
    decimals = decimals_of(error)
    return f"{_fixed(value, decimals, signed=signed)} ± {_fixed(error, decimals)}"


def with_interval(interval: Mapping[str, float | None], *, style: str = "unicode") -> str:
    """Return a value with its 68 % interval: symmetric where the two sides are, else both sides.

    A value that is None or infinite is shown as a lower bound, an open upper end as infinite.

    Args:
        interval: ``value``, ``low`` and ``high``; None where JSON could not hold the number.
        style: ``unicode``, ``mathtext`` (for figures) or ``latex``.

    >>> with_interval({"value": 0.8801, "low": 0.8789, "high": 0.8813})
    '0.8801 ± 0.0012'
    >>> with_interval({"value": None, "low": 310.2, "high": None})
    '> 310'
    """
    value, low, high = (_number(interval.get(key)) for key in ("value", "low", "high"))
    plus_minus, minus, infinity = _SIGNS[style]
    if not math.isfinite(value):
        text = f"> {low:.3g}" if math.isfinite(low) else infinity
        return f"${text}$" if style == "latex" else text
    down = value - low if math.isfinite(low) else math.nan
    up = high - value if math.isfinite(high) else math.inf
    if not (down >= 0.0 and up >= 0.0):
        return f"${value:.4g}$" if style == "latex" else f"{value:.4g}"
    sides = [side for side in (down, up) if side > 0.0]
    if not sides:
        return f"${value:.3f}$" if style == "latex" else f"{value:.3f}"
    decimals = decimals_of(min(sides))
    # Half a unit more or less on one side is nothing to show.
    if math.isfinite(up) and abs(up - down) <= 0.2 * max(up, down):
        half = 0.5 * (up + down)
        decimals = decimals_of(half)
        body = f"{_fixed(value, decimals)} {plus_minus} {_fixed(half, decimals)}"
        return f"${body}$" if style == "latex" else body
    above = _fixed(up, decimals) if math.isfinite(up) else infinity
    below = _fixed(down, decimals)
    middle = _fixed(value, decimals)
    if style == "unicode":
        return f"{middle} +{above} {minus}{below}"
    return f"${middle}^{{+{above}}}_{{{minus}{below}}}$"


def _number(value: float | None) -> float:
    return math.inf if value is None else float(value)


def _fixed(value: float, decimals: int, *, signed: bool = False) -> str:
    if not math.isfinite(value):
        return "∞"
    rounded = round(value, decimals)
    return f"{rounded:{'+' if signed else ''}.{max(decimals, 0)}f}"
