"""Engines: prompts in, responses out; by a model in this process, or by a server behind its guard."""

import logging

# It says at every import that its optional kernels are not built for this torch; nothing here uses them.
logging.getLogger("torchao").setLevel(logging.ERROR)
