"""Writes a merged model as GGUF, for llama.cpp and Ollama, with the prompt that was trained.

    python scripts/export_gguf.py checkpoint_dir=runs/mine/training/merged output=runs/mine/model-q8_0.gguf type=Q8_0
    ollama create mine -f runs/mine/model-q8_0.Modelfile

docs/serving.md has the commands that run it; scripts/verify_model.py counts which answers it changes.
"""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)
from dataclasses import dataclass
from pathlib import Path

from radtune.command import run_command
from radtune.config import InputError, key
from radtune.files import check_outputs, write_bytes, write_manifest

# Of radtune.models.gguf_writing, which needs torch.
TYPES = ("F16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0")


@dataclass
class ExportConfig:
    """Keys of this command."""

    checkpoint_dir: Path = key("The merged model's folder.")
    output: Path = key("The GGUF file to write; a .Modelfile for Ollama is written beside it.")
    type: str = key(
        "How weights are held: 16, 8, 6, 5, 4 bits; embeddings keep 8. Types of K need xllamacpp.", "F16", TYPES
    )


def main(config: ExportConfig) -> None:
    """Writes and says how large it is."""
    if config.output.suffix != ".gguf":
        raise InputError(f"{config.output}: expected a name that ends in .gguf")
    for_ollama = config.output.with_suffix(".Modelfile")
    check_outputs([config.output, for_ollama])
    if not config.checkpoint_dir.is_dir():
        raise InputError(f"{config.checkpoint_dir}: no such folder")
    from radtune.models.gguf_writing import modelfile, write_gguf

    write_gguf(config.checkpoint_dir, config.output, config.type)
    write_bytes(for_ollama, modelfile(config.checkpoint_dir, config.output).encode())
    write_manifest(config.output, config)
    print(f"{config.output.stat().st_size / 2**20:,.1f} MiB: written to {config.output} and {for_ollama.name}")


if __name__ == "__main__":
    run_command(main, ExportConfig)
