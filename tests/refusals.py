"""What is refused, and in which words."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from radtune.config import InputError


@contextmanager
def refused(part: str = "", *hidden: str, line: str | None = None) -> Iterator[None]:
    """Expects an InputError: one line that has some words in it, or is that line, and has none of those hidden."""
    with pytest.raises(InputError) as caught:
        yield
    said = str(caught.value)
    assert part in said and "\n" not in said and (line is None or said == line), said
    assert not [word for word in hidden if word in said]
