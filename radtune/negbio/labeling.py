"""Labelling many reports, on one core or on all of them."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice

from radtune.negbio.engine import ReportLabels, label_report
from radtune.negbio.rules import default_rules
from radtune.reports import Report

# One core labels about 3,000 reports a second, and a pool takes about a second to start and to be fed.
POOL_FROM = 10_000
_BATCH = 500
# Batches handed out ahead, per process: enough to keep each busy, few enough to keep memory flat on any input.
_AHEAD = 4


def label_reports(reports: Iterable[Report], processes: int | None = None) -> Iterator[tuple[Report, ReportLabels]]:
    """Labels reports, in their order.

    Args:
        reports: Read as needed, never all at once.
        processes: How many to use for inputs of :data:`POOL_FROM` reports and more; all available cores if None.
            Smaller inputs stay in this process.

    Yields:
        Each report with its labels.
    """
    processes = processes or _cores()
    reports = iter(reports)
    first = list(islice(reports, POOL_FROM))
    if processes == 1 or len(first) < POOL_FROM:
        for report in chain(first, reports):
            yield report, label_report(report.text)
        return
    yield from _label_in_pool(chain(first, reports), processes)


def _cores() -> int:
    # A batch scheduler may give a job fewer cores than the machine has; only Linux can tell.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _label_in_pool(reports: Iterator[Report], processes: int) -> Iterator[tuple[Report, ReportLabels]]:
    waiting: deque[tuple[list[Report], Future[list[ReportLabels]]]] = deque()
    pool = ProcessPoolExecutor(processes, initializer=default_rules)
    try:
        while batch := list(islice(reports, _BATCH)):
            waiting.append((batch, pool.submit(_label_texts, [report.text for report in batch])))
            if len(waiting) >= processes * _AHEAD:
                yield from _next_batch(waiting)
        while waiting:
            yield from _next_batch(waiting)
    finally:
        pool.shutdown(cancel_futures=True)


def _next_batch(
    waiting: deque[tuple[list[Report], Future[list[ReportLabels]]]],
) -> Iterator[tuple[Report, ReportLabels]]:
    batch, labelled = waiting.popleft()
    return zip(batch, labelled.result(), strict=True)


def _label_texts(texts: list[str]) -> list[ReportLabels]:
    return [label_report(text) for text in texts]
