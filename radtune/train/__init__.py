"""What training recipes are made of; here, the builders of tokenizer and dataset that their YAMLs name."""

from radtune.models.tokenizer import llama3_tokenizer
from radtune.train.data import instruction_dataset
