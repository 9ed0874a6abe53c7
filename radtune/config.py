"""One grammar for whatever a person sets: ``ENTRY.py [--config FILE.yaml] [key=value] [section.key=value ...]``.

Keys are the fields of a dataclass, declared with :func:`key`. Command lines, training YAMLs, studies, tasks and price
lists are held to their names, types, choices and ranges, and refused in the same words; ``--help`` is made from them.
No value stands in such words: it may be a patient's.
"""

import copy
import dataclasses
import operator
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from radtune.privacy import NOT_SHOWN, looks_like_name, nearest, shown

Config = TypeVar("Config")

_CONTAINERS = (dict, list, tuple)
_EXTENDS = "extends"
_RANGES = {"ge": (operator.ge, "{} or more"), "gt": (operator.gt, "more than {}"), "le": (operator.le, "at most {}")}


class InputError(ValueError):
    """What the user gave cannot be used. The message is one line that says what and where; commands exit with 2."""


@contextmanager
def as_input_error(what: str, *errors: type[Exception]) -> Iterator[None]:
    """Makes an :class:`InputError` of what other packages raise: of any, if no ``errors`` are given.

    Its line says what cannot be done, and their own words for it.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, InputError) or (errors and not isinstance(error, errors)):
            raise
        said = " ".join(str(error).split())[:200]
        # A key alone says little.
        name = f"{type(error).__name__} " if isinstance(error, KeyError) or not said else ""
        raise InputError(f"{what}: {name}{said}") from None


class _Refusal(Exception):
    """A value that its schema refuses; its arguments are where it stands below the root, and why."""


def key(
    help: str = "",
    default: Any = dataclasses.MISSING,
    choices: Sequence[str] = (),
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    rest: bool = False,
    also: str = "",
) -> Any:
    """Declares one key, a dataclass field; it is required unless it has a default.

    A dataclass as default gives the key keys of its own below it. The value, or each item of a list or mapping, must be
    one of ``choices`` and in range. A mapping marked ``rest`` takes all sections that no other key has the name of.
    ``also`` is a second name that a command takes the key by.
    """
    limits = {"help": help, "choices": tuple(choices), "ge": ge, "gt": gt, "le": le, "rest": rest, "also": also}
    if not isinstance(default, (type, list, dict)):
        return dataclasses.field(default=default, metadata=limits, kw_only=True)
    make = default if isinstance(default, type) else lambda: copy.deepcopy(default)
    return dataclasses.field(default_factory=make, metadata=limits, kw_only=True)


def parse_config(schema: type[Config], arguments: Sequence[str]) -> Config:
    """Builds a config from a YAML file and ``key=value`` overrides, which win; or an :class:`InputError`.

    In the file ``${section.key}`` stands for the value of another key, as in torchtune's configs, and ``extends`` for
    another file (:func:`read_yaml`).
    """
    also = {field.metadata["also"]: field.name for field, _ in _keys(schema) if field.metadata.get("also")}
    config_file, given = split_arguments(arguments)
    values = read_yaml(config_file) if config_file else {}
    for where, keys in ((config_file, values.keys()), ("command line", dict(given).keys())):
        for second, name in also.items():
            if {second, name} <= keys:
                raise InputError(f"{where}: give one of {name} and {second}")
    overrides = [(also.get(name, name), text) for name, text in given]
    values = {also.get(name, name): value for name, value in values.items()}
    if config_file:
        values = _interpolated(values, with_overrides(schema, values, overrides), config_file)
    try:
        config = typing.cast(Config, _convert(schema, with_overrides(schema, values, overrides), "", {}))
        for name, value in vars(config).items():
            if config_file and isinstance(value, Path) and value.resolve() == config_file.resolve():
                raise _Refusal(name, f"{name}: names the file of --config itself")
        return config
    except _Refusal as refusal:
        path, why = refusal.args
        in_file = config_file and not any(re.match(rf"{re.escape(name)}\b", path) for name, _ in overrides)
        see = " (see --help)" if why.startswith("missing") else ""
        raise InputError(f"{config_file if in_file else 'command line'}: {why}{see}") from None


def from_mapping(schema: type[Config], values: Any, where: str) -> Config:
    """Builds a dataclass of dataclasses, lists, tuples, dicts and plain values from a mapping that YAML or JSON holds.

    Its ``__post_init__`` may check what belongs together, by raising an :class:`InputError`, as is raised here for
    keys that are unknown or missing and values that do not fit: ``where: section.key[0]: ...``.
    """
    try:
        return typing.cast(Config, _convert(schema, values, "", {}))
    except _Refusal as refusal:
        raise InputError(f"{where}: {refusal.args[1]}") from None


def with_overrides(schema: Any, values: Mapping[str, Any], overrides: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """A copy of a YAML's values with ``section.key`` set to texts, each read as the key's type asks."""
    result = copy.deepcopy(dict(values))
    for name, text in overrides:
        hint, place = schema, result
        *sections, last = name.split(".")
        for part in sections:
            hint = _below(hint, part)
            if not isinstance(place.get(part), dict):
                place[part] = {}
            place = place[part]
        place[last] = _read(_below(hint, last), text)
    return result


def read_yaml(path: Path, root: type = dict, below: tuple[Path, ...] = ()) -> Any:
    """The mapping (or list) in a YAML file; an empty file's is empty.

    ``extends: OTHER.yaml``, a path from the file's folder, stands for that file's keys; what this one has goes before,
    a section as a whole. Numbers, true, false and null are YAML 1.2's (5e-3 is a number; 007, 1_000, yes and 2026-11-27
    are texts), keys are texts as written, and no key stands twice. What cannot be read is an :class:`InputError` with
    the line. ``below`` are files that extend this one.
    """
    try:
        loaded = _parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise InputError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', None) or 'broken'}") from None
    loaded = root() if loaded is None else loaded
    if not isinstance(loaded, root):
        raise InputError(f"{path}: expected a {'mapping of keys to values' if root is dict else root.__name__}")
    if root is dict and _EXTENDS in loaded:
        other, below = loaded.pop(_EXTENDS), (*below, path.resolve())
        if not isinstance(other, str) or "\0" in other or (path.parent / other).resolve() in below:
            raise InputError(f"{path}: {_EXTENDS}: expected another YAML")
        if not (path.parent / other).is_file():
            raise InputError(f"{path}: {_EXTENDS}: {path.parent / other}: no such file")
        loaded = read_yaml(path.parent / other, root, below) | loaded
    return loaded


def yaml_files(path: Path) -> tuple[Path, ...]:
    """The files that make up a YAML that :func:`read_yaml` reads: itself, what it extends, what that extends."""
    other = (_parse_yaml(path.read_text(encoding="utf-8")) or {}).get(_EXTENDS)
    return (path, *(yaml_files(path.parent / other) if other else ()))


def help_text(schema: type, description: str) -> str:
    """The ``--help`` page: the command's docstring, then every key with its type, default, meaning and limits."""
    lines = [description.strip(), "", "keys (key=value on the command line, or in a YAML given with --config):"]
    return "\n".join([*lines, *_help_lines(schema, "")])


def _help_lines(schema: Any, prefix: str) -> Iterable[str]:
    for field, hint in _keys(schema):
        name, items = f"{prefix}{field.name}", _item_hint(hint)
        if dataclasses.is_dataclass(hint):
            yield from _help_lines(hint, f"{name}.")
        elif dataclasses.is_dataclass(items) and _origin(hint) is dict:
            yield from _help_lines(items, f"{prefix if field.metadata.get('rest') else f'{name}.'}NAME.")
        else:
            default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            stated = "required" if default is dataclasses.MISSING else f"default: {_yaml_text(default)}"
            yield f"  {name}  ({_type_name(hint)}, {stated})"
            choices, limits = field.metadata.get("choices"), _range_words(field.metadata)
            one_of = f" One of: {', '.join(choices)}." if choices else ""
            also = f" Also {field.metadata['also']}=." if field.metadata.get("also") else ""
            yield f"      {field.metadata.get('help', '')}{one_of}{f' {limits.capitalize()}.' if limits else ''}{also}"


def _yaml_text(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
    return yaml.safe_dump(plain, default_flow_style=True).split("\n...")[0].strip()


def split_arguments(arguments: Sequence[str]) -> tuple[Path | None, list[tuple[str, str]]]:
    """Splits a command line into its ``--config`` file and its ``key=value`` overrides, or refuses it."""
    files, overrides = [], []
    rest = iter(arguments)
    for argument in rest:
        name, equals, text = argument.partition("=")
        if name == "--config":
            files.append(text if equals else next(rest, ""))
        elif equals and not name.startswith("-"):
            overrides.append((name.strip(), text))
        else:
            # `text=No effusion` without its quotes leaves words of a report as arguments, `[a, b]` those of a list.
            write = f": write {name.lstrip('-')}=..." if equals and shown(name) != NOT_SHOWN else ""
            write = write if name.startswith("-") else "; put quotes around a value with spaces"
            raise InputError(f"{shown(name)} is not key=value{write} (see --help)")
    if files and not files[0]:
        raise InputError("--config needs a file name")
    if len(files) > 1:
        raise InputError("--config is given twice")
    return Path(files[0]) if files else None, overrides


class _Loader(yaml.SafeLoader):
    """YAML's safe loader with the plain values of YAML 1.2's core schema, so that nothing typed turns into another."""

    yaml_implicit_resolvers: typing.ClassVar[dict[Any, Any]] = {}
    yaml_constructors: typing.ClassVar[dict[Any, Any]] = {
        name: yaml.SafeLoader.yaml_constructors[name]
        for name in (None, *(f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "float", "str", "seq")))
    }

    def mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode) or name.value in result:
                problem = f"key {shown(name.value)} stands twice" if isinstance(name.value, str) else "a key is no text"
                raise yaml.constructor.ConstructorError(problem=problem, problem_mark=name.start_mark)
            result[name.value] = self.construct_object(value, deep=True)
        return result


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node)))
for _kind, _pattern in (
    ("null", r"~|null|Null|NULL|"),
    ("bool", r"true|True|TRUE|false|False|FALSE"),
    ("int", r"[-+]?(0|[1-9]\d*)"),
    ("float", r"[-+]?(\.\d+|(0|[1-9]\d*)(\.\d*)?)([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?a:{_pattern})\Z"), None)


def _parse_yaml(text: str) -> Any:
    """A YAML text's content, see :func:`read_yaml`; or a ``yaml.YAMLError``."""
    loader = _Loader(text)
    loader.deep_construct = True  # refuses an anchor inside of what it names
    try:
        return loader.get_single_data()
    except RecursionError:
        raise yaml.MarkedYAMLError(problem="nested too deeply") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        # What constructors raise for a value that its tag does not fit.
        raise yaml.MarkedYAMLError(problem="holds an impossible number or tag") from None


def _interpolated(value: Any, values: Mapping[str, Any], where: Path, depth: int = 0) -> Any:
    """A value with each ``${section.key}`` in its texts replaced."""
    if isinstance(value, dict):
        return {name: _interpolated(item, values, where, depth) for name, item in value.items()}
    if isinstance(value, list):
        return [_interpolated(item, values, where, depth) for item in value]
    if not isinstance(value, str) or "${" not in value:
        return value

    def value_of(found: re.Match[str]) -> Any:
        other: Any = values
        for part in found[1].split("."):
            other = other.get(part) if isinstance(other, dict) else None
        if not isinstance(other, str | int | float) or depth > 8:
            raise InputError(f"{where}: {shown(found[1])} in ${{}} names no key with a plain value")
        return _interpolated(other, values, where, depth + 1)

    # OmegaConf's resolvers, which read the environment among others, are no names of keys.
    pattern = re.compile(r"\$\{([^}]*)\}?")
    whole = pattern.fullmatch(value)
    return value_of(whole) if whole else pattern.sub(lambda found: str(value_of(found)), value)


@cache
def _keys(schema: Any) -> list[tuple[dataclasses.Field[Any], Any]]:
    """The fields that are keys, each with its type."""
    hints = typing.get_type_hints(schema)
    return [(field, hints[field.name]) for field in dataclasses.fields(schema) if field.init]


def _members(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _origin(hint: Any) -> Any:
    return typing.get_origin(hint) or hint


def _item_hint(hint: Any) -> Any:
    """The type of a list's items or a dict's values; Any, where it has none."""
    arguments = [argument for argument in typing.get_args(hint) if argument is not Ellipsis]
    return arguments[-1] if arguments and _origin(hint) in _CONTAINERS else Any


def _below(hint: Any, name: str) -> Any:
    """The type of a key below a value of a type; Any, if it has none of that name."""
    for member in _members(hint):
        if dataclasses.is_dataclass(member):
            keys = {field.name: hint for field, hint in _keys(member)}
            return keys.get(name) or _item_hint(keys.get(_rest(member)))
        if _origin(member) is dict:
            return _item_hint(member)
    return Any


def _rest(schema: Any) -> str:
    """The key that takes all other sections; empty where there is none."""
    return next((field.name for field in dataclasses.fields(schema) if field.metadata.get("rest")), "")


def _read(hint: Any, text: str) -> Any:
    """A value from the command line. A text stays as typed: YAML makes a mapping of `text="No effusion: clear"`."""
    members = _members(hint)
    if types.NoneType in members and text in ("null", ""):
        return None
    if not any(_origin(member) in (Any, object, *_CONTAINERS) for member in members):
        return text if str in members or Path in members else text.strip()
    try:
        value = _parse_yaml(text)
    except yaml.YAMLError:
        return text  # which is no list or mapping, and refused as such
    return value if isinstance(value, (dict, list)) or not {str, Path} & set(members) else text


def _convert(hint: Any, value: Any, path: str, limits: Mapping[str, Any]) -> Any:
    if hint is str is type(value) and not limits:
        return value  # as thousands of phrases are
    members = _members(hint)
    if {Any, object} & set(members) or (value is None and types.NoneType in members):
        return value
    for member in members:
        origin, items = _origin(member), typing.get_args(member)
        if isinstance(value, Mapping) and dataclasses.is_dataclass(member):
            return _dataclass(member, value, path)
        if isinstance(value, Mapping) and origin is dict:
            below = _item_hint(member)
            return {name: _convert(below, item, _join(path, name), limits) for name, item in value.items()}
        if isinstance(value, (list, tuple)) and origin in (list, tuple):
            if origin is list or not items or Ellipsis in items:
                items = (_item_hint(member),) * len(value)
            if len(items) == len(value):
                pairs = enumerate(zip(items, value, strict=True))
                return origin(_convert(below, item, f"{path}[{i}]", limits) for i, (below, item) in pairs)
        if isinstance(value, str) and origin is typing.Literal:
            _check(value, path, {"choices": items})
        with suppress(TypeError, ValueError):  # msgspec's is one
            plain = _plain(member, value)
            _check(plain, path, limits)
            return plain
    if not path:
        raise _Refusal(path, "expected a mapping of keys to values")
    how = f"; write {path}=[a, b]" if isinstance(value, str) and {list, tuple} & set(map(_origin, members)) else ""
    how = "; write it in quotes" if isinstance(value, (int, float)) and str in members else how
    raise _Refusal(path, f"{path}: expected {_type_name(hint)}{how}")


def _dataclass(schema: Any, values: Mapping[str, Any], path: str) -> Any:
    keys, rest = _keys(schema), _rest(schema)
    hints = {field.name: hint for field, hint in keys}
    known = [name for name in hints if name != rest]
    known += [f"NAME.{field.name}" for field, _ in _keys(_item_hint(hints[rest]))] if rest else []
    given, missing, others = dict[str, Any](), [], {}
    for name in [name for name in values if name not in hints]:
        full = f"{path}.{name}" if path else str(name)
        if not rest or not isinstance(values[name], Mapping):
            raise _Refusal(full, f"unknown key {shown(full)}{nearest(str(name), known)}")
        others[name] = _convert(_item_hint(hints[rest]), values[name], full, {})
    for field, hint in keys:
        name = _join(path, field.name)
        if field.name in values:
            given[field.name] = _convert(hint, values[field.name], name, field.metadata)
        elif dataclasses.is_dataclass(field.default_factory):
            given[field.name] = _convert(hint, {}, name, {})  # for it may have keys that are required
        elif field.default is field.default_factory is dataclasses.MISSING:
            missing.append(name)
    if missing:
        raise _Refusal(path, f"missing required key: {', '.join(missing)}")
    if others:
        given[rest] = given.get(rest, {}) | others
    try:
        return schema(**given)
    except InputError as error:
        raise _Refusal(path, f"{path}: {error}" if path else str(error)) from None


def _plain(hint: Any, value: Any) -> Any:
    if hint is Path and isinstance(value, (str, Path)) and "\0" not in str(value):
        return Path(value)
    # 007 is a text, 7 a number, and either may be what a thing is called.
    return str(value) if hint is str and type(value) is int else msgspec.convert(value, hint, strict=False)


def _check(value: Any, path: str, limits: Mapping[str, Any]) -> None:
    choices = limits.get("choices")
    if choices and value not in choices:
        raise _Refusal(path, f"{path}: expected one of {', '.join(choices)}{nearest(str(value), choices)}")
    # Infinity less itself is no number.
    if isinstance(value, float) and value - value != 0:
        raise _Refusal(path, f"{path}: expected a finite number")
    for name, (holds, _) in _RANGES.items():
        if limits.get(name) is not None and not holds(value, limits[name]):
            raise _Refusal(path, f"{path}: expected {_range_words(limits)}")


def _range_words(limits: Mapping[str, Any]) -> str:
    stated = [words.format(f"{limits[name]:,}") for name, (_, words) in _RANGES.items() if limits.get(name) is not None]
    return " and ".join(stated)


def _join(path: str, name: str) -> str:
    # The keys of a mapping may be anything.
    named = name if looks_like_name(name) or shown(name) != NOT_SHOWN else NOT_SHOWN
    return f"{path}.{named}" if path else named


def _type_name(hint: Any) -> str:
    members, origin = _members(hint), _origin(hint)
    if len(members) > 1:
        return " or ".join("null" if member is types.NoneType else _type_name(member) for member in members)
    if dataclasses.is_dataclass(hint):
        return "keys below it"
    if origin is typing.Literal:
        return "one of " + ", ".join(typing.get_args(hint))
    between = " to " if origin is dict else ", "
    items = between.join(_type_name(item) for item in typing.get_args(hint) if item is not Ellipsis)
    name = {Path: "path", tuple: "list"}.get(origin, getattr(origin, "__name__", str(origin)))
    return f"{name} of {items}" if items else name
