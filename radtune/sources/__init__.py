"""Where reports come from: one file a source, found by its name.

A source is a module of this package with ``Keys``, a dataclass of what ``prepare_reports.py`` takes for it, and
``read(keys)``, which yields its :class:`radtune.report.Report`; there is no list to add it to.
"""

import importlib
import pkgutil
from types import ModuleType


def sources() -> dict[str, ModuleType]:
    """The sources by name, in alphabetical order."""
    modules = {info.name: importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)}
    return {name: module for name, module in modules.items() if hasattr(module, "Keys")}
