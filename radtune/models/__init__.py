"""A model on disk: its family, reading, merging and export."""
