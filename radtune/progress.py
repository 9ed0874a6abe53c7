"""How far long work has come: a tqdm bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from radtune.privacy import say

Item = TypeVar("Item")

# Often enough to see that a batch job lives, rarely enough that a night's log stays readable.
SECONDS_BETWEEN_LINES = 30.0


def progress(
    items: Iterable[Item], what: str, total: int | None = None, also: Callable[[], str] = str
) -> Iterator[Item]:
    """Passes items through and shows on stderr how many have gone by.

    Args:
        items: What is worked on.
        what: Its name in the plural, e.g. ``reports``.
        total: Their number, where known.
        also: Further figures to show, e.g. ``3 failed``; asked for each time.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm  # only a terminal needs it, and short commands should start fast

        bar = tqdm(items, total=total, unit=f" {what}", unit_scale=True)
        for item in bar:
            yield item
            bar.set_postfix_str(also(), refresh=False)
        return
    of_total = f" of {total:,}" if total is not None else ""
    started = shown = time.monotonic()
    for count, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - shown >= SECONDS_BETWEEN_LINES:
            shown = now
            rate = count / (now - started)
            left = f"{(total - count) / rate / 60:,.1f} min left" if total is not None else ""
            figures = ", ".join(filter(None, (f"{count:,}{of_total} {what}", f"{rate:,.1f}/s", left, also())))
            say(figures)
