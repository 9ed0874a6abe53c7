"""ICD-10-CM codes: whether one exists, whether it is exact enough to bill, and what it means."""

import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from radtune.config import InputError

# A letter, a digit, a letter or digit, and up to four more behind the dot, which models often leave out (ICD-10-CM
# Official Guidelines for Coding and Reporting, section I.A.2).
_CODE = re.compile(r"([A-Z][0-9][0-9A-Z])\.?([0-9A-Z]{0,4})")


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
    """Looks a code up in ICD-10-CM, in the release that the simple-icd-10-cm package carries.

    Args:
        code: In upper or lower case, with or without its dot.

    Raises:
        InputError: The package is not installed.
    """
    match = _CODE.fullmatch(code.strip().upper())
    if match is None:
        return CodeCheck(code.strip(), exists=False)
    official = f"{match[1]}.{match[2]}" if match[2] else match[1]
    tables = _tables()
    if not tables.is_valid_item(official):
        return CodeCheck(official, exists=False)
    return CodeCheck(official, True, tables.is_leaf(official), tables.get_description(official))


def code_exists(code: str) -> bool:
    """Whether ICD-10-CM has a code; quicker than :func:`check_code`, which also reads what codes mean."""
    match = _CODE.fullmatch(code.strip().upper())
    return match is not None and "".join(match.groups()) in _listed()


@cache
def _listed() -> frozenset[str]:
    """All codes, without their dots, from the list that the package carries beside its tables."""
    found = find_spec("simple_icd_10_cm")
    lists = sorted(Path(found.origin).parent.glob("data/code-list*.txt")) if found and found.origin else []
    return frozenset(lists[-1].read_text(encoding="utf-8").split() if lists else _tables().get_all_codes(False))


def _tables() -> ModuleType:
    # Imported here: reading its tables takes two seconds and 190 MB, which only an answer to check is worth.
    try:
        import simple_icd_10_cm
    except ImportError:
        raise InputError("checking ICD-10-CM codes needs one package more: pip install simple-icd-10-cm") from None
    return simple_icd_10_cm
