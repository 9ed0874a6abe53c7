"""The command grammar: keys, types, YAML, overrides, help, and one line for every mistake."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from radtune.config import InputError, from_mapping, help_text, key, parse_config, read_yaml, yaml_files


@dataclass
class Keys:
    """Keys of every kind."""

    output: Path = key("Where to.")
    text: str = key("Any words.", "")
    count: int = key("How many.", 3)
    rate: float = key("How fast.", 0.1, gt=0, le=1)
    bias: float = key("How much.", 0.0)
    show_text: bool = key("Whether to show it.", False)
    limit: int | None = key("At most so many.", None, ge=1)
    source: str = key("Where from.", "openi", choices=("openi", "mimic_cxr"))
    tasks: list[str] = key("Which ones.", ["a", "b"])
    sizes: dict[str, int] = key("How large.", {})


GIVEN = "output=out.jsonl"


def parse(*arguments: str) -> Keys:
    return parse_config(Keys, [GIVEN, *arguments])


def test_defaults_are_not_shared() -> None:
    assert parse() == Keys(output=Path("out.jsonl"))
    parse().tasks.append("c")
    assert parse().tasks == ["a", "b"]


@pytest.mark.parametrize(
    ("argument", "name", "value"),
    [
        ("output=a b/c.jsonl", "output", Path("a b/c.jsonl")),
        ("text=No effusion: clear", "text", "No effusion: clear"),
        ("text=[a, {b: c}]", "text", "[a, {b: c}]"),
        ("text=null", "text", "null"),
        ("text=${5} and 3%", "text", "${5} and 3%"),
        ("text= two ", "text", " two "),
        ("count=-7", "count", -7),
        ("rate=3e-4", "rate", 3e-4),
        ("rate=1", "rate", 1.0),
        ("show_text=true", "show_text", True),
        ("limit=null", "limit", None),
        ("limit=", "limit", None),
        ("tasks=[c, 1, 007, no, 2026-11-27]", "tasks", ["c", "1", "007", "no", "2026-11-27"]),
        ("sizes={a: 1}", "sizes", {"a": 1}),
        ("sizes.a=1", "sizes", {"a": 1}),
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
        (["count.a=1"], "command line: count: expected int"),
        (["sizes.a=x"], "command line: sizes.a: expected int"),
        (["count"], "'count' is not key=value; put quotes around a value with spaces (see --help)"),
        (["--config"], "--config needs a file name"),
        (["--config", "a.yaml", "--config=b.yaml"], "--config is given twice"),
        (["No acute", "disease."], "(not shown) is not key=value; put quotes around a value with spaces (see --help)"),
        (["tasks=[c,", "d]"], "(not shown) is not key=value; put quotes around a value with spaces (see --help)"),
        (["no acute disease=x"], "command line: unknown key (not shown)"),
        (["count=1.5"], "command line: count: expected int"),
        (["count=010"], "command line: count: expected int"),
        (["rate=fast"], "command line: rate: expected float"),
        (["rate=nan"], "command line: rate: expected a finite number"),
        (["bias=nan"], "command line: bias: expected a finite number"),
        (["bias=-inf"], "command line: bias: expected a finite number"),
        (["limit=0"], "command line: limit: expected 1 or more"),
        (["tasks=c"], "command line: tasks: expected list of str; write tasks=[a, b]"),
        (["tasks=" + "[" * 1500], "command line: tasks: expected list of str; write tasks=[a, b]"),
        (["tasks=[c,[d]]"], "command line: tasks[1]: expected str"),
        (["tasks=[1.5]"], "command line: tasks[0]: expected str; write it in quotes"),
        (["sizes={a: 1, a: 2}"], "command line: sizes: expected dict of str to int"),
        (["sizes=1"], "command line: sizes: expected dict of str to int"),
        (["source=opni"], "command line: source: expected one of openi, mimic_cxr; did you mean 'openi'?"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments: list[str], message: str) -> None:
    with refused(line=message):
        parse(*arguments)


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    config = tmp_path / "keys.yaml"
    config.write_text("# a comment\noutput: from_file.jsonl\ncount: 5\ntasks: [x]\nlimit: null\n")
    for option in (["--config", str(config)], [f"--config={config}"]):
        parsed = parse_config(Keys, ["count=1", *option, "count=2"])
        assert parsed == Keys(output=Path("from_file.jsonl"), count=2, tasks=["x"])
    with pytest.raises(InputError, match="output: names the file of --config itself"):
        parse_config(Keys, [f"--config={config}", f"output={tmp_path}/./keys.yaml"])
    config.write_text("# nothing\n")
    assert parse(f"--config={config}") == parse()


def test_one_key_may_use_another(tmp_path: Path) -> None:
    config = tmp_path / "keys.yaml"
    config.write_text("output: runs/${source}/out.jsonl\n")
    assert parse_config(Keys, [f"--config={config}", "source=mimic_cxr"]).output == Path("runs/mimic_cxr/out.jsonl")
    for text in ("${nope}", "${output}", "${oc.env:HOME}", "${"):
        config.write_text(f"output: {text!r}\n")
        with pytest.raises(InputError, match=r"keys\.yaml: .* in \$\{\} names no key with a plain value"):
            parse_config(Keys, [f"--config={config}"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cuont: 3\n", ": unknown key 'cuont'; did you mean 'count'?"),
        (b"count: 1_000\n", ": count: expected int"),
        (b"limit: -1" + b"0" * 400 + b"\n", ": limit: expected 1 or more"),
        (b"rate: .inf\n", ": rate: expected a finite number"),
        (b"sizes: {No acute disease is seen.: x}\n", ": sizes.(not shown): expected int"),
        (b"show_text: yes\n", ": show_text: expected bool"),
        (b"- a\n", ": expected a mapping of keys to values"),
        (b"count: 3\n  text: [\n", ":2: not valid YAML: mapping values are not allowed here"),
        (b"text: caf\xe9\n", ": not UTF-8 at byte 9"),
        (b"text: !!python/object/apply:os.getcwd []\n", ":1: not valid YAML: could not determine a constructor"),
        (b"12: 3\n", ": unknown key '12'"),
        (b"count: 3\ntext: a\ncount: 4\n", ":3: not valid YAML: key 'count' stands twice"),
        (b"count: !!int ''\n", ": not valid YAML: holds an impossible number or tag"),
        (b"{[a]: 1}\n", ":1: not valid YAML: a key is no text"),
        (None, ": No such file or directory"),
        (b"tasks: " + b"[" * 1500, ": not valid YAML: nested too deeply"),
        (b"tasks: &a [*a]\n", ":1: not valid YAML: found unconstructable recursive node"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes | None, message: str) -> None:
    config = tmp_path / "keys.yaml"
    if content is not None:
        config.write_bytes(content)
    with refused(f"{config}{message}"):
        parse(f"--config={config}")


def test_a_file_name_with_a_nul() -> None:
    with pytest.raises(InputError, match=r"^f\.yaml: output: expected path$"):
        from_mapping(Keys, {"output": "a\0b"}, "f.yaml")


@given(st.lists(st.text(max_size=20), max_size=4))
def test_any_command_line_parses_or_is_refused(arguments: list[str]) -> None:
    try:
        parsed = parse_config(Keys, ["output=o", *arguments])
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(parsed, Keys)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_text_stays_as_typed(text: str) -> None:
    assert parse(f"text={text}").text == text


def test_a_key_is_taken_by_either_of_its_names_but_not_by_both(tmp_path: Path) -> None:
    @dataclass
    class Named:
        samples: int = key("How often.", 1, ge=1, also="votes")

    file = tmp_path / "a.yaml"
    file.write_text("samples: 3")
    assert [parse_config(Named, [given]).samples for given in ("votes=2", "samples=2")] == [2, 2]
    assert parse_config(Named, ["--config", str(file), "votes=2"]).samples == 2
    with pytest.raises(InputError, match=r"^command line: give one of samples and votes$"):
        parse_config(Named, ["samples=5", "votes=2"])
    file.write_text("samples: 3\nvotes: 2")
    with pytest.raises(InputError, match=r"a\.yaml: give one of samples and votes$"):
        parse_config(Named, ["--config", str(file)])
    assert "default: 1)" in (page := help_text(Named, "")) and "Also votes=." in page and "-1" not in page


def test_help_lists_every_key_with_type_default_and_meaning() -> None:
    lines = help_text(Keys, "\nWhat it does.\n").splitlines()
    assert lines[0] == "What it does."
    assert "  output  (path, required)" in lines
    assert "  text  (str, default: '')" in lines
    assert lines[lines.index("  limit  (int or null, default: null)") + 1] == "      At most so many. 1 or more."
    assert "  tasks  (list of str, default: [a, b])" in lines
    assert "  sizes  (dict of str to int, default: {})" in lines
    below = help_text(Nested, "").splitlines()
    assert {"  inner.sizes  (list of int, default: [])", "  NAME.reports  (path, required)"} <= set(below)
    assert not any(line.startswith(("  inner  ", "  parts  ")) for line in below)
    assert lines[lines.index("  source  (str, default: openi)") + 1] == "      Where from. One of: openi, mimic_cxr."


@dataclass
class Part:
    reports: Path = key("Its reports.")
    rows: int = key("How many.", 0, ge=0)


@dataclass
class Inner:
    sizes: tuple[int, ...] = key("How large.", (), ge=1)
    files: str | list[str] | None = key("From where.", None)

    def __post_init__(self) -> None:
        if self.sizes and not self.files:
            raise InputError("sizes needs files")


@dataclass
class Nested:
    """Keys with keys below them."""

    output: str = key("Where to.")
    inner: Inner = key("What is inside.", Inner)
    builder: dict[str, object] = key("Whatever its builder takes.", {"rate": 1.5})
    parts: dict[str, Part] = key("Any others, by name.", {}, rest=True)


def test_keys_below_keys(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        "output: o\nbuilder: {rate: 5e-3, folder: '${output}/logs', on: true}\n"
        "b: {reports: r}\nparts: {a: {reports: q}}\n"
    )
    read = parse_config(
        Nested,
        f"--config={tmp_path}/x.yaml inner.files=[x] inner.sizes=[3] output=p c.rows=4 c.reports=s builder.rate=2e-4 "
        "builder.steps=10 b.rows=1".split(),
    )
    assert read == Nested(
        output="p",
        inner=Inner(sizes=(3,), files=["x"]),
        builder={"rate": 2e-4, "folder": "p/logs", "on": True, "steps": 10},
        parts={
            "a": Part(reports=Path("q")),
            "b": Part(reports=Path("r"), rows=1),
            "c": Part(reports=Path("s"), rows=4),
        },
    )
    assert parse_config(Nested, ["output=o", "inner.files=x"]).inner.files == "x"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inner.size=[1]"], "command line: unknown key 'inner.size'; did you mean 'sizes'?"),
        (["inner.sizes=[1, 0]"], "command line: inner.sizes[1]: expected 1 or more"),
        (["inner=3"], "command line: inner: expected keys below it"),
        (["inner.sizes=[1]"], "command line: inner: sizes needs files"),
        (["a.rows=1"], "command line: missing required key: a.reports (see --help)"),
        (["a.reports=x", "a.rowz=1"], "command line: unknown key 'a.rowz'; did you mean 'rows'?"),
        (["rows=1"], "command line: unknown key 'rows'; did you mean 'NAME.rows'?"),
    ],
)
def test_mistakes_below_keys(arguments: list[str], message: str) -> None:
    with refused(line=message):
        parse_config(Nested, ["output=o", *arguments])


@dataclass(frozen=True)
class Shelf:
    name: str
    books: tuple[Inner, ...] = ()
    pair: tuple[float, float] = (0.0, 1.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "f.yaml: missing required key: name"),
        ({"name": "x", "books": [{}, {"fils": "y"}]}, "f.yaml: unknown key 'books[1].fils'; did you mean 'files'?"),
        ({"name": "x", "pair": [1]}, "f.yaml: pair: expected list of float, float"),
        ({"name": ["a"]}, "f.yaml: name: expected str"),
        ([], "f.yaml: expected a mapping of keys to values"),
    ],
)
def test_mappings_that_do_not_fit(values: object, message: str) -> None:
    with refused(line=message):
        from_mapping(Shelf, values, "f.yaml")


def test_a_yaml_becomes_dataclasses(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("name: 4\npair: [1, 5e-3]\nbooks: [{files: a}, {files: [b]}]\n")
    shelf = from_mapping(Shelf, read_yaml(tmp_path / "x.yaml"), "x.yaml")
    assert shelf == Shelf("4", (Inner(files="a"), Inner(files=["b"])), (1.0, 5e-3))


def test_a_yaml_extends_another(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "a.yaml").write_text("name: a\npair: [1, 2]\nbooks: [{files: a}]\n")
    (tmp_path / "b.yaml").write_text("extends: far/a.yaml\nname: b\n")
    (tmp_path / "c.yaml").write_text("extends: b.yaml\nbooks: [{files: c}]\n")
    shelf = parse_config(Shelf, ["--config", str(tmp_path / "c.yaml")])
    assert shelf == Shelf("b", (Inner(files="c"),), (1.0, 2.0))
    assert yaml_files(tmp_path / "c.yaml") == tuple(tmp_path / name for name in ("c.yaml", "b.yaml", "far/a.yaml"))
    for slip in ("c.yaml", "[a.yaml]", '"a\\0.yaml"', "b.yaml"):
        (tmp_path / "b.yaml").write_text(f"extends: {slip}\n")
        with pytest.raises(InputError, match=r"^[^\n]*b\.yaml: extends: expected another YAML$"):
            read_yaml(tmp_path / "c.yaml")
    (tmp_path / "b.yaml").write_text("extends: gone.yaml\n")
    with pytest.raises(InputError, match=r"b\.yaml: extends: [^\n]*gone\.yaml: no such file$"):
        read_yaml(tmp_path / "c.yaml")


COMMAND = '''"""Prints its text."""
import os
from dataclasses import dataclass
from radtune.command import run_command
from radtune.config import InputError, key

@dataclass
class Keys:
    text: str = key("What to print.", "hello")
    times: int = key("How often.", 1)

def main(config):
    if config.text == "bad":
        raise InputError("two\\nlines")
    if config.text == "full":
        raise OSError(28, "No space left on device", "a.png")
    if config.text == "lacking":
        raise ModuleNotFoundError("no", name="snakemake.api")
    if config.text == "stopped":
        try:
            os.kill(os.getpid(), 15)
        finally:
            raise ImportError("what native code makes of it")
    for _ in range(config.times):
        print(config.text)

run_command(main, Keys)
'''


@pytest.mark.parametrize(
    ("arguments", "code", "output", "error"),
    [
        ("times=2 text=a\x1b[31mb", 0, "a\\x1b[31mb\n" * 2, ""),
        ("text=bad", 2, "", "say.py: error: two lines\n"),
        ("text=full", 2, "", "say.py: error: a.png: cannot write: No space left on device\n"),
        ("text=lacking", 2, "", "needs snakemake: install radtune with its extra study (pip install '.[study]')\n"),
        ("text=stopped", 130, "", "say.py: interrupted\n"),
        ("txt=a", 2, "", "say.py: error: command line: unknown key 'txt'; did you mean 'text'?\n"),
        ("nonsense --help", 0, "Prints its text.\n\nkeys (key=value on the command line, or in a YAML ", ""),
    ],
)
def test_a_command(tmp_path: Path, run_here, arguments: str, code: int, output: str, error: str) -> None:
    (tmp_path / "say.py").write_text(COMMAND)
    ended = run_here(tmp_path / "say.py", *arguments.split())
    assert (ended.returncode, ended.stdout.startswith(output), ended.stderr.endswith(error)) == (code, True, True)
    assert bool(ended.stdout) == bool(output) and ended.stderr.count("\n") == bool(error)


def test_a_command_and_its_terminal(tmp_path: Path) -> None:
    """An accent on a terminal of ASCII, and a reader that leaves."""
    (tmp_path / "say.py").write_text(COMMAND)
    shell = f"{sys.executable} {tmp_path / 'say.py'} times=100000 text=café | head -1"
    finished = subprocess.run(
        ["bash", "-o", "pipefail", "-c", shell], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "caf?\n", "")


COMMANDS = """
import runpy, sys
for command in (
    ["prompts.py", "task=open_ended", "use=labelling"], ["scripts/prepare_reports.py", "--help"],
    ["scripts/label_by_rules.py", "text=Edema."], ["scripts/study_step.py", "--help"], ["evaluate.py", "--help"],
    ["inference.py", "--help"],
    ["gpt_data_generate.py", "reports=data/synthetic_reports.jsonl", "output=never.jsonl", "dry_run=true"],
):
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")
    heavy = {"torch", "pandas", "pyarrow", "scipy", "sklearn", "transformers", "openai", "starlette"} & set(sys.modules)
    print(command[0], heavy, "numpy" in sys.modules)
"""


def test_commands_start_without_what_they_do_not_need() -> None:
    """Importing torch takes seconds; what is measured is 0.25 s of CPU, 0.4 s with NumPy."""
    root = Path(__file__).resolve().parents[1]
    finished = subprocess.run(
        [sys.executable, "-c", COMMANDS], capture_output=True, text=True, cwd=root, check=False,
        env=os.environ | {"PYTHONPATH": str(root)},
    )  # fmt: skip
    assert finished.stderr == ""
    # Each job of a study is a command in another, scripts/study_step.py.
    assert [finished.stdout.count(f".py set() {numpy}\n") for numpy in (False, True)] == [4, 3]
