"""Labelling many reports, on one core or on all of them."""

import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from itertools import chain, islice
from multiprocessing import parent_process
from threading import Thread

from radtune.characters import language_of
from radtune.config import InputError
from radtune.report import Report, is_chest
from radtune.rules.engine import NOT_CHEST, ReportLabels, label_report
from radtune.rules.lexicon import rules_for
from radtune.tasks import Task, shows_images, text_of

# One core labels these in less than a second, and a pool takes a part of a second to start.
POOL_FROM = 4_000
# Large, so that a process meets the same sentence again rather than leaving it to another to work out once more.
_BATCH = 500
# Batches handed out ahead, per process: enough to keep each busy, few enough to keep memory flat on any input.
_AHEAD = 3


def label_if_meant(report: Report, task: Task, any_body_part: bool = False, any_language: bool = False) -> ReportLabels:
    """Labels what a task reads of a report; left out is one of a region or language that its rules are not for."""
    if shows_images(task):
        raise InputError(f"task {task.name} shows images: rules read texts alone")
    rules, text = rules_for(task), text_of(task, report)
    if rules.region and not any_body_part and not is_chest(report):
        return ReportLabels({}, (), NOT_CHEST)
    if rules.language and not any_language and (code := language_of(text)) not in ("", rules.language):
        return ReportLabels({}, (), code)
    return label_report(text, rules, may_open=text == report.text)


def label_reports(
    reports: Iterable[Report],
    task: Task,
    processes: int | None = None,
    evidence: bool = True,
    any_body_part: bool = False,
    any_language: bool = False,
) -> Iterator[tuple[Report, ReportLabels]]:
    """Labels what a task reads of reports, in their order; they are read as needed, never all at once.

    ``any_body_part`` and ``any_language`` label those that their rules are not for, too.

    Inputs of :data:`POOL_FROM` reports and more are dealt to processes, one for each available core unless given. They
    have less to send without ``evidence``, the mentions.
    """
    if processes is None:
        # A batch scheduler may give a job fewer cores than the machine has; only Linux can tell.
        processes = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    reports = iter(reports)
    first = list(islice(reports, POOL_FROM))
    if processes == 1 or len(first) < POOL_FROM:
        for report in chain(first, reports):
            (found,) = _label_batch([report], task, evidence, any_body_part, any_language)
            yield report, found
        return
    yield from _label_in_pool(chain(first, reports), task, processes, evidence, any_body_part, any_language)


def _label_in_pool(
    reports: Iterator[Report], task: Task, processes: int, evidence: bool, any_body_part: bool, any_language: bool
) -> Iterator[tuple[Report, ReportLabels]]:
    waiting: deque[tuple[list[Report], Future[list[ReportLabels]]]] = deque()
    rules_for(task)  # read here once; forked processes inherit them
    pool = ProcessPoolExecutor(processes, initializer=_start_worker)
    try:
        while (batch := list(islice(reports, _BATCH))) or waiting:
            if batch:
                waiting.append((batch, pool.submit(_label_batch, batch, task, evidence, any_body_part, any_language)))
            if not batch or len(waiting) >= processes * _AHEAD:
                done, labelled = waiting.popleft()
                yield from zip(done, labelled.result(), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Leaves interrupts to the process that started this one, and ends with it, even if that was killed."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A worker whose parent is gone would wait for work for ever.
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _label_batch(
    reports: list[Report], task: Task, evidence: bool, any_body_part: bool, any_language: bool
) -> list[ReportLabels]:
    found = [label_if_meant(report, task, any_body_part, any_language) for report in reports]
    return found if evidence else [replace(labels, mentions=()) for labels in found]
