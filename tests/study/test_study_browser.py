"""The report page in a real browser: desktop, phone, dark, print, and with a click on a column's head."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, MISSING, Browser, browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)

DESKTOP, PHONE = (1280, 900), (390, 844)
# A4 at 96 dots an inch, less the usual margins.
PAPER = (718, 1047)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def page_file(telling_page: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(telling_page)
    return path


@pytest.mark.parametrize(("width", "height"), [DESKTOP, PHONE])
def test_page_fits_and_loads_nothing(chromium: Browser, page_file: Path, width: int, height: int) -> None:
    assert chromium.open(page_file, width, height) == [page_file.as_uri()]
    assert chromium.evaluate("innerWidth") == width
    assert chromium.evaluate("document.documentElement.scrollWidth") == width
    # Wide tables scroll within their own box.
    boxes = chromium.evaluate(
        "[...document.querySelectorAll('.scroll, svg')].map(b => b.getBoundingClientRect().right)"
    )
    assert len(boxes) > 15
    assert max(boxes) <= width
    assert not [event for event in chromium.pending if event["method"] == "Runtime.exceptionThrown"]


def test_figures_can_be_read_on_a_phone(chromium: Browser, page_file: Path) -> None:
    chromium.open(page_file, *PHONE)
    heights = chromium.evaluate("[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height)")
    assert len(heights) > 50
    assert sorted(heights)[len(heights) // 10] >= 9


def column(chromium: Browser, table: str, number: int) -> list[str]:
    rows = f"document.querySelectorAll('#{table}-list tbody tr')"
    return chromium.evaluate(f"[...{rows}].map(row => row.cells[{number}].textContent.trim())")


def click(chromium: Browser, table: str, number: int) -> str:
    """Clicks on a column's head; its aria-sort."""
    head = f"[...document.querySelectorAll('#{table}-list thead tr')].at(-1).cells[{number}]"
    return chromium.evaluate(f"{head}.querySelector('button').click(); {head}.getAttribute('aria-sort')")


def test_errors_are_sorted_by_a_click(chromium: Browser, page_file: Path) -> None:
    chromium.open(page_file, *DESKTOP)
    before = column(chromium, "errors", 3)
    assert len(set(before)) > 2
    assert click(chromium, "errors", 3) == "ascending"
    assert column(chromium, "errors", 3) == sorted(before, key=str.lower)
    assert click(chromium, "errors", 3) == "descending"
    assert column(chromium, "errors", 3) == sorted(before, key=str.lower, reverse=True)


def test_numbers_are_sorted_as_numbers_with_blanks_last(chromium: Browser, page_file: Path) -> None:
    chromium.open(page_file, *DESKTOP)
    for heading, number in (("classes_multiple_choice", 1), ("cells", 8)):
        before = column(chromium, heading, number)
        numbers = sorted(float(text) for text in before if text)
        for direction, wanted in (("ascending", numbers), ("descending", numbers[::-1])):
            assert click(chromium, heading, number) == direction
            after = column(chromium, heading, number)
            assert [float(text) for text in after if text] == wanted
            assert not any(after[len(wanted) :])


def test_dark_theme_turns_ground_and_ink(chromium: Browser, page_file: Path) -> None:
    shades = []
    for dark in (False, True):
        chromium.open(page_file, *DESKTOP, dark=dark)
        colour = chromium.evaluate("getComputedStyle(document.body).backgroundColor")
        shades.append(sum(map(int, colour.strip("rgb()").split(","))))
    assert shades[0] > 700 > 150 > shades[1]


def test_print_shows_whole_tables_and_stops_the_list(chromium: Browser, page_file: Path) -> None:
    chromium.open(page_file, *PAPER)
    chromium.call("Emulation.setEmulatedMedia", media="print")
    assert chromium.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    widths = chromium.evaluate("[...document.querySelectorAll('table')].map(t => t.getBoundingClientRect().right)")
    assert max(widths) <= PAPER[0]
    # Names of classes are not broken within a word.
    names = "[...document.querySelectorAll('#errors-list td.prose')].filter(c => c.textContent.includes('Enlarged'))"
    assert max(chromium.evaluate(f"{names}.map(cell => cell.offsetHeight)")) < 60
    rows = "[...document.querySelectorAll('#errors-list tbody tr')]"
    assert chromium.evaluate(f"{rows}.length") > 40
    assert chromium.evaluate(f"{rows}.filter(row => row.offsetHeight).length") == 40
    assert chromium.pdf().startswith(b"%PDF")
    chromium.call("Emulation.setEmulatedMedia", media="")
