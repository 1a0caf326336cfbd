"""Expressions over fields, parsed against a whitelist and never given to ``eval``.

What may be written: numbers, field names, ``collection.field``, ``+ - * / // % **``, comparisons
(chained ones too), ``and or not`` and ``& | ~`` element by element, brackets, and the functions of
``hepdl.schema.functions``.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import awkward as ak
import numpy as np

from hepdl.errors import HepdlError, SchemaError, nearest, unknown_name
from hepdl.schema.functions import FUNCTIONS, depth, leaf

__all__ = ["Expression", "evaluate"]

# Far beyond what a person writes, far below what exhausts the parser's stack.
MAX_LENGTH = 2000
MAX_DEPTH = 40
MAX_EXPONENT = 64
_INT64 = range(-(2**63), 2**63)

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_UNARY = (ast.Not, ast.USub, ast.UAdd, ast.Invert)
_WORDS: dict[type[ast.AST], str] = {
    ast.Lambda: "lambda",
    ast.Subscript: "an index [...]",
    ast.List: "a list",
    ast.Tuple: "a tuple",
    ast.Dict: "a dictionary",
    ast.Set: "a set",
    ast.ListComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.IfExp: "'if … else' (write where(condition, yes, no))",
    ast.NamedExpr: "':='",
    ast.JoinedStr: "a text",
    ast.In: "'in'",
    ast.NotIn: "'not in'",
    ast.Is: "'is'",
    ast.IsNot: "'is not'",
    ast.BitXor: "'^' (powers are written **)",
    ast.MatMult: "'@'",
    ast.LShift: "'<<'",
    ast.RShift: "'>>'",
    ast.Starred: "'*'",
}


class Expression:
    """An expression, checked when it is made.

    Args:
        text: The expression.
        where: The place that the user has to edit, for messages.

    Attributes:
        text: The expression as it was written.
        names: The fields and collections that it uses.
        fields: The same, a field of a collection as ``collection.field``.

    Raises:
        SchemaError: The text is not an expression of this small language.

    >>> cut = Expression("250 < jet_pt < 300 and count(constituents.pt) > 1")
    >>> sorted(cut.fields)
    ['constituents.pt', 'jet_pt']
    """

    def __init__(self, text: str, *, where: str = "expression") -> None:
        self.text = text
        self.where = where
        self._body = self._parse(" ".join(str(text).split()))
        self.fields: frozenset[str] = frozenset(_fields(self._body))
        self.names: frozenset[str] = frozenset(name.partition(".")[0] for name in self.fields)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def evaluate(self, namespace: Mapping[str, Any]) -> Any:
        """Return the value for every entry.

        Args:
            namespace: Field name → numpy or awkward array with one item per entry; a collection
                is an awkward array of records.

        Raises:
            SchemaError: A name is unknown, or the operands do not fit together.
        """
        with np.errstate(all="ignore"):
            try:
                return _Evaluation(self, namespace).visit(self._body)
            except HepdlError:
                raise
            except (TypeError, ValueError, ArithmeticError) as error:
                reason = str(error).strip().partition("\n")[0]
                message = f"{self.where}: cannot evaluate {self.text!r}: {reason}"
                raise SchemaError(message) from error

    def error(self, node: ast.AST, problem: str) -> SchemaError:
        """Return the error for one place in the text."""
        column = getattr(node, "col_offset", 0) + 1
        return SchemaError(f"{self.where}: {problem} at column {column} of {self.text!r}")

    def _parse(self, text: str) -> ast.expr:
        if not text:
            message = f"{self.where}: the expression is empty"
            raise SchemaError(message)
        if len(text) > MAX_LENGTH:
            message = (
                f"{self.where}: the expression has {len(text)} characters; {MAX_LENGTH} is most"
            )
            raise SchemaError(message)
        try:
            body = ast.parse(text, mode="eval").body
        except SyntaxError as error:
            column = error.offset or len(text) + 1
            message = f"{self.where}: {error.msg} at column {column} of {self.text!r}"
            raise SchemaError(message) from error
        except (ValueError, RecursionError, MemoryError) as error:
            message = f"{self.where}: {self.text[:60]!r}… cannot be parsed: too deeply nested?"
            raise SchemaError(message) from error
        self._check_depth(body)
        self._check(body)
        return body

    def _check_depth(self, body: ast.expr) -> None:
        level: list[ast.AST] = [body]
        for _ in range(MAX_DEPTH):
            level = [child for node in level for child in ast.iter_child_nodes(node)]
            if not level:
                return
        message = f"{self.where}: {self.text[:60]!r}… is nested deeper than {MAX_DEPTH} levels"
        raise SchemaError(message)

    def _check(self, node: ast.AST) -> None:
        """Check a node and everything below it against the whitelist."""
        children: list[ast.AST] = []
        match node:
            case ast.Constant(value=bool() | float()) | ast.Name():
                pass
            case ast.Constant(value=int() as number) if number in _INT64:
                pass
            case ast.Constant():
                raise self.error(node, f"only numbers may stand here, not {node.value!r:.40},")
            case ast.Attribute(value=ast.Name()):
                pass
            case ast.Attribute():
                raise self.error(node, "only collection.field is allowed, not a longer path,")
            case ast.BoolOp():
                children = list(node.values)
            case ast.UnaryOp() if isinstance(node.op, _UNARY):
                children = [node.operand]
            case ast.BinOp() if type(node.op) in _BINARY:
                children = [node.left, node.right]
                self._check_power(node)
            case ast.Compare() if all(type(op) in _COMPARE for op in node.ops):
                children = [node.left, *node.comparators]
            case ast.Call():
                self._check_call(node)
                children = list(node.args)
            case _:
                raise self.error(node, f"{self._word(node)} is not allowed")
        for child in children:
            self._check(child)

    def _word(self, node: ast.AST) -> str:
        inner = [node, *getattr(node, "ops", ()), getattr(node, "op", node)]
        return next((_WORDS[type(n)] for n in inner if type(n) in _WORDS), type(node).__name__)

    def _check_power(self, node: ast.BinOp) -> None:
        if not isinstance(node.op, ast.Pow):
            return
        exponent = node.right
        if isinstance(exponent, ast.UnaryOp) and isinstance(exponent.op, ast.USub | ast.UAdd):
            exponent = exponent.operand
        value = exponent.value if isinstance(exponent, ast.Constant) else None
        if not isinstance(value, int | float) or not value <= MAX_EXPONENT:
            problem = (
                f"the exponent must be a number up to {MAX_EXPONENT} (else write exp(y * log(x)))"
            )
            raise self.error(node.right, problem)

    def _check_call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name is None:
            raise self.error(
                node, "only the named functions may be called: this call is not allowed"
            )
        if name not in FUNCTIONS:
            raise self.error(node, unknown_name("function", name, FUNCTIONS, where="expression"))
        wanted = FUNCTIONS[name].n_arguments
        if node.keywords or len(node.args) != wanted:
            given = len(node.args) + len(node.keywords)
            raise self.error(
                node, f"{name}() takes {wanted} argument(s) without names, not {given},"
            )


def evaluate(text: str, namespace: Mapping[str, Any], *, where: str = "expression") -> Any:
    """Return the value of an expression for every entry.

    >>> evaluate("1 < x < 3", {"x": np.array([0.5, 2.0])}).tolist()
    [False, True]
    """
    return Expression(text, where=where).evaluate(namespace)


def _fields(body: ast.AST) -> Iterator[str]:
    """Yield the fields that an expression uses, function names left out."""
    stack = [body]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Attribute):
            yield f"{ast.unparse(node.value)}.{node.attr}"
        elif isinstance(node, ast.Call):
            stack += node.args
        elif isinstance(node, ast.Name):
            yield node.id
        else:
            stack += ast.iter_child_nodes(node)


class _Evaluation:
    """One walk over a checked expression with one set of arrays."""

    def __init__(self, expression: Expression, namespace: Mapping[str, Any]) -> None:
        self.expression = expression
        self.namespace = namespace

    def visit(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                return self._name(node)
            case ast.Attribute():
                return self._attribute(node)
            case ast.BoolOp():
                combine = operator.and_ if isinstance(node.op, ast.And) else operator.or_
                word = "and" if isinstance(node.op, ast.And) else "or"
                return _fold(combine, [self._truth(value, word) for value in node.values])
            case ast.UnaryOp():
                return self._unary(node)
            case ast.BinOp():
                return self._binary(node)
            case ast.Compare():
                values = [self.visit(value) for value in (node.left, *node.comparators)]
                pairs = zip(node.ops, values[:-1], values[1:], strict=True)
                return _fold(operator.and_, [_COMPARE[type(op)](a, b) for op, a, b in pairs])
            case ast.Call(func=ast.Name(id=name)):
                return self._call(node, name)
        raise self.expression.error(node, f"{type(node).__name__} is not allowed")

    def _name(self, node: ast.Name) -> Any:
        if node.id not in self.namespace:
            where = self.expression.where
            raise SchemaError(unknown_name("field", node.id, self.namespace, where=where))
        value = self.namespace[node.id]
        if isinstance(value, ak.Array) and value.fields:
            example = f"{node.id}.{value.fields[0]}"
            raise self.expression.error(node, f"{node.id} is a collection, write e.g. {example};")
        return _signed(value)

    def _attribute(self, node: ast.Attribute) -> Any:
        name = ast.unparse(node.value)
        if name not in self.namespace:
            where = self.expression.where
            raise SchemaError(unknown_name("collection", name, self.namespace, where=where))
        collection = self.namespace[name]
        fields = collection.fields if isinstance(collection, ak.Array) else []
        if node.attr not in fields:
            near = nearest(node.attr, fields)
            hint = f"; did you mean {near!r}?" if near else ""
            known = ", ".join(fields) or "none: it is one value per entry"
            problem = f"{name} has no field {node.attr!r}{hint} (fields: {known})"
            raise self.expression.error(node, problem)
        return _signed(collection[node.attr])

    def _truth(self, node: ast.expr, word: str) -> Any:
        value = self.visit(node)
        if leaf(value) != "bool":
            problem = f"'{word}' needs true/false values, not {leaf(value)} ({ast.unparse(node)})"
            raise self.expression.error(node, problem)
        return value

    def _unary(self, node: ast.UnaryOp) -> Any:
        if isinstance(node.op, ast.Not):
            value = self._truth(node.operand, "not")
            return (not value) if isinstance(value, bool) else np.logical_not(value)
        value = self.visit(node.operand)
        if isinstance(node.op, ast.Invert):
            if isinstance(value, bool):
                return not value
            if leaf(value).startswith("float"):
                raise self.expression.error(
                    node, f"'~' needs true/false values, not {leaf(value)},"
                )
            return np.invert(value)
        value = _number(value)
        return -value if isinstance(node.op, ast.USub) else value

    def _binary(self, node: ast.BinOp) -> Any:
        left, right = self.visit(node.left), self.visit(node.right)
        if isinstance(node.op, ast.BitAnd | ast.BitOr):
            if {leaf(left)[:5], leaf(right)[:5]} & {"float"}:
                problem = (
                    "'&' and '|' bind tighter than comparisons: write 'and'/'or', or brackets;"
                )
                raise self.expression.error(node, problem)
        else:
            left, right = _number(left), _number(right)
        if isinstance(node.op, ast.Pow) and not (isinstance(right, int) and right >= 0):
            left = left * 1.0  # numpy refuses integers to negative powers
        value = _BINARY[type(node.op)](left, right)
        # Constants are Python numbers, which would grow without bound.
        return float(value) if isinstance(value, int) and value not in _INT64 else value

    def _call(self, node: ast.Call, name: str) -> Any:
        function = FUNCTIONS[name]
        arguments = [self.visit(argument) for argument in node.args]
        if function.reduces and depth(arguments[0]) < 2:
            problem = f"{name}() runs over a collection's field, e.g. {name}(constituents.pt);"
            raise self.expression.error(node, problem)
        return function.call(*arguments)


def _fold(combine: Callable[[Any, Any], Any], values: list[Any]) -> Any:
    result = values[0]
    for value in values[1:]:
        result = combine(result, value)
    return result


def _signed(value: Any) -> Any:
    """Return small and unsigned integers as int64: 3 - 5 must not be 254."""
    kind = leaf(value)
    if "int" not in kind or kind == "int64":
        return value
    return (
        ak.values_astype(value, np.int64) if isinstance(value, ak.Array) else value.astype("int64")
    )


def _number(value: Any) -> Any:
    """Return true/false as 1/0, so that sums of flags count."""
    if leaf(value) != "bool":
        return value
    if isinstance(value, ak.Array):
        return ak.values_astype(value, np.int64)
    return int(value) if isinstance(value, bool) else np.asarray(value).astype(np.int64)
