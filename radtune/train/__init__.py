"""What training recipes share: the builders of tokenizer and dataset that their YAMLs name."""

from radtune.train.dataset import instruction_dataset
from radtune.train.tokenizer import llama3_tokenizer

__all__ = ["instruction_dataset", "llama3_tokenizer"]
