"""What a file of reports holds: its form, language, sections, headings, and what will be left out of it or misread."""

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from radtune.characters import OTHER, language_of
from radtune.privacy import looks_like_name
from radtune.report import Report, is_chest
from radtune.sections import heading_kind
from radtune.tables import is_table, table_layout

LANGUAGES = {
    "en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "pt": "Portuguese",
    "nl": "Dutch", "sv": "Swedish", "da": "Danish", "pl": "Polish", "tr": "Turkish", "ru": "Russian",
    "zh": "Chinese", "ja": "Japanese", "ko": "Korean", "el": "Greek", "ar": "Arabic", "he": "Hebrew",
    "th": "Thai", "hi": "Hindi", OTHER: "a language not known",
}  # fmt: skip
# Of so many reports language and region are looked at; they tell as much as all.
_LOOKED_AT = 1_000
_SHOWN = 8


class Look:
    """Counts what reports hold, as they pass."""

    def __init__(self) -> None:
        self.counts = Counter[str]()
        self.languages = Counter[str]()
        self.headings = Counter[str]()
        self.texts = set[int]()

    def pass_on(self, reports: Iterable[Report]) -> Iterator[Report]:
        """Looks at reports on their way to another reader."""
        count = self.counts
        for report in reports:
            count["reports"] += 1
            count["with findings"] += bool(report.findings)
            count["with an impression"] += bool(report.impression)
            count["with neither"] += bool(report.text) and not report.has_sections
            count["with images"] += bool(report.images)
            count["empty"] += not report.text and not report.images
            if report.text:
                count["with the text of another"] += hash(report.text) in self.texts
                self.texts.add(hash(report.text))
            if count["reports"] <= _LOOKED_AT:
                self.languages[language := language_of(report.text)] += 1
                count["with no word that tells their language"] += bool(report.text) and not language
                count["not of the chest"] += not is_chest(report)
            self.headings.update(report.headings or ())
            yield report

    @property
    def language(self) -> str:
        """The code of the language of most of them; empty where none can be told."""
        self.languages.pop("", None)
        return max(self.languages, key=self.languages.__getitem__, default="")

    def lines(self) -> Iterator[str]:
        """What was seen, a sentence a line."""
        numbers = {name: number for name, number in self.counts.items() if number and name != "reports"}
        said = "".join(f", {number:,} {name}" for name, number in numbers.items())
        language = f" in {LANGUAGES.get(self.language, self.language)}" if self.language else ""
        yield f"{self.counts['reports']:,} reports{language}{said}"
        known = {name for name in self.headings if heading_kind(name)}
        # What stands in one report only may be its patient's name.
        unknown = {name for name in self.headings.keys() - known if self.headings[name] > 1 and looks_like_name(name)}
        rest = len(self.headings) - len(known) - len(unknown)
        for what, names in (("headings", known), ("headings not known", unknown)):
            if shown := [(name, number) for name, number in self.headings.most_common() if name in names]:
                more = max(0, len(shown) - _SHOWN) + (rest if names is unknown else 0)
                listed = ", ".join(f"{name} {number:,}" for name, number in shown[:_SHOWN])
                yield f"{what}: {listed}{f' and {more:,} more' if more else ''}"


@cache
def say_look(path: Path, lines: tuple[str, ...]) -> None:
    """Prints, once, what a file holds."""
    if is_table(path) and path.is_file():
        lines = (table_layout(path), *lines)
    print(f"{path}: {'; '.join(lines)}", flush=True)
