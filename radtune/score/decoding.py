"""From what JSON holds back to the dataclasses that were written, checked against their types."""

import dataclasses
import types
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Result = TypeVar("Result")


def decode(kind: type[Result], value: Any) -> Result:
    """Rebuilds a dataclass of dataclasses, lists, dicts, tuples and plain values.

    Args:
        kind: The dataclass.
        value: What :func:`dataclasses.asdict` made of an instance, after a way through JSON.

    Raises:
        TypeError: The value is not of that form.
        KeyError: A field is missing.
    """
    return _decode(kind, value)


def _decode(kind: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        if unknown := _checked(value, dict).keys() - hints.keys():
            raise TypeError(f"unknown field {min(unknown)!r}")
        return kind(**{name: _decode(hint, value[name]) for name, hint in hints.items()})  # type: ignore[operator]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else _decode(next(hint for hint in arguments if hint is not types.NoneType), value)
    if origin is dict:
        return {name: _decode(arguments[1], item) for name, item in _checked(value, dict).items()}
    if origin is list:
        return [_decode(arguments[0], item) for item in _checked(value, list)]
    if origin is tuple:
        return tuple(_decode(hint, item) for hint, item in zip(arguments, _checked(value, list), strict=True))
    # A whole number may stand for a float: 1 for 1.0.
    return float(value) if kind is float and type(value) is int else _checked(value, kind)


def _checked(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value
