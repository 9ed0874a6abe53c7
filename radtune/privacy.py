"""Column names in messages. A table without a header has its first report where the names should stand."""

import re
from collections.abc import Iterable

from radtune.config import nearest

# Longer than any class and any column of MIMIC-CXR's tables.
_MAX_NAME = 40
_MAX_WORDS = 3


def looks_like_name(name: str) -> bool:
    """Whether this may be a column's name: a few words, and neither a sentence nor an id. Blank counts as one."""
    if not name:
        return True  # pandas leaves the index without a name
    is_sentence = len(name) > _MAX_NAME or len(name.split()) > _MAX_WORDS or re.search(r"[.,;:!?](?:\s|$)", name)
    is_id = re.fullmatch(r"[^\W\d_]?[\W\d_]+", name) or re.search(r"\d{4}", name)
    return not is_sentence and not is_id


def shown_columns(names: Iterable[str]) -> str:
    """The columns for a message: by name, or only their number if one of them does not look like a name."""
    names = list(names)
    if all(map(looks_like_name, names)):
        return f"columns: {', '.join(names)}"
    return f"{len(names)} columns; is the header missing?"


def no_column(name: str, names: Iterable[str]) -> str:
    """That a column asked for is absent, for a message: with the nearest name and the others, if they may be shown."""
    names = list(names)
    near = nearest(name, names) if all(map(looks_like_name, names)) else ""
    return f"no column {name!r}{near}; {shown_columns(names)}"
