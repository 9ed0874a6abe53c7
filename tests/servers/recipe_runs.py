"""Recipes as people run them, in forked processes: what they import is imported once and not for every run."""

import json
import multiprocessing
import os
import sys
from pathlib import Path

import matplotlib.backends.backend_agg  # what draws a run's curve, and takes as long to import as a short run
import matplotlib.figure  # noqa: F401
import torch

RECIPE = "recipes/lora_finetune.py"
MINI = "configs/mini/lora_fast.yaml"


class Run:
    """One run of the recipe.

    Attributes:
        code: Its exit code.
        out: What it printed.
        err: What it printed on stderr.
    """

    def __init__(self, main, arguments, folder, environment=None, before=None):
        folder.mkdir(parents=True, exist_ok=True)
        self._paths = folder / "stdout.txt", folder / "stderr.txt"
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=_child, args=(main, arguments, self._paths, environment, before))
        self.process.start()

    def wait(self, seconds=600):
        self.process.join(seconds)
        assert self.process.exitcode is not None, "the run hangs"
        self.code = self.process.exitcode
        self.out, self.err = (path.read_text() for path in self._paths)
        return self


def _child(main, arguments, paths, environment, before):
    for number, path in enumerate(paths, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    os.environ.update(environment or {})
    # Threads of the parent's pool are not there after a fork.
    torch.set_num_threads(1)
    if before is not None:
        before()
    code = main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def figures(folder: Path) -> list[dict]:
    """A run's history without its speeds."""
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if "per_second" not in name} for row in rows]


def adapter_bytes(folder: Path) -> bytes:
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()
