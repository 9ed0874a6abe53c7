"""Where reports come from: one file a source, each a reader to an iterator of ``Report``."""
