"""Inference: prompts in, responses and their labels out. One file an engine."""
