"""The command grammar: keys, types, YAML, overrides, help, and one line for every mistake."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radtune.config import InputError, help_text, key, nearest, parse_config


@dataclass
class Keys:
    """Keys of every kind."""

    output: Path = key("Where to.")
    text: str = key("Any words.", "")
    count: int = key("How many.", 3)
    rate: float = key("How fast.", 0.1)
    show_text: bool = key("Whether to show it.", False)
    limit: int | None = key("At most so many.", None)
    source: str = key("Where from.", "openi", choices=("openi", "mimic_cxr"))
    tasks: list[str] = key("Which ones.", ["a", "b"])
    sizes: dict[str, int] = key("How large.", {})


@dataclass
class PathKeys:
    output: Path = key("Where to.", Path("o"))
    others: list[Path] = key("Where from.", [])
    text: str = key("Any words.", "")


GIVEN = "output=out.jsonl"


def parse(*arguments: str) -> Keys:
    return parse_config(Keys, [GIVEN, *arguments])


def test_defaults() -> None:
    assert parse() == Keys(output=Path("out.jsonl"))


@pytest.mark.parametrize(
    ("argument", "name", "value"),
    [
        ("output=a b/c.jsonl", "output", Path("a b/c.jsonl")),
        ("text=No effusion: clear", "text", "No effusion: clear"),
        ("text=a=b=c", "text", "a=b=c"),
        ("text=[a, {b: c}]", "text", "[a, {b: c}]"),
        ("text=null", "text", "null"),
        ("text=", "text", ""),
        ("text=12", "text", "12"),
        ("text=$5 and 3%", "text", "$5 and 3%"),
        ("text= two ", "text", " two "),
        ("count=7", "count", 7),
        ("count=-7", "count", -7),
        ("count=010", "count", 10),
        ("rate=3e-4", "rate", 3e-4),
        ("rate=2", "rate", 2.0),
        ("show_text=true", "show_text", True),
        ("show_text=False", "show_text", False),
        ("limit=5", "limit", 5),
        ("limit=null", "limit", None),
        ("limit=", "limit", None),
        ("tasks=[c, 1]", "tasks", ["c", "1"]),
        ("tasks=[]", "tasks", []),
        ("sizes={a: 1}", "sizes", {"a": 1}),
        ("source=mimic_cxr", "source", "mimic_cxr"),
        (" count =4", "count", 4),
    ],
)
def test_values(argument: str, name: str, value: object) -> None:
    parsed = getattr(parse(argument), name)
    assert parsed == value
    assert type(parsed) is type(value) or isinstance(value, Path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cuont=3"], "command line: unknown key 'cuont'; did you mean 'count'?"),
        (["zzz=3"], "command line: unknown key 'zzz'"),
        (["=3"], "command line: unknown key ''"),
        (["sizes.a=1"], "command line: unknown key 'sizes.a'; did you mean 'sizes'?"),
        (["count"], "'count' is not key=value (see --help)"),
        (["--count=3"], "'--count=3' is not key=value (see --help)"),
        (["--config"], "--config needs a file name"),
        (["--config="], "--config needs a file name"),
        (["--config", "a.yaml", "--config=b.yaml"], "--config is given twice"),
        (["count=1.5"], "command line: count: Value '1.5' of type 'str' could not be converted to Integer"),
        (["count=12:30"], "command line: count: Value '12:30' of type 'str' could not be converted to Integer"),
        (["count=null"], "command line: count: Value 'null' of type 'str' could not be converted to Integer"),
        (["rate=fast"], "command line: rate: Value 'fast' of type 'str' could not be converted to Float"),
        (["show_text=maybe"], "command line: show_text: Value 'maybe' is not a valid bool (type str)"),
        (["tasks=c"], "tasks: 'c' is no list, write tasks=[c]"),
        (["tasks=[c,[d]]"], "tasks: an item of the list is itself a list or mapping"),
        (["tasks=[{c: d}]"], "tasks: an item of the list is itself a list or mapping"),
        (["tasks=[c"], "tasks: cannot read '[c' as list of str"),
        (["tasks=[2024-99-99]"], "tasks: cannot read '[2024-99-99]' as list of str"),
        (["tasks=" + "[" * 5000], f"tasks: cannot read {'[' * 60!r} as list of str"),
        (["tasks=" + "[" * 200 + "]" * 200], "command line: tasks: nested too deeply"),
        (["sizes={a: 1, a: 2}"], "sizes: cannot read '{a: 1, a: 2}' as dict of str to int"),
        (["sizes=1"], "command line: sizes: Cannot assign int to Dict[str, int]"),
        (["source=opni"], "source: 'opni' is not one of openi, mimic_cxr; did you mean 'openi'?"),
        (["text=${"], "command line: text: no viable alternative at input '${'"),
        (["text=${nope}"], "text: Interpolation key 'nope' not found"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(*arguments)
    assert str(caught.value) == message


def test_a_missing_key_is_named() -> None:
    with pytest.raises(InputError, match=r"missing required key: output \(give output=\.\.\., or see --help\)"):
        parse_config(Keys, [])


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    config = tmp_path / "keys.yaml"
    config.write_text("# a comment\noutput: from_file.jsonl\ncount: 5\ntasks: [x]\nlimit: null\n")
    for option in (["--config", str(config)], [f"--config={config}"]):
        parsed = parse_config(Keys, ["count=1", *option, "count=2"])
        assert parsed == Keys(output=Path("from_file.jsonl"), count=2, tasks=["x"])


def test_one_key_may_use_another(tmp_path: Path) -> None:
    config = tmp_path / "keys.yaml"
    config.write_text("output: runs/${source}/out.jsonl\n")
    assert parse_config(Keys, [f"--config={config}", "source=mimic_cxr"]).output == Path("runs/mimic_cxr/out.jsonl")
    assert parse("text=\\${source}").text == "${source}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cuont: 3\n", ": unknown key 'cuont'; did you mean 'count'?"),
        (b"count: many\n", ": count: Value 'many' of type 'str' could not be converted to Integer"),
        (b"tasks: one\n", ": tasks: "),
        (b"- a\n", ": expected a mapping of keys to values"),
        (b"count: 3\n  text: [\n", ":2: not valid YAML: mapping values are not allowed here"),
        (b"text: caf\xe9\n", ": not UTF-8 at byte 9"),
        (b"text: !!python/object/apply:os.getcwd []\n", ":1: not valid YAML: could not determine a constructor"),
        (b"12: 3\n", ": unknown key '12'"),
        (b"count: 3\ntext: a\ncount: 4\n", ":3: not valid YAML: key 'count' stands twice"),
        (b"sizes: {a: 1, a: 2}\n", ":1: not valid YAML: key 'a' stands twice"),
        (b"text: 2024-99-99\n", ": not valid YAML: holds an impossible date or number"),
        (b"text: !!timestamp x\n", ": not valid YAML: holds an impossible date or number"),
        (b"count: !!int ''\n", ": not valid YAML: holds an impossible date or number"),
        (b"text: !!bool perhaps\n", ": not valid YAML: holds an impossible date or number"),
        (b"count: " + b"9" * 5000 + b"\n", ": not valid YAML: holds an impossible date or number"),
        (b"tasks: " + b"[" * 5000, ": not valid YAML: nested too deeply"),
        (b"tasks: " + b"[" * 200 + b"]" * 200, ": tasks: nested too deeply"),
        (b"tasks: &a [*a]\n", ": tasks: nested too deeply"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, message: str) -> None:
    config = tmp_path / "keys.yaml"
    config.write_bytes(content)
    with pytest.raises(InputError) as caught:
        parse(f"--config={config}")
    assert str(caught.value).startswith(f"{config}{message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ['output: "a\\0b"', 'others: [a, "a\\0b"]', 'output: ${text}\ntext: "a\\0b"'])
def test_a_file_name_with_a_nul(tmp_path: Path, content: str) -> None:
    (tmp_path / "keys.yaml").write_text(content)
    with pytest.raises(InputError) as caught:
        parse_config(PathKeys, [f"--config={tmp_path}/keys.yaml"])
    assert str(caught.value) == f"{content[:6]}: 'a\\x00b' holds a NUL byte, which no file name can"
    with pytest.raises(InputError, match="no file name"):
        parse_config(PathKeys, ["--config=a\0b"])


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    config = tmp_path / "keys.yaml"
    config.write_text("# nothing\n")
    assert parse(f"--config={config}") == parse()


@pytest.mark.parametrize(("name", "reason"), [("no.yaml", "No such file or directory"), (".", "Is a directory")])
def test_files_that_cannot_be_read(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        parse(f"--config={tmp_path / name}")


@given(st.lists(st.text(max_size=20), max_size=4))
def test_any_command_line_parses_or_is_refused(arguments: list[str]) -> None:
    try:
        parsed = parse_config(Keys, ["output=o", *arguments])
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(parsed, Keys)


@given(st.text(st.characters(exclude_characters="$\\", exclude_categories=["Cs"]), max_size=40))
def test_text_stays_as_typed(text: str) -> None:
    if text != "???":  # OmegaConf's word for a missing value
        assert parse(f"text={text}").text == text


def test_help_lists_every_key_with_type_default_and_meaning() -> None:
    lines = help_text(Keys, "\nWhat it does.\n").splitlines()
    assert lines[0] == "What it does."
    assert "  output  (path, required)" in lines
    assert "  text  (str, default: '')" in lines
    assert "  limit  (int or null, default: null)" in lines
    assert "  tasks  (list of str, default: [a, b])" in lines
    assert "  sizes  (dict of str to int, default: {})" in lines
    assert lines[lines.index("  source  (str, default: openi)") + 1] == "      Where from. One of: openi, mimic_cxr."


def test_defaults_are_not_shared() -> None:
    parse().tasks.append("c")
    assert parse().tasks == ["a", "b"]


def test_nearest() -> None:
    assert nearest("Edma", ("Edema", "Fracture")) == "; did you mean 'Edema'?"
    assert nearest("qqq", ("Edema", "Fracture")) == ""


COMMAND = '''"""Prints its text."""
from dataclasses import dataclass
from radtune.config import InputError, key, run_command

@dataclass
class Keys:
    text: str = key("What to print.", "hello")
    times: int = key("How often.", 1)

def main(config):
    if config.text == "bad":
        raise InputError("two\\nlines")
    for _ in range(config.times):
        print(config.text)

run_command(main, Keys)
'''


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = tmp_path / "say.py"
    command.write_text(COMMAND)
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    return subprocess.run(
        [sys.executable, command, *arguments], capture_output=True, text=True, env=environment, check=False
    )


def test_a_command_runs(tmp_path: Path) -> None:
    finished = run(tmp_path, "times=2")
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "hello\nhello\n", "")


def test_a_command_fails_with_one_line_and_2(tmp_path: Path) -> None:
    for argument, line in (
        ("text=bad", "two lines"),
        ("txt=a", "command line: unknown key 'txt'; did you mean 'text'?"),
    ):
        finished = run(tmp_path, argument)
        assert (finished.returncode, finished.stdout) == (2, "")
        assert finished.stderr == f"say.py: error: {line}\n"


def test_a_command_explains_itself(tmp_path: Path) -> None:
    finished = run(tmp_path, "nonsense", "--help")
    assert finished.returncode == 0
    assert finished.stdout.startswith("Prints its text.\n\nkeys")


def test_a_command_prints_accents_anywhere(tmp_path: Path) -> None:
    assert run(tmp_path, "text=café").stdout == "caf?\n"


def test_a_command_bears_a_reader_that_leaves(tmp_path: Path) -> None:
    (tmp_path / "say.py").write_text(COMMAND)
    shell = f"{sys.executable} {tmp_path / 'say.py'} times=100000 | head -1"
    finished = subprocess.run(["bash", "-o", "pipefail", "-c", shell], capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "hello\n", "")
