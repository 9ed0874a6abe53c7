"""What training recipes share: the dataset builder that their YAMLs name."""

from radtune.training.dataset import instruction_dataset

__all__ = ["instruction_dataset"]
