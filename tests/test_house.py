"""How the house is built: rooms import one way, tasks are known to their room alone, and small files have a reason."""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from radtune.tasks import load_task, task_names

ROOT = Path(__file__).resolve().parents[1]
# In the order that data flows; a room imports only those above it. The first ten are the ground they stand on (the one
# without a name is the package itself), and the last is the command `radtune`.
ROOMS = (
    "later", "", "privacy", "config", "files", "command", "progress", "characters", "tables", "images", "regions",
    "sections", "report", "labels", "tasks", "sources", "label_cells", "label_files", "combine", "rules", "models",
    "engines", "ask", "instructions", "train", "score", "study", "__main__",
)  # fmt: skip
LIBRARY = sorted((ROOT / "radtune").rglob("*.py"))
COMMANDS = sorted(path for folder in (".", "recipes", "scripts") for path in (ROOT / folder).glob("*.py"))
# What a library never imports.
OUTSIDE = {"recipes", "scripts", "benchmarks", "tests", *(path.stem for path in ROOT.glob("*.py"))}
# Library files under 60 lines that are files of their own, and why.
SMALL = {
    "radtune/progress.py": "used from sources to study",
    "radtune/sources/cmc.py": "a source is a file",
    "radtune/sources/mimic_cxr.py": "a source is a file",
}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, at its top or inside of a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{named(path)}:{node.lineno}: a relative import"
            assert node.module is not None
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                yield below if below in MODULES else node.module


MODULES = {module(path) for path in LIBRARY}


def test_every_module_has_a_room() -> None:
    assert {room(name) for name in MODULES} == set(ROOMS)


def test_rooms_import_one_way_and_no_command() -> None:
    wrong = []
    for path in LIBRARY:
        for name in set(imports(path)):
            outside = name.split(".")[0] in OUTSIDE
            below = name in MODULES and ROOMS.index(room(name)) > ROOMS.index(room(module(path)))
            wrong += [f"{named(path)} imports {name}"] if outside or below else []
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_one_that_imports_it() -> None:
    graph = {module(path): {name for name in imports(path) if name in MODULES} for path in LIBRARY}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def words(path: Path) -> Iterator[tuple[int, str]]:
    """The names and texts of a file's code, without its docstrings and comments, and their lines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for name in ("id", "attr", "arg", "name", "module"):
            if isinstance(found := getattr(node, name, None), str):
                yield line, found
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield line, node.value


def test_nothing_outside_their_room_names_a_task_a_class_or_a_kind_of_task() -> None:
    tasks = [load_task(name) for name in task_names()]
    known = {*task_names(), *(name for task in tasks for name in task.classes), "ClassList", "PhraseList"}
    pattern = re.compile(rf"(?<![A-Za-z])(?:{'|'.join(map(re.escape, known))})(?![a-z])")
    files = [path for path in LIBRARY if room(module(path)) != "tasks"] + COMMANDS
    found = [
        f"{named(path)}:{line}: {text[:60]}" for path in files for line, text in words(path) if pattern.search(text)
    ]
    assert not found, "\n".join(found)


def test_small_files_have_a_reason() -> None:
    lines = {named(path): path.read_text(encoding="utf-8").count("\n") for path in LIBRARY if path.stem != "__init__"}
    assert {name: count for name, count in lines.items() if count < 60 and name not in SMALL} == {}
    assert {name for name in SMALL if lines.get(name, 60) >= 60} == set()


def test_no_two_files_of_tests_have_one_name() -> None:
    # pytest imports them by their names alone, and runs nothing where two are the same.
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert len(names) == len(set(names))
