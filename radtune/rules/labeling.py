"""Labelling many reports, on one core or on all of them."""

import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from multiprocessing import parent_process
from threading import Thread

from radtune.label_files import label_columns
from radtune.labels import State
from radtune.report import Report
from radtune.rules.engine import ReportLabels, label_report
from radtune.rules.lexicon import rules_for
from radtune.tasks import Task, text_of

# One core labels these in less than a second, and a pool takes a part of a second to start.
POOL_FROM = 4_000
# Large, so that a process meets the same sentence again rather than leaving it to another to work out once more.
_BATCH = 500
# Batches handed out ahead, per process: enough to keep each busy, few enough to keep memory flat on any input.
_AHEAD = 3

# A report's labels between processes, without evidence: one byte per class, which is quick to send. 3: not mentioned.
_NO_LABEL = 3
_SEND = {State.PRESENT: 1, State.ABSENT: 0, State.UNCERTAIN: 2, None: _NO_LABEL}
_RECEIVE = {sent: state for state, sent in _SEND.items() if state is not None}


def label_reports(
    reports: Iterable[Report], task: Task, processes: int | None = None, evidence: bool = True
) -> Iterator[tuple[Report, ReportLabels]]:
    """Labels what a task reads of reports, in their order; they are read as needed, never all at once.

    Inputs of :data:`POOL_FROM` reports and more are dealt to processes, one for each available core unless given. They
    have far less to send without ``evidence``, the mentions.
    """
    if processes is None:
        # A batch scheduler may give a job fewer cores than the machine has; only Linux can tell.
        processes = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    reports = iter(reports)
    first = list(islice(reports, POOL_FROM))
    if processes == 1 or len(first) < POOL_FROM:
        rules = rules_for(task)
        for report in chain(first, reports):
            found = label_report(text_of(task, report), rules)
            yield report, found if evidence else ReportLabels(found.labels, ())
        return
    yield from _label_in_pool(chain(first, reports), task, processes, evidence)


def _label_in_pool(
    reports: Iterator[Report], task: Task, processes: int, evidence: bool
) -> Iterator[tuple[Report, ReportLabels]]:
    waiting: deque[tuple[list[Report], Future[list[ReportLabels | bytes]]]] = deque()
    rules_for(task).compile()  # here once; forked processes inherit them
    pool = ProcessPoolExecutor(processes, initializer=_start_worker, initargs=(task,))
    try:
        while (batch := list(islice(reports, _BATCH))) or waiting:
            if batch:
                texts = [text_of(task, report) for report in batch]
                waiting.append((batch, pool.submit(_label_texts, texts, task, evidence)))
            if not batch or len(waiting) >= processes * _AHEAD:
                done, labelled = waiting.popleft()
                for report, found in zip(done, labelled.result(), strict=True):
                    yield report, _receive_labels(found, task) if isinstance(found, bytes) else found
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(task: Task) -> None:
    """Leaves interrupts to the process that started this one, and ends with it, even if that was killed."""
    rules_for(task).compile()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A worker whose parent is gone would wait for work for ever.
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _label_texts(texts: list[str], task: Task, evidence: bool) -> list[ReportLabels | bytes]:
    rules, names = rules_for(task), label_columns(task)
    found = (label_report(text, rules) for text in texts)
    return [labels if evidence else bytes(_SEND[labels.labels.get(name)] for name in names) for labels in found]


def _receive_labels(sent: bytes, task: Task) -> ReportLabels:
    named = zip(label_columns(task), sent, strict=True)
    return ReportLabels({name: _RECEIVE[byte] for name, byte in named if byte != _NO_LABEL}, ())
