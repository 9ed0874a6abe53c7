"""Which region of the body a report is about: by what its file and its title say, else by the organs it names."""

import re
import tomllib
from functools import cache
from pathlib import Path

_WORDS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
_SPINE, _CHEST, _OTHER, _FILLER = ("|".join(_WORDS["titles"][name]) for name in ("spine", "chest", "other", "filler"))
_HOW = "|".join(word for words in (_WORDS["titles"]["how"], *_WORDS["modalities"].values()) for word in words)
# Views, of which radiographs alone are said to be.
_VIEWS = "portable|frontal|pa|ap"


def _in_title(pattern: str) -> re.Pattern[str]:
    """The pattern for whole words; CHEST_ABDOMEN and T2 hold words, too."""
    return re.compile(rf"(?<![^\W\d_])(?:{pattern})(?![^\W\d_])", re.IGNORECASE)


_TITLE_CHEST, _TITLE_SPINE, _TITLE_OTHER = map(_in_title, (_CHEST, _SPINE, _OTHER))
_TITLE_HOW = _in_title(f"{_HOW}|{_VIEWS}")
_MODALITIES = {name: _in_title("|".join(words)) for name, words in _WORDS["modalities"].items()}
_TITLE_VIEWS = _in_title(_VIEWS)
_TITLE = re.compile(
    rf"\W*+(?:(?:{_CHEST}|{_SPINE}|{_OTHER}|{_HOW}|{_FILLER})(?![^\W\d_])[^\w\n:.]*+){{1,16}}+(?=[:.\n]|\Z)",
    re.IGNORECASE,
)
# No image of the chest is made so.
_OTHER_MODALITIES = frozenset(("MG", "MAMMO", "DXA", "DEXA", "BMD", "PX", "IO", "OP", "OPT", "ES", "OCT"))

_CHEST_ORGANS, _NEIGHBOURS, _ELSEWHERE = (
    re.compile(rf"\b(?:{'|'.join(_WORDS['organs'][name])})\b") for name in ("chest", "neighbours", "elsewhere")
)
# Half of these in a report too short for the chest to be its smaller part settle it, ten times faster than the rest.
_COMMON = ("lung", "heart", "cardi", "pleural", "pneumothora", "pulmonary")
_SHORT = 600
# A part of a report of several regions.
_CHEST_PART = re.compile(r"^[ \t]*(?:chest|thorax)[ \t]*:", re.IGNORECASE | re.MULTILINE)
_READ = 20_000  # characters; no report is longer, only odd files


@cache
def title_shows_chest(title: str) -> bool | None:
    """Whether an exam's title, or a DICOM body part, names the chest; None where it names no region."""
    spineless = _TITLE_SPINE.sub(" ", title)
    if _TITLE_CHEST.search(spineless):
        return True
    return False if spineless != title or _TITLE_OTHER.search(title) else None


def names_exam(line: str) -> bool:
    """Whether a line says how which region was examined, other words aside."""
    return title_shows_chest(line) is not None and bool(_TITLE_HOW.search(line))


def region_named(title: str) -> str | None:
    """The region of the body that a title names, in capitals, the chest before others; None if there is none."""
    if title_shows_chest(title):
        return "CHEST"
    found = _TITLE_SPINE.search(title) or _TITLE_OTHER.search(title)
    return found[0].upper() if found else None


@cache
def modality_named(title: str) -> str | None:
    """How the images of a title were made, as DICOM calls it, e.g. ``CT``; None where it does not say."""
    found = next((name for name, words in _MODALITIES.items() if words.search(title)), None)
    return found or ("CR" if _TITLE_VIEWS.search(title) else None)


def title_of(text: str) -> str:
    """The exam's title that a text begins with, such as ``CT ABDOMEN`` or ``MRI of the left knee``; empty if none."""
    found = _TITLE.match(text)
    return found[0].strip() if found and _TITLE_HOW.search(found[0]) else ""


def shows_chest(text: str, body_part: str | None = None, modality: str | None = None) -> bool:
    """Whether a report is about the chest; where nothing tells, it is.

    What its file says of it comes first, then the title that it begins with, then the organs it names: other organs
    must be twice as many as the chest's, since a report of the chest names its neighbours.
    """
    if modality and modality.upper() in _OTHER_MODALITIES:
        return False
    for title in (body_part or "", title_of(text)):
        known = title_shows_chest(title) if title else None
        if known is not None:
            return known
    lower = text[:_READ].lower()
    if _CHEST_PART.search(lower):
        return True
    if len(lower) < _SHORT and sum(word in lower for word in _COMMON) >= len(_COMMON) / 2:
        return True
    elsewhere = 2 * len(set(_ELSEWHERE.findall(lower)))
    if not elsewhere and not _NEIGHBOURS.search(lower):
        return True
    elsewhere += len(set(_NEIGHBOURS.findall(lower)))
    return elsewhere < 2 or elsewhere <= 2 * len(set(_CHEST_ORGANS.findall(lower)))
