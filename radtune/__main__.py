"""radtune COMMAND [--config FILE.yaml] [key=value ...]: every command of the repository, in any folder.

    radtune check reports=notes.csv
    radtune label text="Small left effusion."
    radtune study my_study.yaml --cores 4

radtune COMMAND --help lists a command's keys. Training is torchtune's: tune run ... recipes/lora_finetune.py.
"""

import ast
import importlib.util
import os
import signal
import sys
from pathlib import Path

from radtune import ROOT, end_at_once
from radtune.command import EXIT_INPUT_ERROR, mendable
from radtune.config import InputError
from radtune.privacy import nearest, say, shown

# Each command and its file; tools of the repository itself are not among them.
COMMANDS = {
    "prepare": "scripts/prepare_reports.py",
    "check": "scripts/check_data.py",
    "label": "scripts/label_by_rules.py",
    "annotate": "gpt_data_generate.py",
    "compare": "scripts/compare_labels.py",
    "build": "scripts/build_instructions.py",
    "infer": "inference.py",
    "combine": "scripts/combine.py",
    "evaluate": "evaluate.py",
    "prompts": "prompts.py",
    "new-task": "scripts/new_task.py",
    "import-gguf": "scripts/import_gguf.py",
    "export-gguf": "scripts/export_gguf.py",
    "verify": "scripts/verify_model.py",
    "new-study": "scripts/new_study.py",
    "check-rules": "scripts/check_rules.py",
    "find-label-errors": "scripts/find_label_errors.py",
    "commonest": "scripts/commonest.py",
}


def main() -> None:
    """Runs the command that the command line names, as its own file would be run."""
    signal.signal(signal.SIGINT, end_at_once)
    name, *arguments = sys.argv[1:] or ["--help"]
    try:
        if name in COMMANDS:
            sys.argv = [f"radtune {name}", *arguments]
            _run_file(ROOT / COMMANDS[name])
        elif name == "study":
            start_study(arguments)
        elif name in ("-h", "--help"):
            print(help_page())
        else:
            raise InputError(f"no command {shown(name)}{nearest(name, [*COMMANDS, 'study'])} (see radtune --help)")
    except Exception as error:
        if not (line := mendable(error)):
            raise
        say(f"radtune: error: {line}")
        sys.exit(EXIT_INPUT_ERROR)


def _run_file(path: Path) -> None:
    spec = importlib.util.spec_from_file_location("__main__", path)
    assert spec is not None and spec.loader is not None  # noqa: S101  (for mypy: a path that ends in .py has one)
    sys.modules["__main__"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["__main__"])


def help_page() -> str:
    """What there is, with the first line of each command's own page."""
    pages = {name: ast.get_docstring(ast.parse((ROOT / file).read_text("utf-8"))) for name, file in COMMANDS.items()}
    pages["study"] = start_study.__doc__
    lines = [f"  {name:<19}{str(page).splitlines()[0]}" for name, page in pages.items()]
    return "\n".join([f"{__doc__}\ncommands:", *lines])


def start_study(arguments: list[str]) -> None:
    """Runs a study, from reports to tables and its page: radtune study STUDY.yaml [options of snakemake].

    This process becomes snakemake, so that whoever ends the one ends the other.
    """
    if not arguments or arguments[0].startswith("-"):
        raise InputError("give the study's file: radtune study STUDY.yaml [options of snakemake]")
    file, *options = arguments
    import snakemake  # noqa: F401  (says what is missing before the study is read)

    from radtune.study.plan import read_study

    read_study(Path(file))
    words = ["-s", str(ROOT / "scripts" / "Snakefile"), "--configfile", file]
    words += [] if {"-c", "--cores"} & set(options) else ["--cores", str(os.cpu_count())]
    os.execv(sys.executable, [sys.executable, "-m", "snakemake", *words, *options])  # noqa: S606


if __name__ == "__main__":
    main()
