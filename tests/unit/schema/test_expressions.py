"""Expressions say what numpy says, and nothing but the whitelist is accepted."""

from __future__ import annotations

from contextlib import suppress

import awkward as ak
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepdl.errors import SchemaError
from hepdl.schema import Expression, evaluate

X = np.array([-1.5, 0.0, 2.0, 7.25])
N = np.array([3, -2, 0, 5], dtype=np.int32)
FLAG = np.array([True, False, True, True])
JETS = ak.Array(
    [
        [{"pt": 30.0, "eta": 1.0, "phi": 3.0}, {"pt": 20.0, "eta": -1.0, "phi": -3.0}],
        [],
        [{"pt": 50.0, "eta": 0.5, "phi": 0.1}],
        [{"pt": 10.0, "eta": 0.0, "phi": 0.2}, {"pt": 60.0, "eta": 2.0, "phi": 0.0}],
    ]
)
NAMES = {"x": X, "n": N, "flag": FLAG, "jets": JETS}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x + 2 * n - 1", X + 2 * N - 1),
        ("-x / 4 + +n", -X / 4 + N),
        ("n // 2", N // 2),
        ("n % 2 == 1", N % 2 == 1),
        ("x ** 2", X**2),
        ("(n + 10) ** -1", 1.0 / (N + 10)),
        ("0 <= x < 5", (X >= 0) & (X < 5)),
        ("-2 < x < 3 < n", (X > -2) & (X < 3) & (N > 3)),
        ("x > 0 and flag or n == -2", ((X > 0) & FLAG) | (N == -2)),
        ("not flag", ~FLAG),
        ("~flag | (x > 5)", ~FLAG | (X > 5)),
        ("(x > 0) & (n != 5)", (X > 0) & (N != 5)),
        ("flag + flag", 2 * FLAG.astype(int)),
        ("where(x > 0, x, 0)", np.where(X > 0, X, 0)),
        ("clip(x, -1, 2)", np.clip(X, -1, 2)),
        ("minimum(x, n)", np.minimum(X, N)),
        ("maximum(abs(x), 1)", np.maximum(np.abs(X), 1)),
        ("arctan2(x, n)", np.arctan2(X, N)),
        ("log10(exp(x))", np.log10(np.exp(X))),
        ("isfinite(log(x))", np.array([False, False, True, True])),
        ("sum(jets.pt)", [50, 0, 50, 70]),
        ("count(jets.pt)", [2, 0, 1, 2]),
        ("max(jets.pt)", [30, None, 50, 60]),
        ("min(jets.pt) > 15", [True, None, True, False]),
        ("any(jets.pt > 25 and abs(jets.eta) < 1.5)", [True, False, True, False]),
        ("all(jets.pt > 15)", [True, True, True, False]),
        ("count(jets.pt) >= 1 and flag", [True, False, True, True]),
        ("sum(where(jets.pt > x + 25, jets.pt, 0))", [30, 0, 50, 60]),
        ("  x\n  > 0 ", X > 0),
    ],
)
def test_expression_equals_numpy(text: str, expected: np.ndarray | list[object]) -> None:
    assert ak.to_list(evaluate(text, NAMES)) == pytest.approx(ak.to_list(expected))


def test_delta_phi_wraps_and_delta_r_uses_it() -> None:
    names = {"a": np.array([3.0, -3.0, 0.5]), "b": np.array([-3.0, 3.0, 0.2])}
    wrapped = 6.0 - 2 * np.pi
    np.testing.assert_allclose(evaluate("delta_phi(a, b)", names), [wrapped, -wrapped, 0.3])
    np.testing.assert_allclose(
        evaluate("delta_r(1, a, 2, b)", names), np.hypot(1, [wrapped, -wrapped, 0.3])
    )


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6),
    st.floats(-1e3, 1e3),
    st.sampled_from(["+", "-", "*", "<", "<=", ">", ">=", "==", "!="]),
)
def test_every_operator_equals_numpys(values: list[float], number: float, symbol: str) -> None:
    x = np.array(values)
    ufunc = {
        "+": np.add, "-": np.subtract, "*": np.multiply, "<": np.less, "<=": np.less_equal,
        ">": np.greater, ">=": np.greater_equal, "==": np.equal, "!=": np.not_equal,
    }[symbol]  # fmt: skip
    got = evaluate(f"x {symbol} ({number!r})", {"x": x})
    np.testing.assert_array_equal(got, ufunc(x, number))
    jagged = evaluate(f"jets.pt {symbol} ({number!r})", {"jets": ak.Array([{"pt": values}])})
    np.testing.assert_array_equal(ak.to_numpy(jagged[0]), ufunc(x, number))


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=5))
def test_event_numbers_stay_integers(values: list[int]) -> None:
    numbers = np.array(values)
    parity = evaluate("event_number % 2", {"event_number": numbers})
    assert parity.dtype == np.int64
    assert parity.tolist() == [value % 2 for value in values]


@given(st.text(max_size=40))
def test_any_text_is_an_expression_or_a_schema_error(text: str) -> None:
    with suppress(SchemaError):
        Expression(text)


def test_small_and_unsigned_integers_do_not_wrap_around() -> None:
    names = {"a": np.array([3], dtype=np.uint8), "b": np.array([5], dtype=np.uint8)}
    assert evaluate("a - b", names).tolist() == [-2]
    assert evaluate("a * 100", names).tolist() == [300]


def test_sums_of_float32_are_accumulated_in_double_precision() -> None:
    pt = ak.Array([np.full(100_000, 0.1, dtype=np.float32)])
    total = evaluate("sum(jet.pt)", {"jet": ak.zip({"pt": pt})})[0]
    # 1e-9: rounding of 1e5 additions in double; float32 is off by 1e-4 here.
    assert total == pytest.approx(100_000 * float(np.float32(0.1)), rel=1e-9)


def test_names_and_fields_are_those_that_the_text_uses() -> None:
    expression = Expression("sum(jets.pt) > 2 * x and max(jets.eta) < log(x)")
    assert expression.names == {"jets", "x"}
    assert expression.fields == {"jets.pt", "jets.eta", "x"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the expression is empty"),
        ("x >", r"invalid syntax at column 4 of 'x >'"),
        ("__import__('os').system('ls')", r"only the named functions may be called.* column 1"),
        ("eval(x)", "unknown function 'eval'"),
        ("squrt(x)", "unknown function 'squrt'.*did you mean 'sqrt'"),
        ("x.__class__.__base__", r"only collection\.field is allowed.* column 1"),
        ("x[0]", r"an index \[\.\.\.\] is not allowed at column 1 of 'x\[0\]'"),
        ("1 + [i for i in x]", "a comprehension is not allowed at column 5"),
        ("x + (lambda: 1)", "lambda is not allowed at column 6"),
        ("x if x else n", r"write where\(condition, yes, no\).* column 1"),
        ("x in n", "'in' is not allowed at column 1"),
        ("x ^ 2", r"'\^' \(powers are written \*\*\) is not allowed at column 1"),
        ("x == 'a'", "only numbers may stand here, not 'a', at column 6"),
        ("x > 1j", "only numbers may stand here"),
        ("x := 3", "invalid syntax"),
        ("sqrt(x, n)", r"sqrt\(\) takes 1 argument\(s\) without names, not 2, at column 1"),
        ("clip(x, low=1, high=2)", "takes 3 argument"),
        ("x ** n", r"the exponent must be a number up to 64 \(else write exp\(y \* log\(x\)\)\)"),
        ("9 ** 9 ** 9", "the exponent must be a number up to 64"),
        ("9 ** 999", "the exponent must be a number up to 64"),
        ("9" * 30, "only numbers may stand here"),
        ("-" * 60 + "x", "nested deeper than 40 levels"),
        ("(" * 300 + "x" + ")" * 300, "too many nested parentheses|too deeply nested"),
        ("x + " * 600 + "x", "has 2401 characters; 2000 is most"),
        ("\0", "null bytes|cannot be parsed"),
    ],
)
def test_what_is_not_in_the_language_is_refused(text: str, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        Expression(text, where="selection.a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("y > 1", "unknown field 'y'"),
        ("jts.pt > 1", "unknown collection 'jts'.*did you mean 'jets'"),
        ("sum(jets.ptt)", r"jets has no field 'ptt'; did you mean 'pt'\? .* column 5"),
        ("x.pt", "x has no field 'pt'.*it is one value per entry"),
        ("jets > 1", "jets is a collection, write e.g. jets.pt; at column 1"),
        ("sum(x)", r"sum\(\) runs over a collection's field, e.g. sum\(constituents.pt\)"),
        ("x and flag", r"'and' needs true/false values, not float64 \(x\) at column 1"),
        ("not n", "'not' needs true/false values, not int64"),
        ("x > 5 & x < 7", "'&' and '|' bind tighter than comparisons"),
        ("~x", "'~' needs true/false values, not float64"),
        ("where(n, 1, 2)", r"where\(\) needs true/false values first"),
        ("x + 1 / 0", "cannot evaluate .* division by zero"),
        ("x > short", "cannot evaluate"),
        ("jets.pt > other.pt", "cannot evaluate"),
        ("x * 1e300 ** 64", "cannot evaluate"),
    ],
)
def test_what_does_not_fit_the_arrays_is_refused(text: str, message: str) -> None:
    short = np.array([1.0, 2.0])
    other = ak.zip({"pt": ak.Array([[1.0], [2.0], [], []])})
    with pytest.raises(SchemaError, match=message):
        evaluate(text, {**NAMES, "short": short, "other": other})


def test_powers_of_constants_cannot_exhaust_memory() -> None:
    assert evaluate("9 ** 64 * x", {"x": np.ones(1)}).tolist() == [float(9**64)]
    with pytest.raises(SchemaError, match="cannot evaluate"):
        evaluate("((9 ** 64) ** 64) ** 64 * x", {"x": np.ones(1)})
