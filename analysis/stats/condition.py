"""The one grammar of conditions over keys: `where` in sweep files, searches, `cancel`, `--again`,
the store and `--where` of figures. Pure, and standard library alone: the login node reads it too.
"""

from __future__ import annotations

import ast
import difflib
import json
import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any


def _is_in(value: Any, values: Any) -> bool:
    """Whether a value is one of a list. Raises TypeError for what is none."""
    try:
        return value in values
    except TypeError:
        raise TypeError(f"expected a list after `in`, found {values!r}") from None


_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
    ast.In: _is_in, ast.NotIn: lambda a, b: not _is_in(a, b),
}  # fmt: skip
_WORD = re.compile(r"(?=.*[A-Za-z_])\w[\w./+*-]*")
"""A text that Hydra's form of an equality has without quotes."""

_CONSTANTS = {"true": True, "false": False, "null": None}
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip
_EXPRESSIONS = (
    ast.Constant, ast.List, ast.Tuple, ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare,
)  # fmt: skip


class ConditionError(ValueError):
    """A condition that is not understood or cannot be computed; the message says which and why."""


class UnknownKey(ConditionError):
    """A condition names a key that the mapping lacks."""


def names(text: str) -> list[str]:
    """The keys that a condition names, in order of appearance.

    Raises ConditionError for bad syntax.
    """
    keys: list[str] = []
    pending: list[ast.AST] = [_parse(text)]
    while pending:
        node = pending.pop(0)
        if isinstance(node, ast.Name | ast.Attribute):
            keys.append(ast.unparse(node))
        elif isinstance(node, ast.expr) and not isinstance(node, _EXPRESSIONS):
            raise _not_understood(node, text)
        else:
            pending += ast.iter_child_nodes(node)
    return [key for key in dict.fromkeys(keys) if key not in _CONSTANTS]


def values_as_truths(text: str) -> list[str]:
    """The parts of a condition that stand for true or false without a comparison, as text.

    These are `fitted` and `wrong` in "fitted and wrong". Raises ConditionError for bad syntax.
    """
    return [ast.unparse(part) for part in _truths(_parse(text))]


def check_types(text: str, types: Mapping[str, Collection[type]]) -> None:
    """Check that a condition compares no key with a value of another type, as in `seed == '3'`.

    `types` are those of the values that each key has; of a key without any, nothing is checked. A
    truth value may be compared with 0 and 1, and every key with null. Raises ConditionError.
    """
    for key, literal in _comparisons(_parse(text)):
        kinds = {_kind(kind) for kind in types.get(key, ()) if kind is not type(None)}
        if kinds and not _is_comparable(literal, kinds):
            value = json.dumps(literal) if isinstance(literal, bool) else repr(literal)
            raise ConditionError(
                f"condition {text!r}: {key} is {' or '.join(sorted(kinds))}, and {value} is "
                f"{_kind(type(literal))}; {_advice(key, literal, kinds)}"
            )


def value_types(
    flats: Collection[Mapping[str, Any]], keys: Collection[str]
) -> dict[str, set[type]]:
    """The types of the values that each of the keys has in flat configurations."""
    return {key: {type(flat[key]) for flat in flats if key in flat} for key in keys}


MOST_LEVELS = 100
"""Most levels of a condition's syntax tree."""

LARGEST_EXPONENT, LARGEST_NUMBER = 64, 1e20
"""Bounds on what a condition computes with: nothing takes long."""

LONG_TEXT = 80


def condition(text: str) -> Callable[[Mapping[str, Any]], bool]:
    """A condition over configuration paths, such as "model.width <= 16 or optim.weight_decay in
    [0.1, 0.01]".

    It may use comparisons, `and`, `or`, `not`, arithmetic, numbers, texts and lists; nothing is
    executed as Python. Hydra's form of an equality is also accepted, with words without quotes and
    several values: `model.name=mlp`, `model.width=32,64`. Returns a function of a flat
    configuration.

    Raises ConditionError for any other syntax, and when called with a configuration that lacks a
    path.
    """
    tree = _parse(text)

    def meets(flat: Mapping[str, Any]) -> bool:
        try:
            return _truth(tree, flat, text)
        except ConditionError:
            raise
        except (TypeError, ValueError, ArithmeticError) as error:
            raise ConditionError(f"condition {text!r}: {error}") from None

    return meets


def remembered(text: str) -> Callable[[Mapping[str, Any]], bool]:
    """What `condition(text)` returns, computed once for equal values of the keys that it names.

    For a grid, in which few values of these keys are in many cells.
    """
    keys = names(text)
    meets = condition(text)
    outcomes: dict[str, bool] = {}

    def look_up(flat: Mapping[str, Any]) -> bool:
        if any(key not in flat for key in keys):
            return meets(flat)
        values = repr([flat[key] for key in keys])
        if values not in outcomes:
            outcomes[values] = meets(flat)
        return outcomes[values]

    return look_up


def _parse(text: str) -> ast.expr:
    """The syntax tree; ConditionError for text that is no condition."""
    tree = _tree(text)
    _check_truths(tree, text)
    return tree


def _tree(text: str) -> ast.expr:
    """The syntax tree; ConditionError for text that is no expression, or one that is nested deeply.

    Hydra's form of an equality, `key=value`, is read as `key == value`.
    """
    key, sign, value = text.partition("=")
    if sign and not any(mark in text for mark in ("==", "<", ">", "!")):
        text = f"{key} {_hydra_value(value)}"
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        if _depth(tree) <= MOST_LEVELS:
            return tree
        reason = f"it is nested more than {MOST_LEVELS} levels deep"
    except SyntaxError as error:
        reason = error.msg
    except (ValueError, RecursionError, MemoryError) as error:
        reason = f"it cannot be parsed ({type(error).__name__})"
    shown = text if len(text) <= LONG_TEXT else f"{text[:LONG_TEXT]}..."
    raise ConditionError(
        f"condition {shown!r}: {reason}; expected a condition such as 'model.width <= 16'"
    )


def _truths(tree: ast.expr) -> list[ast.expr]:
    """The parts that stand for true or false and are no comparison."""
    parts: list[ast.expr] = []
    pending = [tree]
    while pending:
        match pending.pop(0):
            case ast.BoolOp(values=values):
                pending += values
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                pending.append(operand)
            case ast.Compare():
                continue
            case part:
                parts.append(part)
    return parts


def _check_truths(tree: ast.expr, text: str) -> None:
    """Refuse values and arithmetic as conditions: Python counts almost all of them as true."""
    for part in _truths(tree):
        is_value = isinstance(part, ast.Constant) and not isinstance(part.value, bool | None)
        if is_value or isinstance(part, ast.List | ast.Tuple | ast.BinOp):
            raise ConditionError(
                f"condition {text!r}: {ast.unparse(part)!r} is neither true nor false; expected a "
                "comparison such as 'model.width <= 16', with `and` or `or` between several"
            )


def _hydra_value(text: str) -> str:
    """What follows the key of `key=value`, as a comparison: with a value, or `in` several."""
    is_one = text.strip().startswith(("[", "(", "'", '"'))
    words = [text] if is_one else text.split(",")
    values = [_quoted(word.strip()) for word in words]
    if None in values:
        return f"== {text}"  # an expression
    return f"== {values[0]}" if len(values) == 1 else f"in [{', '.join(map(str, values))}]"


def _quoted(text: str) -> str | None:
    """A value of Hydra's form as the grammar writes it, words in quotes; None for another text."""
    if text in _CONSTANTS or _is_literal(text):
        return text
    return repr(text) if _WORD.fullmatch(text) else None


def _is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return False
    return True


def _depth(tree: ast.AST) -> int:
    """Levels of the syntax tree, counted without recursion."""
    depth, level = 0, [tree]
    while level and depth <= MOST_LEVELS:
        depth += 1
        children: list[ast.AST] = []
        for node in level:
            children += ast.iter_child_nodes(node)
        level = children
    return depth


def _arithmetic(operation: type, left: Any, right: Any) -> Any:
    """The result of an operation on numbers. Raises ValueError where it would be large, TypeError
    for texts, which only `+` takes.
    """
    if operation is ast.Add and isinstance(left, str) and isinstance(right, str):
        return left + right
    for value in (left, right):
        if not isinstance(value, (int, float)):
            raise TypeError(f"arithmetic needs numbers, found {value!r}")
    if operation is ast.Pow and abs(right) > LARGEST_EXPONENT:
        raise ValueError(f"the exponent {right} is beyond {LARGEST_EXPONENT}")
    if max(abs(left), abs(right)) > LARGEST_NUMBER:
        raise ValueError(f"a number is beyond {LARGEST_NUMBER:g}")
    return _ARITHMETIC[operation](left, right)


def _evaluate(node: ast.expr, flat: Mapping[str, Any], text: str) -> Any:
    def value(inner: ast.expr) -> Any:
        return _evaluate(inner, flat, text)

    match node:
        case ast.Constant():
            return node.value
        case ast.List() | ast.Tuple():
            return [value(item) for item in node.elts]
        case ast.Name() | ast.Attribute():
            return _lookup(ast.unparse(node), flat, text)
        case ast.UnaryOp(op=ast.Not()):
            return not _truth(node.operand, flat, text)
        case ast.UnaryOp(op=ast.USub()):
            return -value(node.operand)
        case ast.BinOp() if type(node.op) in _ARITHMETIC:
            return _arithmetic(type(node.op), value(node.left), value(node.right))
        case ast.BoolOp():
            combine = all if isinstance(node.op, ast.And) else any
            return combine(_truth(part, flat, text) for part in node.values)
        case ast.Compare():
            return _compare(node, value, text)
    raise _not_understood(node, text)


def _truth(node: ast.expr, flat: Mapping[str, Any], text: str) -> bool:
    """The value of a part that stands for true or false. Raises ConditionError for any other."""
    value = _evaluate(node, flat, text)
    if isinstance(value, bool):
        return value
    part = ast.unparse(node)
    if part in _CONSTANTS:
        return False  # null
    kind = "null" if value is None else f"{_kind(type(value))}, here {value!r}"
    raise ConditionError(
        f"condition {text!r}: {part} is {kind}, and stands alone; expected a comparison such as "
        f"'{part} == {json.dumps(value)}'"
    )


_TRUTH, _NUMBER, _TEXT, _LIST = "true or false", "a number", "a text", "a list"


def _kind(kind: type) -> str:
    """A type of values in words."""
    if issubclass(kind, bool):
        return _TRUTH
    if issubclass(kind, (int, float)):
        return _NUMBER
    return _TEXT if issubclass(kind, str) else _LIST


def _comparisons(tree: ast.expr) -> Iterator[tuple[str, Any]]:
    """Each key with each value that a condition compares it with."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        for operation, left, right in zip(node.ops, sides, sides[1:], strict=False):
            is_list = isinstance(operation, ast.In | ast.NotIn)
            yield from _key_and_values(left, right, is_list=is_list)
            if not is_list:
                yield from _key_and_values(right, left, is_list=False)


def _key_and_values(side: ast.expr, other: ast.expr, *, is_list: bool) -> Iterator[tuple[str, Any]]:
    """The key that one side of a comparison is, with the value or the values of a list."""
    key = ast.unparse(side)
    if not isinstance(side, ast.Name | ast.Attribute) or key in _CONSTANTS:
        return
    literals = [other]
    if is_list:  # a text or a key may stand there too
        literals = other.elts if isinstance(other, ast.List | ast.Tuple) else []
    for literal in literals:
        written = ast.unparse(literal)
        if written in _CONSTANTS:
            yield key, _CONSTANTS[written]
        elif _is_literal(written):
            yield key, ast.literal_eval(written)


def _is_comparable(literal: Any, kinds: Collection[str]) -> bool:
    """Whether a value can be equal to those of a key of these kinds."""
    if literal is None or _kind(type(literal)) in kinds:
        return True
    return _TRUTH in kinds and _kind(type(literal)) == _NUMBER and literal in (0, 1)


def _advice(key: str, literal: Any, kinds: Collection[str]) -> str:
    """How to write a comparison with a value of the wrong type."""
    if _TEXT in kinds and not isinstance(literal, list):
        return f"write '{json.dumps(literal)}' in quotes for a text"
    if isinstance(literal, str) and _is_literal(literal):
        return f"write {literal} without quotes"
    if isinstance(literal, list):
        return f"write `{key} in {literal}` for any of them"
    return f"expected {' or '.join(sorted(kinds))}"


def _compare(node: ast.Compare, value: Callable[[ast.expr], Any], text: str) -> bool:
    if not all(type(operation) in _COMPARE for operation in node.ops):
        raise _not_understood(node, text)
    sides = [value(side) for side in (node.left, *node.comparators)]
    for operation, left, right in zip(node.ops, sides, sides[1:], strict=False):
        if not _holds(operation, left, right):
            return False
    return True


def _holds(operation: ast.cmpop, left: Any, right: Any) -> Any:
    """Whether a comparison of two values holds. Raises TypeError where they have no order."""
    try:
        return _COMPARE[type(operation)](left, right)
    except TypeError:
        if isinstance(operation, ast.In | ast.NotIn):
            raise
        shown = " with ".join(json.dumps(side, default=str) for side in (left, right))
        raise TypeError(f"it compares {shown}, expected two numbers or two texts") from None


def _not_understood(node: ast.expr, text: str) -> ConditionError:
    return ConditionError(
        f"condition {text!r}: {ast.unparse(node)!r} is not understood; expected for example "
        "'model.width <= 16'"
    )


def _lookup(path: str, flat: Mapping[str, Any], text: str) -> Any:
    if path in _CONSTANTS:
        return _CONSTANTS[path]
    if path not in flat:
        keys = ", ".join(_similar_keys(path, list(flat)))
        hint = "" if "." in path else f" (a text is written in quotes: '{path}')"
        raise UnknownKey(f"condition {text!r}: no configuration key {path!r}{hint}; known: {keys}")
    return flat[path]


def _similar_keys(path: str, keys: list[str]) -> list[str]:
    """The keys that `path` may stand for: of its section, of its name, spelt alike; else all."""
    section = path.partition(".")[0]
    of_section = [key for key in keys if key.partition(".")[0] == section]
    of_name = [key for key in keys if key.endswith(f".{path}")]
    return of_section or of_name or difflib.get_close_matches(path, keys) or keys
