"""Inference: prompts in, responses and their labels out. One file an engine."""

import logging

# It says at every import that its optional kernels are not built for this torch; nothing here uses them.
logging.getLogger("torchao").setLevel(logging.ERROR)
