"""The labels in one cell of a table, however they are joined there."""

import re
from collections.abc import Iterable

from radtune.config import InputError
from radtune.labels import Status
from radtune.tables import is_missing
from radtune.tasks import Task
from radtune.tasks.lists import fold_space, read_list
from radtune.tasks.phrase_list import NOTHING, SAYS_ABSENT, is_code

# What stands between the labels of a cell: signs that no name has, the comma, and last what may be part of a name.
_BETWEEN = (
    re.compile(r"[|;\n\r\t•]"),
    re.compile(r",(?:\s*and\s)?", re.IGNORECASE),
    re.compile(r"\s+(?:and|plus)\s+|\s*[&+/]\s*", re.IGNORECASE),
)
# A phrase between commas, and what is in brackets behind its words.
_PHRASE = re.compile(r"(?:\s*and\s)?((?:(?<=[\w ])\([^()]{0,40}\)|[^,])+)", re.IGNORECASE)
# Before an item of a numbered cell.
_MARK = re.compile(r"(?<![^\s,;|])\(?(\d{1,2}|[a-z])[.)]\s", re.IGNORECASE)
# "+Edema, -Pneumonia": signs that are no bullets, where both stand.
_SIGNED = [re.compile(rf"(?:^|[\s,;|]){sign}\w") for sign in (r"\+", "[-\u2010-\u2015\u2212]")]
# How Python, numpy and pandas print a list, tuple, set or array; numpy puts nothing between its items.
_PRINTED = re.compile(
    r"(?:[\w.]+\(\s*)?[\[{](?P<items>.*)[\]}](?:\s*,[^\[\]{}]*)?\)?|\((?P<tuple>\s*['\"].*['\"]\s*,?\s*)\)|(?:\w+)?\(\)",
    re.DOTALL,
)
_NO_COMMA = re.compile(r"(?<=['\"])\s+(?=['\"])")


def cell_labels(where: str, column: str, cell: str, task: Task) -> list[str] | None:
    """The labels in a cell; None where it is missing.

    Raises:
        InputError: It begins a list that never closes, or holds more than names.
    """
    cell = cell.strip()
    if is_missing(cell):
        return None
    printed = _PRINTED.fullmatch(cell)
    if printed is None and not cell.startswith("["):
        return _split(task, cell)
    body = (printed["items"] or printed["tuple"] or "") if printed else cell[1:]
    answer = read_list(f"[{_NO_COMMA.sub(', ', body)}{']' if printed else ''}")
    if answer.status != Status.OK or answer.rest or re.search(r"['\"]\s*:", body):
        problem = "never closes" if printed is None else "is none of names alone"
        raise InputError(f"{where}: the list in {column!r} {problem}")
    items = [item for item in answer.labels if not is_missing(item)]
    return [label for item in items for label in _split(task, item)] if task.classes else _there(items)


def _split(task: Task, text: str) -> list[str]:
    """The labels in a text: of phrases, what strong signs part, or else commas; of classes, the names between signs."""
    if not task.classes:
        strong, items = _BETWEEN[0], _items(text)
        parted = len(items) > 1 or strong.search(text)
        pieces = [x for item in items for x in (strong.split(item) if parted else _PHRASE.findall(item))]
        return _there(_with_codes(pieces))
    if all(sign.search(text) for sign in _SIGNED):
        return [text]
    *strong, weak = _BETWEEN
    names = _items(text)
    for sign in strong:
        names = [piece for name in names for piece in ([name] if task.canonical(name) else sign.split(name))]
    # Of one blank: where a cell has thousands in a row, each of them might begin a sign.
    joined = [[name] if task.spelled(name) else weak.split(fold_space(name)) for name in names]
    return [
        piece for name, pieces in zip(names, joined, strict=True) if not is_missing(name)
        for piece in (pieces if all(map(task.spelled, pieces)) else [name])
    ]  # fmt: skip


def _items(text: str) -> list[str]:
    """The items of a list numbered 1., 2. or a), b); the text whole where it is none: one number may be a rib's."""
    marks: list[re.Match[str]] = []
    for mark in _MARK.finditer(text):
        if mark[1].lower() in (str(len(marks) + 1), chr(ord("a") + len(marks))):
            marks.append(mark)
    if len(marks) < 2 or marks[0].start():
        return [text]
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return [text[mark.end() : end].strip(" ,\n") for mark, end in zip(marks, ends, strict=True)]


def _with_codes(pieces: Iterable[str]) -> list[str]:
    """The phrases of a cell, each with the code that a sign had parted from it: "effusion, J90"."""
    phrases: list[str] = []
    for piece in pieces:
        if phrases and is_code(piece) and not is_code(phrases[0]):
            phrases[-1] += f", {piece.strip()}"
        else:
            phrases.append(piece)
    return phrases


def _there(phrases: Iterable[str]) -> list[str]:
    """The phrases of a cell that say of something that it is there."""
    return [phrase for phrase in phrases if not (NOTHING.fullmatch(phrase) or SAYS_ABSENT.match(phrase))]
