"""A model on disk: its family, reading, merging and export."""

import logging

# It says at every import that its optional kernels are not built for this torch; nothing here uses them.
logging.getLogger("torchao").setLevel(logging.ERROR)
