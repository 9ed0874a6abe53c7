"""Writes a task file for your own labels, with prompts to edit.

    python scripts/new_task.py name=chest_ct names='[Nodule, Emphysema, Pleural effusion]'
    python scripts/new_task.py name=chest_ct names=findings.csv sections=[impression]

A file of names has one a line, or is a table with a column ``name`` and, where you have them, ``definition``,
``synonyms`` (joined by semicolons), ``icd10`` and ``parent``. docs/own_labels.md goes on from here, docs/tasks.md
explains the keys of what was written.
"""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from radtune.command import run_command
from radtune.config import InputError, key
from radtune.files import check_outputs, open_text, read_lines, write_whole
from radtune.privacy import no_column
from radtune.tables import cell_text, find_column, is_missing, is_table, read_table
from radtune.tasks import load_task, task_names

_QUESTION = (
    "Which of these findings does the report say that the patient has? Answer with a list of their names on one line, "
    "['name', 'another name'], or with ['{none}'] where it is none of them. Leave out what is denied, past, or only "
    "suspected.\n{{classes}}"
)
_MEANINGS = "{question}\nThey mean:\n{definitions}"


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they are read."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


@dataclass
class NewTaskConfig:
    """Keys of this command."""

    name: str = key("Names the task in files and configs.")
    names: str | list[str] = key("The labels, or one file of them.")
    output: Path | None = key("The task file to write; NAME.yaml if left out.", None)
    none: str = key("What is answered where there is none of them.", "Normal")
    sections: list[Literal["findings", "impression"]] | None = key("What is read of a report; both if left out.", None)
    rules: str | None = key("Folder beside the task file that labels it (docs/labeler.md); none if left out.", None)


def main(config: NewTaskConfig) -> None:
    """Reads the names, writes, and reads what it wrote."""
    output = config.output or Path(f"{config.name}.yaml")
    file = Path(config.names) if isinstance(config.names, str) else None
    if file is not None and not file.is_file():
        raise InputError(f"names: no file {str(file)!r}; a list of names is written [{file}, ...]")
    if output.suffix not in (".yaml", ".yml"):
        raise InputError(f"output: {output}: expected a name that ends in .yaml")
    if config.name in task_names():
        raise InputError(f"name: {config.name} is a task that ships with radtune; give another")
    if output.exists():
        raise InputError(f"{output}: is there already; give another name= or output=")
    check_outputs([output], [file])
    classes = list(_read(file)) if file else [{"name": name} for name in config.names]
    task: dict[str, Any] = {
        "name": config.name,
        "kind": "classes",
        "classes": [entry["name"] if len(entry) == 1 else entry for entry in classes],
        "none": config.none,
        **({"sections": config.sections} if config.sections else {}),
        **({"rules": config.rules} if config.rules else {}),
        "texts": {"question": _QUESTION.format(none=config.none)},
        "prompts": {"training": "{question}", "inference": "{question}"},
    }
    if any("definition" in entry for entry in classes):
        task["prompts"]["inference"] = _MEANINGS
    with write_whole(output) as stream:
        stream.write("# What is asked, and how; edit the texts. docs/tasks.md explains each key.\n")
        yaml.dump(task, stream, _Dumper, sort_keys=False, allow_unicode=True, width=1_000)
    try:
        load_task(output)
    except InputError:
        output.unlink()
        raise
    print(f"{output}: {len(classes):,} labels")
    print(f"radtune prompts task={output}    # the prompt as a model sees it")


def _read(file: Path) -> Iterator[dict[str, Any]]:
    """Entries of the task's classes, from a table or from lines."""
    if not is_table(file):
        with open_text(file) as stream:
            yield from ({"name": line.strip()} for line in read_lines(file, stream) if line.strip())
        return
    for _, row in read_table(file):
        columns = {name: find_column(row, (name,)) for name in ("name", "definition", "synonyms", "icd10", "parent")}
        if not columns["name"]:
            raise InputError(f"{file}: {no_column('name', row)}")
        entry: dict[str, Any] = {"name": cell_text(row[columns["name"]]).strip()}
        for name, column in columns.items():
            if column and name not in entry and not is_missing(row[column]):
                entry[name] = cell_text(row[column]).strip()
        if "synonyms" in entry:
            entry["synonyms"] = [name.strip() for name in entry["synonyms"].split(";") if name.strip()]
        yield entry


if __name__ == "__main__":
    run_command(main, NewTaskConfig)
