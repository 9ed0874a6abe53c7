"""radtune: radiology reports and weak labels in, a small language model that names diseases out."""

import importlib
import importlib.machinery
import importlib.util
import os
import signal
import sys
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

__version__ = "0.1.0"

PACKAGE = Path(__file__).resolve().parent
# Holds the commands, recipes, configs and data: the checkout, or what an installed package has of it.
ROOT = PACKAGE / "checkout" if (PACKAGE / "checkout").is_dir() else PACKAGE.parent


def end_at_once(number: int, frame: FrameType | None) -> None:
    """Ends the process at a signal, with one line: before and after a command's work there is nothing to clean up."""
    os.write(2, f"{os.path.basename(sys.argv[0])}: interrupted\n".encode())
    os._exit(128 + signal.SIGINT)


class _Later(ModuleType):
    """Stands for a module whose functions import it when they are called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *words, **keys: getattr(importlib.import_module(self.__name__), name)(*words, **keys)


class _TorchtuneWithoutDatasets:
    """Lets torchtune import the package datasets when it loads one.

    It does so at once for two functions that nothing here calls, and pandas and pyarrow with it: 2.5 s of the 11.4 s of
    CPU time that pass before a model can be read.
    """

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != "torchtune" or "datasets" in sys.modules:
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        run, later = spec.loader.exec_module, ("datasets", "datasets.distributed")

        def exec_module(module: ModuleType) -> None:
            sys.modules.update({name: _Later(name) for name in later})
            try:
                run(module)
            finally:
                for name in later:
                    del sys.modules[name]

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, _TorchtuneWithoutDatasets())  # type: ignore[arg-type]

# What a command imports may take seconds, in which Ctrl-C would end it in a traceback. Other programs that import this
# package keep their signals.
_program = getattr(sys.modules.get("__main__"), "__file__", None)
if _program:
    _places = (ROOT, ROOT / "scripts", ROOT / "recipes", PACKAGE)
    _is_command = Path(_program).name == "radtune" or Path(_program).resolve().parent in _places
else:
    _is_command = sys.orig_argv[1:3] == ["-m", "radtune"]
if _is_command and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, end_at_once)
