"""Keeps out of a process's start what torchtune imports at once and few commands ever use.

Half of the CPU time that passes before a model can be read goes into packages for several devices, compiled
models, other quantizations and downloaded datasets. Here each is imported when something of it is first used.
"""

import functools
import importlib
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

# Modules that others import for names which these use in functions only.
_LATER = (
    "datasets",
    "datasets.distributed",
    "torch.distributed._composable.fsdp",
    "torch.distributed._tensor",
    "torch.distributed._tensor.placement_types",
    "torch.distributed.checkpoint",
    "torch.distributed.checkpoint.state_dict",
    "torch.distributed.fsdp",
    "torch.distributed.fsdp.wrap",
    "torch.distributed.tensor",
    "torchao",  # but torchao.dtypes.nf4tensor, which is imported as it is
    "torchao.dtypes",
    "torchtune.models.llama3._parallelism",
    "torchtune.training.quantization",
)
_DYNAMO = "torch._dynamo"


def _asks(name: str) -> bool:
    return name.partition(".")[0] == "torchtune" or name == "radtune.train.distributed"


class _Name:
    """Stands for a function or class of a module, and imports it when it is called or looked into."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def _found(self) -> Any:
        _step_aside()
        return getattr(importlib.import_module(self._module), self._name)

    def __call__(self, *words: Any, **keys: Any) -> Any:
        return self._found()(*words, **keys)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._found(), name)

    def __instancecheck__(self, thing: Any) -> bool:
        # Nothing is of a class that was never imported: the name is enough to tell most things apart.
        return any(base.__name__ == self._name for base in type(thing).__mro__) and isinstance(thing, self._found())


class _Later(ModuleType):
    """Stands for a module while another imports names from it."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is not self:
            return getattr(importlib.import_module(self.__name__), name)
        if name == "__path__":
            package, _, _ = self.__name__.rpartition(".")
            around = importlib.import_module(package).__path__ if package else None
            spec = importlib.machinery.PathFinder.find_spec(self.__name__, around)
            if spec and spec.submodule_search_locations:
                return spec.submodule_search_locations
        if name.startswith("__"):
            raise AttributeError(name)
        return _Name(self.__name__, name)


def _step_aside() -> None:
    """Ends the standing in, so that a module which is needed after all finds all others as they are."""
    for name, module in list(sys.modules.items()):
        if isinstance(module, _Later):
            del sys.modules[name]


class _Dynamo(ModuleType):
    """Stands for torch's compiler until something is compiled: till then, what is kept from it runs as it is."""

    __path__: Sequence[str] = ()

    def __init__(self) -> None:
        super().__init__(_DYNAMO)
        self.__spec__ = importlib.machinery.ModuleSpec(_DYNAMO, None, is_package=True)
        self._whole: list[Callable[..., Any]] = []

    def _real(self) -> ModuleType:
        if sys.modules.get(_DYNAMO) is self:
            del sys.modules[_DYNAMO]
            _step_aside()
            real = importlib.import_module(_DYNAMO)
            for function in self._whole:
                real.allow_in_graph(function)
        return importlib.import_module(_DYNAMO)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._real(), name)

    def graph_break(self) -> None:
        """Marks a place for the compiler, which does not run."""

    def allow_in_graph(self, function: Callable[..., Any]) -> Callable[..., Any]:
        self._whole.append(function)
        return function

    def disable(self, function: Callable[..., Any] | None = None, recursive: bool = True, **keys: Any) -> Any:
        if function is None:
            return functools.partial(self.disable, recursive=recursive, **keys)
        kept: list[Callable[..., Any]] = []

        @functools.wraps(function)
        def run(*words: Any, **named: Any) -> Any:
            if sys.modules.get(_DYNAMO) is self:
                return function(*words, **named)
            if not kept:
                kept.append(self._real().disable(function, recursive, **keys))
            return kept[0](*words, **named)

        return run


class _There:
    """Loads a module that is there already."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec


def _run_with_parts(exec_module: Callable[[ModuleType], None], module: ModuleType) -> None:
    """Runs a package of which a part was imported while the package was stood for, and gives it the part."""
    exec_module(module)
    for name, part in list(sys.modules.items()):
        if name.rpartition(".")[0] == module.__name__:
            setattr(module, name.rpartition(".")[2], part)


class _Finder:
    """Lets the modules above stand in while one that asks for them is imported."""

    def __init__(self) -> None:
        # Of the whole process, as sys.modules is: torchtune is imported before threads are started that import, too.
        self.inside = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name.startswith(f"{_DYNAMO}.") and isinstance(dynamo := sys.modules.get(_DYNAMO), _Dynamo):
            dynamo._real()
            there = sys.modules.get(name)
            return there and importlib.machinery.ModuleSpec(name, _There(there))
        run = self.run if _asks(name) else _run_with_parts if name in _LATER else None
        if self.inside or not run:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec and spec.loader:
            spec.loader.exec_module = functools.partial(run, spec.loader.exec_module)  # type: ignore[method-assign]
        return spec

    def run(self, exec_module: Callable[[ModuleType], None], module: ModuleType) -> None:
        sys.modules.update({name: _Later(name) for name in _LATER if name not in sys.modules})
        sys.modules.setdefault(_DYNAMO, _Dynamo())
        self.inside = True
        try:
            exec_module(module)
        finally:
            self.inside = False
            _step_aside()


def install() -> None:
    """Begins to keep them out, for the rest of the process."""
    sys.meta_path.insert(0, _Finder())  # type: ignore[arg-type]
