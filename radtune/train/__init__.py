"""What training recipes are made of; here, the builders of tokenizer and dataset that their YAMLs name.

They are imported when they are asked for: a study reads a training's keys without torch.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "llama3_tokenizer":
        from radtune.models.tokenizer import llama3_tokenizer

        return llama3_tokenizer
    if name == "instruction_dataset":
        from radtune.train.data import instruction_dataset

        return instruction_dataset
    raise AttributeError(name)
