"""Engines: prompts in, responses out; by a model in this process, or by a server behind its guard."""

import radtune.models  # noqa: F401  (before torchtune is imported, for what it keeps quiet)
