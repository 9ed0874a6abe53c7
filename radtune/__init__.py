"""radtune: radiology reports and weak labels in, a small language model that names diseases out."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

from radtune import later

__version__ = "0.1.0"

PACKAGE = Path(__file__).resolve().parent
# Holds the commands, recipes, configs and data: the checkout, or what an installed package has of it.
ROOT = PACKAGE / "checkout" if (PACKAGE / "checkout").is_dir() else PACKAGE.parent


def end_at_once(number: int, frame: FrameType | None) -> None:
    """Ends the process at a signal, with one line: before and after a command's work there is nothing to clean up."""
    os.write(2, f"{os.path.basename(sys.argv[0])}: interrupted\n".encode())
    os._exit(128 + signal.SIGINT)


later.install()

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
