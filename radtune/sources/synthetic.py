"""Synthetic reports that know their truth: of the chest for both tasks of the paper, and musculoskeletal impressions.

Those of the chest read like dictation (devices, negation lists, hedges, resolved and "versus" findings, history and
comparison phrases, misspellings) and come from ``synthetic.toml``; all are the same for the same seed on every machine.
"""

import random
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from radtune.config import InputError, key
from radtune.labels import NO_FINDING, Phrase, State
from radtune.report import Report, report_from_sections
from radtune.sources import synthetic_msk

# Those of the chest; the others are synthetic_msk's.
COHORTS = ("mimic", "wcm")


@dataclass
class Keys:
    """Keys of this source."""

    count: int = key("How many to make.", ge=1)
    cohort: str = key(
        "Whose reports they resemble; mimic if left out. msk_held_out: what msk has, in other words.",
        "mimic",
        choices=(*COHORTS, *synthetic_msk.COHORTS),
    )
    seed: int = key("Other seeds give other reports and ids.", 0)
    gold_labels: Path | None = key("Label table of the truth, to write.", None)
    gold_phrases: Path | None = key("JSONL of the true phrases, to write.", None)

    def __post_init__(self) -> None:
        if self.gold_phrases and self.cohort in synthetic_msk.COHORTS:
            raise InputError(f"gold_phrases: cohort {self.cohort} knows classes (gold_labels), no phrases")


def read(keys: Keys) -> Iterator[Report]:
    """Makes reports; see :func:`generate`."""
    return (made.report for made in generate(keys.count, keys.seed, keys.cohort))


@dataclass(frozen=True)
class SyntheticReport:
    """A report and its truth.

    Attributes:
        report: The report.
        labels: By class; one that is not mentioned has no state. ``No Finding`` is present or has none.
        phrases: What the patient certainly has, in the order of the report, with its code; of the chest alone.
    """

    report: Report
    labels: dict[str, State]
    phrases: list[Phrase]


@dataclass
class _Draft:
    """A report being written: sentences by region, and what they say."""

    random: random.Random
    sentences: dict[str, list[str]] = field(default_factory=lambda: {region: [] for region in _lexicon()["regions"]})
    impression: list[str] = field(default_factory=list)
    labels: dict[str, State] = field(default_factory=dict)
    phrases: list[Phrase] = field(default_factory=list)

    def say(self, condition: dict[str, Any], label: State) -> None:
        """Notes a label for the condition's classes: positive over uncertain over negative."""
        for name in (condition.get("finding"), condition.get("also")):
            if name:
                synthetic_msk.note(self.labels, name, label)


@cache
def _lexicon() -> dict[str, Any]:
    with Path(__file__).with_name("synthetic.toml").open("rb") as stream:
        return tomllib.load(stream)


def _chance(name: str) -> Any:
    """How often a thing happens; of one that differs so, by cohort."""
    return _lexicon()["chances"][name]


def generate(count: int, seed: int, cohort: str = "mimic") -> Iterator[SyntheticReport]:
    """Makes reports; a longer run begins with those of a shorter one. Cohorts differ in diseases and in layout."""
    for index in range(count):
        rng = random.Random(f"{cohort}:{seed}:{index}")  # noqa: S311  (no secret)
        patient = int(index / _lexicon_of(cohort)["reports_per_patient"])
        ids = f"{cohort}-{seed}-{index:06d}", f"{cohort}-{seed}-p{patient:06d}"
        if cohort in COHORTS:
            yield _write(rng, *ids, cohort)
        else:
            yield SyntheticReport(*synthetic_msk.write(rng, *ids, cohort), [])


def findings(cohort: str) -> set[str]:
    """The classes that a cohort's reports speak of."""
    return {condition["finding"] for condition in _lexicon_of(cohort)["condition"] if "finding" in condition}


def _lexicon_of(cohort: str) -> dict[str, Any]:
    return _lexicon() if cohort in COHORTS else synthetic_msk.lexicon()


def _write(rng: random.Random, report_id: str, patient_id: str, cohort: str) -> SyntheticReport:
    lexicon, draft = _lexicon(), _Draft(rng)
    conditions = lexicon["condition"]
    if rng.random() >= _chance("normal"):
        weights = [condition["weight"][cohort] for condition in conditions]
        for condition in {id(c): c for c in rng.choices(conditions, weights, k=rng.randint(1, 4))}.values():
            _mention(draft, condition)
        if rng.random() < _chance("versus"):
            _versus(draft, conditions)
    _negations(draft, conditions)
    _normal_statements(draft)
    if rng.random() < _chance("filler"):
        draft.sentences["devices"].insert(0, rng.choice(lexicon["carriers"]["filler"]))
    if rng.random() < _chance("history"):
        phrase, _ = _fill(draft, rng.choice([c for c in conditions if c.get("finding") and not c.get("device")]))
        draft.sentences["devices"].insert(0, _carry(draft, "history", phrase))
    devices = {condition["finding"] for condition in conditions if condition.get("device")}
    if {state for name, state in draft.labels.items() if name not in devices} <= {State.ABSENT}:
        if all(phrase.icd10 in _device_codes() for phrase in draft.phrases):
            draft.labels[NO_FINDING] = State.PRESENT
        draft.impression.append(rng.choice(lexicon["normal"]["impression"]))
    report = report_from_sections(report_id, patient_id, _findings(draft, cohort), _impression(draft), "synthetic")
    text = report.text.lower()
    phrases = sorted(draft.phrases, key=lambda phrase: text.index(phrase.phrase))
    return SyntheticReport(report, draft.labels, phrases)


def _mention(draft: _Draft, condition: dict[str, Any]) -> None:
    """One condition: present, hedged or resolved, in its region and perhaps again in the impression."""
    rng, device = draft.random, condition.get("device", False)
    phrase, icd10 = _fill(draft, condition)
    chance = rng.random()
    if chance < _chance("resolved"):
        label, carrier = State.ABSENT, "device_removed" if device else "resolved"
    elif chance < _chance("resolved") + _chance("hedged") and not device and condition.get("finding"):
        label, carrier = State.UNCERTAIN, "hedged"
    else:
        label, carrier = State.PRESENT, "device_present" if device else "present"
        draft.phrases.append(Phrase(phrase, icd10))
    draft.say(condition, label)
    sentence = _carry(draft, carrier, phrase)
    draft.sentences[condition["region"]].append(sentence)
    if label != State.ABSENT and not device and rng.random() < _chance("restated"):
        draft.impression.append(sentence if label == State.UNCERTAIN else f"{_capital(phrase)}.")


def _versus(draft: _Draft, conditions: list[dict[str, Any]]) -> None:
    """An opacity that is there, with two explanations that are both uncertain."""
    by_finding = {c["finding"]: c for c in conditions if c.get("finding") and not c.get("also")}
    seen = _lexicon()["versus"]["seen"]
    if seen in draft.labels:
        return
    opacity, icd10 = _fill(draft, by_finding[seen])
    first, second = draft.random.sample(_lexicon()["versus"]["explained_by"], 2)
    carrier = draft.random.choice(_lexicon()["carriers"]["versus"])
    words = [_misspell(draft, draft.random.choice(by_finding[name]["negated"])) for name in (first, second)]
    draft.sentences["lungs"].append(carrier.format(Opacity=_capital(opacity), x=words[0], y=words[1]))
    draft.phrases.append(Phrase(opacity, icd10))
    draft.say(by_finding[seen], State.PRESENT)
    for name in (first, second):
        draft.say(by_finding[name], State.UNCERTAIN)


def _negations(draft: _Draft, conditions: list[dict[str, Any]]) -> None:
    """Findings that are said to be absent: most as a list under one "no", some on their own."""
    rng, carriers = draft.random, _lexicon()["carriers"]
    free = [c for c in conditions if c["negated"] and c["finding"] not in draft.labels]
    rng.shuffle(free)
    if rng.random() < _chance("negation_list"):
        listed, free = free[: rng.randint(1, 4)], free[4:]
        words = [_misspell(draft, rng.choice(c["negated"])) for c in listed]
        joined = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {rng.choice(('or', 'and'))} {words[-1]}"
        draft.sentences["pleura"].append(rng.choice(carriers["negation"]).format(list=joined))
        for condition in listed:
            draft.say(condition, State.ABSENT)
    if free and rng.random() < 0.25:
        word = rng.choice(free[0]["negated"])
        draft.sentences["pleura"].append(_carry(draft, "absent", word))
        draft.say(free[0], State.ABSENT)


def _normal_statements(draft: _Draft) -> None:
    """Regions nothing was said of are often said to be normal."""
    for region, statements in _lexicon()["normal"].items():
        if region == "impression" or draft.sentences[region] or draft.random.random() < 0.35:
            continue
        draft.sentences[region].append(draft.random.choice(statements))
        if denied := _lexicon()["normal_denies"].get(region):
            draft.labels.setdefault(denied, State.ABSENT)


def _fill(draft: _Draft, condition: dict[str, Any]) -> tuple[str, str]:
    """One of the condition's phrases with its slots filled, and its code."""
    template, icd10 = draft.random.choice(condition["phrases"])
    slots = {name: draft.random.choice(values) for name, values in _lexicon()["slots"].items()}
    return _misspell(draft, template.format(**slots)), icd10


def _misspell(draft: _Draft, phrase: str) -> str:
    if draft.random.random() < _chance("misspelt"):
        for word, variants in _lexicon()["misspellings"].items():
            if word in phrase:
                return phrase.replace(word, draft.random.choice(variants))
    return phrase


def _carry(draft: _Draft, carrier: str, phrase: str) -> str:
    template = draft.random.choice(_lexicon()["carriers"][carrier])
    return template.format(x=phrase, X=_capital(phrase), a=_article(phrase)).replace("  ", " ")


def _article(phrase: str) -> str:
    if phrase.endswith(tuple(_lexicon()["mass_nouns"])):
        return ""
    return "an" if phrase[0] in "aeiou8" or phrase.startswith("11") else "a"


def _capital(phrase: str) -> str:
    return phrase[0].upper() + phrase[1:]


@cache
def _device_codes() -> frozenset[str]:
    return frozenset(code for c in _lexicon()["condition"] if c.get("device") for _, code in c["phrases"])


def _findings(draft: _Draft, cohort: str) -> str:
    if draft.random.random() < _chance("structured")[cohort]:
        filled = ((heading, " ".join(draft.sentences[region])) for region, heading in _lexicon()["regions"].items())
        return "\n".join(f"{heading}: {said or 'None.'}" for heading, said in filled)
    return " ".join(sentence for region in _lexicon()["regions"] for sentence in draft.sentences[region])


def _impression(draft: _Draft) -> str:
    sentences = list(dict.fromkeys(draft.impression))
    return synthetic_msk.joined(sentences, numbered=len(sentences) > 1 and draft.random.random() < 0.6)
