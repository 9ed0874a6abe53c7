"""radtune: radiology reports and weak labels in, a small language model that names diseases out."""

__version__ = "0.1.0"
