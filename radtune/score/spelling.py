"""Misspelt class names, and the class that each most likely means."""

import re
from collections import Counter
from dataclasses import dataclass

from radtune.findings import FINDINGS, NORMAL
from radtune.score.inputs import LabelledReports

# What is done with a name that is none of the 13: counted as wrong, or taken for the class it all but spells.
LENIENT = "lenient"
SPELLING = ("strict", LENIENT)

# Letters a name may have for each that is wrong: one slip in "Edema", two in "Atelectasis", three in a long name.
_LETTERS_PER_SLIP = 5
_SIGNS = re.compile(r"[\W_]+")
_FOLDED = {_SIGNS.sub(" ", name).lower(): name for name in (*FINDINGS, NORMAL)}


@dataclass(frozen=True)
class Respelling:
    """What a misspelt name was taken for, and how often it stands."""

    finding: str
    count: int


def nearest_finding(name: str) -> str | None:
    """The class, or Normal, that a misspelt name is nearest to.

    Case, blanks, hyphens and underscores are free; beyond them one letter in five may be wrong (left out, added,
    changed or swapped with its neighbour).

    Returns:
        The name; None if none is that near, or if two are equally near.
    """
    # Only misspelt names need it.
    from rapidfuzz.distance import OSA

    folded = _SIGNS.sub(" ", name).strip().lower()
    slips = {known: OSA.distance(folded, known) for known in _FOLDED}
    best = min(slips, key=lambda known: slips[known])
    if slips[best] > len(best) // _LETTERS_PER_SLIP or list(slips.values()).count(slips[best]) > 1:
        return None
    return _FOLDED[best]


def respell(reports: LabelledReports) -> dict[str, Respelling]:
    """Takes the misspelt names in multiple-choice labels for the classes they are nearest to, in place.

    Returns:
        By name as it stands in the file, what it was taken for, the most frequent first.
    """
    names = Counter(name for labels in reports.labels.values() for name in labels if name not in FINDINGS)
    meant = {name: finding for name in names if (finding := nearest_finding(name)) not in (None, name)}
    for report_id, labels in reports.labels.items():
        if not meant.keys().isdisjoint(labels):
            found = dict.fromkeys(meant.get(name, name) for name in labels)
            reports.labels[report_id] = () if list(found) == [NORMAL] else tuple(found)
    return {name: Respelling(meant[name], count) for name, count in names.most_common() if name in meant}
