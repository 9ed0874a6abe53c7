"""One grammar for whatever a person sets: ``ENTRY.py [--config FILE.yaml] [key=value] [section.key=value ...]``.

Keys are the fields of a dataclass, declared with :func:`key`. Command lines, training YAMLs, studies, tasks and price
lists are held to their names, types, choices and ranges, and refused in the same words; ``--help`` is made from them.
No value stands in such words: it may be a patient's.
"""

import copy
import dataclasses
import difflib
import enum
import math
import operator
import os
import re
import signal
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

Config = TypeVar("Config")

EXIT_INPUT_ERROR = 2
_RANGES = {"ge": (operator.ge, "{} or more"), "gt": (operator.gt, "more than {}"), "le": (operator.le, "at most {}")}
# What may be a key's name in a message; `text=No effusion` without its quotes leaves words of a report as arguments.
_NAME = re.compile(r"[\w.\-\[\]]{0,60}")


class InputError(ValueError):
    """What the user gave cannot be used. The message is one line that says what and where; commands exit with 2."""


class _Refusal(Exception):
    """A value that its schema refuses: where it stands below the root, and why."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


def key(
    help: str = "",
    default: Any = dataclasses.MISSING,
    choices: Sequence[str] = (),
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    rest: bool = False,
) -> Any:
    """Declares one key, a dataclass field.

    Args:
        help: Its meaning, shown by ``--help``.
        default: Left out, the key is required. A dataclass: the key has keys of its own below it.
        choices: What the value, or each item of a list or mapping, may be; empty for anything.
        ge: The least that it, or each item, may be.
        gt: What it, or each item, must exceed.
        le: The most that it, or each item, may be.
        rest: Of a mapping: takes the sections that no other key has the name of.
    """
    metadata = {"help": help, "choices": tuple(choices), "ge": ge, "gt": gt, "le": le, "rest": rest}
    if isinstance(default, (list, dict, type)):
        make = default if isinstance(default, type) else lambda: copy.deepcopy(default)
        return dataclasses.field(default_factory=make, metadata=metadata, kw_only=True)
    return dataclasses.field(default=default, metadata=metadata, kw_only=True)


def parse_config(schema: type[Config], arguments: Sequence[str]) -> Config:
    """Builds a config from a YAML file and ``key=value`` overrides, the later winning.

    In the file ``${section.key}`` stands for the value of another key, as in torchtune's configs.

    Raises:
        InputError: An argument that is neither; a file that cannot be read; and as :func:`from_mapping`.
    """
    config_file, overrides = split_arguments(arguments)
    values: dict[str, Any] = {}
    if config_file is not None:
        values = read_yaml(config_file)
        values = _interpolated(values, with_overrides(schema, values, overrides), config_file)
    try:
        return typing.cast(Config, _convert(schema, with_overrides(schema, values, overrides), "", {}))
    except _Refusal as refusal:
        in_file = config_file and not any(re.match(rf"{re.escape(name)}\b", refusal.path) for name, _ in overrides)
        where = config_file if in_file else "command line"
        see = " (see --help)" if str(refusal).startswith("missing") else ""
        raise InputError(f"{where}: {refusal}{see}") from None


def from_mapping(schema: type[Config], values: Any, where: str) -> Config:
    """Builds a dataclass of dataclasses, lists, tuples, mappings and plain values from what YAML or JSON holds.

    A dataclass may check what belongs together in its ``__post_init__``, by raising an :class:`InputError`.

    Args:
        schema: The dataclass; fields that are not declared with :func:`key` have neither choices nor ranges.
        values: A mapping.
        where: What messages open with, the file's name.

    Raises:
        InputError: ``where: section.key[0]: ...``: a key that is unknown (with the nearest one) or missing, or a value
            of another type, out of range or none of the choices.
    """
    try:
        return typing.cast(Config, _convert(schema, values, "", {}))
    except _Refusal as refusal:
        raise InputError(f"{where}: {refusal}") from None


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


def read_yaml(path: Path, root: type = dict) -> Any:
    """The mapping (or list) in a YAML file; an empty file's is empty.

    Numbers, true, false and null are YAML 1.2's (5e-3 is a number; 007, 1_000, yes and 2026-11-27 are texts), keys are
    texts as written, and no key stands twice.

    Raises:
        InputError: With the line: the file cannot be read, or holds something else.
    """
    try:
        loaded = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from None
    except ValueError:
        raise InputError(f"{str(path)!r}: no file name") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise InputError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', None) or 'broken'}") from None
    loaded = root() if loaded is None else loaded
    if not isinstance(loaded, root):
        raise InputError(f"{path}: expected a {'mapping of keys to values' if root is dict else root.__name__}")
    return loaded


def nearest(name: str, known: Iterable[str]) -> str:
    """A ``; did you mean X?`` for a misspelt name, or the empty string when nothing is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def run_command(main: Callable[[Config], None], schema: type[Config], arguments: Sequence[str] | None = None) -> None:
    """Runs a command: parses its config, calls it, and turns an :class:`InputError` into one line and exit code 2.

    Args:
        main: The command; its module's docstring opens ``--help``.
        schema: Its config dataclass.
        arguments: Command line without the program's name; the process's own if None.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    program = os.path.basename(sys.argv[0])
    # Without this, a report with an accented letter could not be printed on a terminal with an ASCII locale.
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    # A command stopped by a scheduler, or whose terminal goes away, unwinds like one stopped with Ctrl-C, so temporary
    # files go with it. Under nohup it was told to ignore the terminal.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _raise_interrupt)
    try:
        if any(argument in ("-h", "--help") for argument in arguments):
            print(help_text(schema, sys.modules[main.__module__].__doc__ or ""), flush=True)
            return
        main(parse_config(schema, arguments))
    except InputError as error:
        print(f"{program}: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(EXIT_INPUT_ERROR)
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away (`... | head`): nothing is wrong, and nobody listens.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _raise_interrupt(signum: int, frame: types.FrameType | None) -> None:
    raise KeyboardInterrupt


def help_text(schema: type, description: str) -> str:
    """The ``--help`` page: the command's docstring, then every key with its type, default, meaning and limits."""
    lines = [description.strip(), "", "keys (key=value on the command line, or in a YAML given with --config):"]
    return "\n".join([*lines, *_help_lines(schema, "")])


def _help_lines(schema: type, prefix: str) -> Iterable[str]:
    for field, hint in _keys(schema):
        inner = next(filter(dataclasses.is_dataclass, _members(hint)), None)
        items = _item_hint(hint)
        if inner is not None:
            yield from _help_lines(inner, f"{prefix}{field.name}.")
            continue
        if dataclasses.is_dataclass(items) and _origin(hint) is dict:
            yield from _help_lines(items, f"{prefix}{'' if field.metadata.get('rest') else field.name + '.'}NAME.")
            continue
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        shown = "required" if default is dataclasses.MISSING else f"default: {_yaml_text(default)}"
        yield f"  {prefix}{field.name}  ({_type_name(hint)}, {shown})"
        choices, limits = field.metadata.get("choices"), _range_words(field.metadata)
        one_of = f" One of: {', '.join(choices)}." if choices else ""
        yield f"      {field.metadata.get('help', '')}{one_of}{f' {limits.capitalize()}.' if limits else ''}"


def split_arguments(arguments: Sequence[str]) -> tuple[Path | None, list[tuple[str, str]]]:
    """Splits a command line into its ``--config`` file and its ``key=value`` overrides.

    Raises:
        InputError: An argument is neither.
    """
    config_file: Path | None = None
    overrides = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, text = argument.partition("=")
        if name == "--config":
            value = text if equals else (rest.pop(0) if rest else "")
            if not value:
                raise InputError("--config needs a file name")
            if config_file is not None:
                raise InputError("--config is given twice")
            config_file = Path(value)
        elif equals and not name.startswith("-"):
            overrides.append((name.strip(), text))
        else:
            raise InputError(f"{_shown(name)} is not key=value (see --help)")
    return config_file, overrides


class _Loader(yaml.SafeLoader):
    """YAML's safe loader with the plain values of YAML 1.2's core schema, so that nothing typed turns into another."""

    yaml_implicit_resolvers: typing.ClassVar[dict[Any, Any]] = {}
    yaml_constructors: typing.ClassVar[dict[Any, Any]] = {
        name: yaml.SafeLoader.yaml_constructors[name]
        for name in (None, *(f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "float", "str", "seq")))
    }


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in node.value:
        if not isinstance(name, yaml.ScalarNode) or name.value in result:
            problem = f"key {name.value!r} stands twice" if isinstance(name, yaml.ScalarNode) else "a key is no text"
            raise yaml.constructor.ConstructorError(problem=problem, problem_mark=name.start_mark)
        result[name.value] = loader.construct_object(value, deep=True)
    return result


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node)))
for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*|(?=[eE])))([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_pattern})\Z"), _first)


def parse_yaml(text: str) -> Any:
    """A YAML text's content; see :func:`read_yaml`.

    Raises:
        yaml.YAMLError: It is none, is nested too deeply, or holds a number that cannot be.
    """
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
            raise InputError(f"{where}: {_shown(found[1])} in ${{}} names no key with a plain value")
        return _interpolated(other, values, where, depth + 1)

    # OmegaConf's resolvers, which read the environment among others, are no names of keys.
    pattern = re.compile(r"\$\{([^}]*)\}?")
    whole = pattern.fullmatch(value)
    return value_of(whole) if whole else pattern.sub(lambda found: str(value_of(found)), value)


def _keys(schema: Any) -> list[tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(schema)
    return [(field, hints[field.name]) for field in dataclasses.fields(schema) if field.init]


def _members(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _origin(hint: Any) -> Any:
    """What a value of a type is made of: dict, list or tuple; else the type itself."""
    origin = typing.get_origin(hint) or hint
    return {Mapping: dict, Sequence: tuple}.get(origin, origin)


def _item_hint(hint: Any) -> Any:
    """The type of a list's items or a mapping's values; Any, where there are none."""
    arguments = [argument for argument in typing.get_args(hint) if argument is not Ellipsis]
    return arguments[-1] if arguments and _origin(hint) in (dict, list, tuple) else Any


def _below(hint: Any, name: str) -> Any:
    """The type of a key below a value of a type; Any, if it has none of that name."""
    for member in _members(hint):
        if dataclasses.is_dataclass(member):
            keys = _keys(member)
            rest = [_item_hint(hint) for field, hint in keys if field.metadata.get("rest")]
            return next((hint for field, hint in keys if field.name == name), rest[0] if rest else Any)
        if _origin(member) is dict:
            return _item_hint(member)
    return Any


def _read(hint: Any, text: str) -> Any:
    """A value from the command line. A text stays as typed: YAML makes a mapping of `text="No effusion: clear"`."""
    members = _members(hint)
    if types.NoneType in members and text in ("null", ""):
        return None
    if not any(_origin(member) in (Any, object, dict, list, tuple) for member in members):
        return text if str in members or Path in members else text.strip()
    try:
        value = parse_yaml(text)
    except yaml.YAMLError:
        return text  # which is no list or mapping, and refused as such
    return value if isinstance(value, (dict, list)) or str not in members else text


def _convert(hint: Any, value: Any, path: str, limits: Mapping[str, Any]) -> Any:
    members = _members(hint)
    if {Any, object} & set(members) or (value is None and types.NoneType in members):
        return value
    for member in members:
        origin, item = _origin(member), _item_hint(member)
        if dataclasses.is_dataclass(member) and isinstance(value, Mapping):
            return _dataclass(member, value, path)
        if origin is dict and isinstance(value, Mapping):
            return {name: _convert(item, below, _join(path, name), limits) for name, below in value.items()}
        if origin in (list, tuple) and isinstance(value, (list, tuple)):
            hints = typing.get_args(member)
            if origin is list or Ellipsis in hints or not hints or typing.get_origin(member) is not tuple:
                hints = (item,) * len(value)
            if len(hints) == len(value):
                pairs = enumerate(zip(hints, value, strict=True))
                return origin(_convert(hint, below, f"{path}[{place}]", limits) for place, (hint, below) in pairs)
        if origin is typing.Literal and isinstance(value, str):
            return _checked(value, path, {"choices": typing.get_args(member)})
        if origin not in (dict, list, tuple) and not dataclasses.is_dataclass(member):
            try:
                return _checked(_scalar(member, value), path, limits)
            except (TypeError, ValueError):  # msgspec's is one
                continue
    raise _refused(path, hint, value, limits)


def _dataclass(schema: Any, values: Mapping[str, Any], path: str) -> Any:
    keys = {field.name: (field, hint) for field, hint in _keys(schema)}
    # A section that is left out may have keys that are required.
    values = {name: {} for name, (field, _) in keys.items() if dataclasses.is_dataclass(field.default_factory)} | dict(
        values
    )
    rest = next((name for name, (field, _) in keys.items() if field.metadata.get("rest")), None)
    taken: dict[str, Any] = {}
    for name in [name for name in values if name not in keys]:
        full = _join(path, name)
        if rest is None or not isinstance(values[name], Mapping):
            raise _Refusal(full, f"unknown key {_shown(full)}{nearest(str(name), keys)}")
        taken[name] = _convert(_item_hint(keys[rest][1]), values.pop(name), full, {})
    needed = [
        name
        for name, (field, _) in keys.items()
        if field.default is field.default_factory is dataclasses.MISSING and name not in values
    ]
    if needed:
        raise _Refusal(path, f"missing required key: {', '.join(_join(path, name) for name in needed)}")
    given = {
        name: _convert(hint, values[name], _join(path, name), field.metadata)
        for name, (field, hint) in keys.items()
        if name in values
    }
    if rest is not None and taken:
        given[rest] = given.get(rest, {}) | taken
    try:
        return schema(**given)
    except InputError as error:
        raise _Refusal(path, f"{path}: {error}" if path else str(error)) from None


def _scalar(hint: Any, value: Any) -> Any:
    if hint is Path and isinstance(value, (str, Path)) and "\0" not in str(value):
        return Path(value)
    # 007 is a text, 7 a number, and either may be what a thing is called.
    if hint is str and type(value) is int:
        return str(value)
    return msgspec.convert(value, hint, strict=False)


def _checked(value: Any, path: str, limits: Mapping[str, Any]) -> Any:
    choices = limits.get("choices")
    if choices and value not in choices:
        raise _Refusal(path, f"{path}: expected one of {', '.join(choices)}{nearest(str(value), choices)}")
    for name, (holds, _) in _RANGES.items():
        if limits.get(name) is not None and not (math.isfinite(value) and holds(value, limits[name])):
            raise _Refusal(path, f"{path}: expected {_range_words(limits)}")
    return value


def _refused(path: str, hint: Any, value: Any, limits: Mapping[str, Any]) -> _Refusal:
    how = ""
    if isinstance(value, (int, float)) and str in _members(hint):
        how = "; write it in quotes"
    if isinstance(value, str) and any(_origin(member) in (list, tuple) for member in _members(hint)):
        how = f"; write {path}=[a, b]"
    return _Refusal(
        path, f"{path}: expected {_type_name(hint)}{how}" if path else "expected a mapping of keys to values"
    )


def _range_words(limits: Mapping[str, Any]) -> str:
    return " and ".join(
        words.format(f"{limits[name]:,}") for name, (_, words) in _RANGES.items() if limits.get(name) is not None
    )


def _join(path: str, name: Any) -> str:
    return f"{path}.{name}" if path else str(name)


def _shown(name: str) -> str:
    return repr(name) if _NAME.fullmatch(name) else "(a text that is not shown)"


def _type_name(hint: Any) -> str:
    members = _members(hint)
    if len(members) > 1:
        return " or ".join("null" if member is types.NoneType else _type_name(member) for member in members)
    if typing.get_origin(hint) is typing.Literal or isinstance(hint, enum.EnumType):
        return " or ".join(typing.get_args(hint) or [str(member.value) for member in hint])
    if dataclasses.is_dataclass(hint):
        return "keys below it"
    arguments = [_type_name(argument) for argument in typing.get_args(hint) if argument is not Ellipsis]
    name = "path" if hint is Path else getattr(_origin(hint), "__name__", str(hint)).replace("tuple", "list")
    return (
        f"{name} of {' to '.join(arguments) if _origin(hint) is dict else ', '.join(arguments)}" if arguments else name
    )


def _yaml_text(value: Any) -> str:
    if isinstance(value, tuple):
        value = list(value)
    text = yaml.safe_dump(str(value) if isinstance(value, Path) else value, default_flow_style=True)
    return text.split("\n...")[0].strip()


def one_line(error: Exception) -> str:
    """An error of OmegaConf's in one line, the key that it is about first."""
    # Its messages carry `full_key: x` on a second line.
    lines = str(error).splitlines()
    full_key = next((line.split(":", 1)[1].strip() for line in lines if line.strip().startswith("full_key:")), "")
    return f"{full_key}: {lines[0]}" if full_key else lines[0]
