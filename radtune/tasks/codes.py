"""ICD-10-CM codes: whether one exists, whether it is exact enough to bill, and what it means."""

import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from radtune.config import InputError

# A letter, a digit, a letter or digit (of late also QA0), and up to four more behind the dot, which models often leave
# out (ICD-10-CM Official Guidelines for Coding and Reporting, section I.A.2).
_CODE = re.compile(r"([A-Z](?:[0-9][0-9A-Z]|A[0-9]))\.?([0-9A-Z]{0,4})")
_CATEGORY = re.compile(r"<diag[^>]*>\s*<name>\w{3}</name>")


@dataclass(frozen=True)
class CodeCheck:
    """What ICD-10-CM says of a code.

    Attributes:
        code: As it is written officially, in upper case and with its dot; as given if it has no code's form.
        exists: Whether it is a category or a code; names of blocks and chapters (``J09-J18``) are neither.
        is_leaf: Whether nothing stands below it: only such codes are valid diagnoses.
        description: Its meaning; None if it does not exist.
    """

    code: str
    exists: bool
    is_leaf: bool = False
    description: str | None = None


@cache
def check_code(code: str) -> CodeCheck:
    """Looks a code up, in either case, with its dot or without, in the release that simple-icd-10-cm carries.

    Raises:
        InputError: The package is not installed.
    """
    match = _CODE.fullmatch(code.strip().upper())
    if match is None:
        return CodeCheck(code.strip(), exists=False)
    official, plain = ".".join(filter(None, match.groups())), "".join(match.groups())
    if plain not in _listed():
        return CodeCheck(official, exists=False)
    return CodeCheck(official, True, plain in _leaves(), _description(official))


def code_exists(code: str) -> bool:
    """Whether ICD-10-CM has a code."""
    match = _CODE.fullmatch(code.strip().upper())
    return match is not None and "".join(match.groups()) in _listed()


@cache
def _listed() -> frozenset[str]:
    """All categories and codes, without their dots."""
    return frozenset(filter(_CODE.fullmatch, _read("code-list*.txt").split()))  # not the blocks, "J09-J18"


@cache
def _leaves() -> frozenset[str]:
    """Those that none stands below, which would begin with it."""
    ordered = sorted(_listed())
    return frozenset(code for code, following in pairwise([*ordered, ""]) if not following.startswith(code))


@cache
def _read(pattern: str) -> str:
    # The package reads its tables on import, so it is not imported.
    package = find_spec("simple_icd_10_cm")
    found = sorted(Path(package.origin).parent.glob(f"data/{pattern}")) if package and package.origin else []
    if not found:
        raise InputError("checking ICD-10-CM codes needs one package more: pip install simple-icd-10-cm")
    return found[-1].read_text(encoding="utf-8")


def _description(official: str) -> str | None:
    """What a code means; the seventh character's meaning stands at the code, or above it, that it extends."""
    entries = _entries(official[:3])
    if official in entries:
        return entries[official][0]
    base, seventh = official[:-1].rstrip("X").rstrip("."), official[-1]
    description, extensions = entries.get(base, (None, {}))
    return f"{description}, {extensions[seventh]}" if seventh in extensions else None


@cache
def _entries(category: str) -> dict[str, tuple[str, dict[str, str]]]:
    """By code of a category: its description, and the meanings of a seventh character."""
    from defusedxml import ElementTree  # here, since few runs ask what a code means

    # Parsed whole, the tabular list takes two seconds and 190 MB.
    text = _read("icd10c-tabular*.xml")
    name = text.find(f"<name>{category}</name>")
    following = _CATEGORY.search(text, name)
    start, end = text.rfind("<diag", 0, name), text.rfind("</diag>", name, following.start() if following else None)
    found: dict[str, tuple[str, dict[str, str]]] = {}
    waiting = [(ElementTree.fromstring(f"{text[start:end]}</diag>"), {})]
    while waiting:
        entry, extensions = waiting.pop()
        if (own := entry.find("sevenChrDef")) is not None:
            extensions = {}
            for part in own:
                if part.tag == "extension":
                    extensions[char := part.get("char", "")] = part.text or ""
                else:  # a note to the one before
                    extensions[char] += f"/{part.text}"
        found[entry.findtext("name", "")] = entry.findtext("desc", ""), extensions
        waiting += [(below, extensions) for below in entry.findall("diag")]
    return found
