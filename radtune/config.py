"""One command grammar for every entry point: ``ENTRY.py [--config FILE.yaml] [key=value ...]``.

A command's keys are the fields of a dataclass, declared with :func:`key`. The dataclass is an OmegaConf structured
config, so a YAML file and the command line are held to its names and types, and ``--help`` is printed from it.
"""

import dataclasses
import difflib
import os
import signal
import sys
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

Config = TypeVar("Config")

EXIT_INPUT_ERROR = 2


class InputError(ValueError):
    """What the user gave cannot be used. The message is one line that says what and where; commands exit with 2."""


def key(help: str, default: Any = MISSING, choices: Sequence[str] = ()) -> Any:
    """Declares one key of a command's config dataclass.

    Args:
        help: Meaning of the key, shown by ``--help``.
        default: Its default; left out, the key is required.
        choices: The values a string key may take; empty if any.

    Returns:
        A dataclass field.
    """
    metadata = {"help": help, "choices": tuple(choices)}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def parse_config(schema: type[Config], arguments: Sequence[str]) -> Config:
    """Builds a config from a YAML file and ``key=value`` overrides, the later winning.

    Args:
        schema: The command's config dataclass.
        arguments: Command line without the program's name.

    Returns:
        An instance of ``schema`` with every required key set.

    Raises:
        InputError: Unknown, missing or ill-typed key, or a config file that is absent or no YAML mapping.
    """
    config_file, overrides = split_arguments(arguments)
    config = OmegaConf.structured(schema)
    if config_file is not None:
        config = _merge(config, _load_yaml(config_file), where=str(config_file))
    for name, text in overrides:
        _check_name(schema, name, where="command line")
        config = _merge(config, {name: _value(schema, name, text)}, where="command line")
    try:
        missing = sorted(OmegaConf.missing_keys(config))
        if missing:
            raise InputError(f"missing required key: {', '.join(missing)} (give {missing[0]}=..., or see --help)")
        result = typing.cast(Config, OmegaConf.to_object(config))
    except OmegaConfBaseException as error:
        raise InputError(one_line(error)) from None
    _check_choices(result)
    _check_items(schema, result)
    _check_paths(result)
    return result


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
        sys.exit(_fail(program, str(error)))
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away (`... | head`): nothing is wrong, and nobody listens.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def help_text(schema: type, description: str) -> str:
    """The ``--help`` page: the command's docstring, then every key with its type, default and meaning."""
    hints = typing.get_type_hints(schema)
    lines = [description.strip(), "", "keys (key=value on the command line, or in a YAML given with --config):"]
    for field in dataclasses.fields(schema):
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        shown = "required" if default == MISSING else f"default: {'null' if default is None else _yaml_text(default)}"
        lines.append(f"  {field.name}  ({_type_name(hints[field.name])}, {shown})")
        choices = field.metadata["choices"]
        meaning = field.metadata["help"] + (f" One of: {', '.join(choices)}." if choices else "")
        lines.append(f"      {meaning}")
    return "\n".join(lines)


def _fail(program: str, message: str) -> int:
    print(f"{program}: error: {' '.join(message.split())}", file=sys.stderr)
    return EXIT_INPUT_ERROR


def _raise_interrupt(signum: int, frame: types.FrameType | None) -> None:
    raise KeyboardInterrupt


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
        if argument == "--config" or argument.startswith("--config="):
            value = argument[len("--config=") :] if "=" in argument else (rest.pop(0) if rest else "")
            if not value:
                raise InputError("--config needs a file name")
            if config_file is not None:
                raise InputError("--config is given twice")
            config_file = Path(value)
        elif "=" in argument and not argument.startswith("-"):
            name, _, text = argument.partition("=")
            overrides.append((name.strip(), text))
        else:
            raise InputError(f"{argument!r} is not key=value (see --help)")
    return config_file, overrides


def _load_yaml(path: Path) -> dict[str, Any]:
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
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise InputError(f"{path}: expected a mapping of keys to values")
    return loaded


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader, but the later of two values of a key does not silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[tuple[str, str]] = set()
        for name, _ in node.value:
            if isinstance(name, yaml.ScalarNode):
                if (name.tag, name.value) in seen:
                    problem = f"key {name.value!r} stands twice"
                    raise yaml.constructor.ConstructorError(problem=problem, problem_mark=name.start_mark)
                seen.add((name.tag, name.value))
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """A YAML text's content, held to more than YAML's own safe loader: no key twice in one mapping.

    Raises:
        yaml.YAMLError: It is none, is nested too deeply, or holds a date or number that cannot be.
    """
    try:
        return yaml.load(text, _UniqueKeyLoader)  # noqa: S506  (a SafeLoader)
    except RecursionError:
        raise yaml.MarkedYAMLError(problem="nested too deeply") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        # What the constructors of dates and numbers let through, e.g. for the 99th day of a month.
        raise yaml.MarkedYAMLError(problem="holds an impossible date or number") from None


def _merge(config: Any, values: dict[str, Any], where: str) -> Any:
    for name in values:
        _check_name(typing.cast(type, OmegaConf.get_type(config)), str(name), where)
    try:
        return OmegaConf.merge(config, values)
    except OmegaConfBaseException as error:
        raise InputError(f"{where}: {one_line(error)}") from None
    except RecursionError:
        raise InputError(f"{where}: {', '.join(values)}: nested too deeply") from None


def nearest(name: str, known: Sequence[str]) -> str:
    """A ``; did you mean X?`` for a misspelt name, or the empty string when nothing is near."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _check_name(schema: type, name: str, where: str) -> None:
    known = [field.name for field in dataclasses.fields(schema)]
    if name not in known:
        raise InputError(f"{where}: unknown key {name!r}{nearest(name, known)}")


def _check_choices(config: Any) -> None:
    for field in dataclasses.fields(config):
        choices, value = field.metadata["choices"], getattr(config, field.name)
        if choices and value is not None and value not in choices:
            raise InputError(
                f"{field.name}: {value!r} is not one of {', '.join(choices)}{nearest(str(value), choices)}"
            )


def _check_items(schema: type, config: Any) -> None:
    """OmegaConf lets a list or mapping stand where a list's items are to be strings."""
    for name, hint in typing.get_type_hints(schema).items():
        value = getattr(config, name)
        plain = isinstance(value, list) and not any(map(typing.get_origin, typing.get_args(hint)))
        if plain and any(isinstance(item, (list, dict)) for item in value):
            raise InputError(f"{name}: an item of the list is itself a list or mapping")


def _check_paths(config: Any) -> None:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        for path in value if isinstance(value, list) else [value]:
            if isinstance(path, Path) and "\0" in str(path):
                raise InputError(f"{field.name}: {str(path)!r} holds a NUL byte, which no file name can")


def _value(schema: type, name: str, text: str) -> Any:
    hint = typing.get_type_hints(schema)[name]
    members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if types.NoneType in members and text in ("null", ""):
        return None
    # All but lists and mappings stay as typed, and OmegaConf converts them: YAML would turn `text="No effusion: clear"`
    # into a mapping and `seed=010` into 8.
    if not any(typing.get_origin(member) for member in members):
        return text
    try:
        value = parse_yaml(text)
    except yaml.YAMLError:
        raise InputError(f"{name}: cannot read {text[:60]!r} as {_type_name(hint)}") from None
    if list in map(typing.get_origin, members) and not isinstance(value, list):
        raise InputError(f"{name}: {text!r} is no list, write {name}=[{text}]")
    return value


def _type_name(hint: Any) -> str:
    if isinstance(hint, types.UnionType):
        return " or ".join("null" if h is types.NoneType else _type_name(h) for h in typing.get_args(hint))
    origin = typing.get_origin(hint)
    if origin is not None:
        return f"{origin.__name__} of {' to '.join(_type_name(h) for h in typing.get_args(hint))}"
    return "path" if hint is Path else getattr(hint, "__name__", str(hint))


def _yaml_text(value: Any) -> str:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    return (
        yaml.safe_dump(str(value) if isinstance(value, Path) else value, default_flow_style=True)
        .split("\n...")[0]
        .strip()
    )


def one_line(error: Exception) -> str:
    """An error of OmegaConf's in one line, the key that it is about first."""
    # Its messages carry `full_key: x` on a second line.
    lines = str(error).splitlines()
    full_key = next((line.split(":", 1)[1].strip() for line in lines if line.strip().startswith("full_key:")), "")
    return f"{full_key}: {lines[0]}" if full_key else lines[0]


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping."""
    return _load_yaml(path)


def from_mapping(schema: type[Config], values: dict[str, Any], where: str) -> Config:
    """A dataclass from a mapping; unknown keys and ill-typed values are refused by their names."""
    import msgspec

    for name in values:
        _check_name(schema, str(name), where)
    try:
        return msgspec.convert(values, schema, strict=False)
    except msgspec.ValidationError as error:
        raise InputError(f"{where}: {error}") from None
