"""Synthetic musculoskeletal impressions that know their truth: what they state, consider, deny, and only recall.

They are made of ``synthetic_msk.toml``. The cohort ``msk_held_out`` has the same diseases in names, adjectives and
sentences that ``msk`` never uses: a score on it tells whether what was learned from ``msk`` is more than its wording.
"""

import random
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from radtune.labels import NO_FINDING, State
from radtune.report import Report, report_from_sections

COHORTS = (TRAINING, HELD_OUT) = ("msk", "msk_held_out")
_STRENGTH = {State.PRESENT: 2, State.UNCERTAIN: 1, State.ABSENT: 0}


@cache
def lexicon() -> dict[str, Any]:
    """What impressions are made of."""
    with Path(__file__).with_suffix(".toml").open("rb") as stream:
        return tomllib.load(stream)


@dataclass
class _Draft:
    """An impression being written: where and how its images were made, its sentences, and what they say."""

    random: random.Random
    site: str
    how: str
    held_out: bool
    sentences: list[str] = field(default_factory=list)
    labels: dict[str, State] = field(default_factory=dict)

    def say(self, carrier: str, state: State | None, findings: Sequence[dict[str, Any]], **words: str) -> None:
        """Adds a sentence of a carrier, and what it says of conditions; nothing where the state is None."""
        template = self.random.choice(lexicon()["held_out" if self.held_out else "carriers"][carrier])
        self.add(template.format(**words))
        for condition in findings if state is not None else ():
            note(self.labels, condition["finding"], state)

    def add(self, sentence: str) -> None:
        """Adds a sentence."""
        self.sentences.append(sentence[0].upper() + sentence[1:])

    def happens(self, name: str) -> bool:
        """Whether a thing happens that has a chance."""
        return self.random.random() < lexicon()["chances"][name]

    def name(self, condition: dict[str, Any]) -> str:
        """A name of a condition, its slots filled."""
        return self.fill(self.random.choice(condition["held_out" if self.held_out else "names"]))

    def phrase(self, condition: dict[str, Any]) -> str:
        """A name with an adjective before it and a detail behind it, or without."""
        kind, words = lexicon()["kinds"][condition["kind"]], self.name(condition)
        if self.happens("adjective"):
            words = f"{self.random.choice(kind['held_out' if self.held_out else 'adjectives'])} {words}"
        if self.happens("detail"):
            words = f"{words} {self.random.choice(kind['details'])}"
        return self.fill(words)

    def fill(self, words: str) -> str:
        """Fills the slots that a site has: its side, level, vertebra and bone, and lengths."""
        site = lexicon()["sites"][self.site]
        slots = {name: self.random.choice(site[name]) for name in ("level", "vertebra", "bone") if name in site}
        slots.setdefault("bone", self.site.lower())
        side = self.random.choice(("left ", "right ", "")) if site.get("sided") else ""
        while "{mm}" in words:
            words = words.replace("{mm}", str(self.random.randint(3, 38)), 1)
        return words.format(side=side, **slots)


def write(rng: random.Random, report_id: str, patient_id: str, cohort: str) -> tuple[Report, dict[str, State]]:
    """Makes a report that is an impression, with its modality and body part, and its truth.

    A class that is not mentioned, or only in a history, an advice or as the reason of an operation, has no state.
    """
    first = rng.choice(lexicon()["condition"])
    site = rng.choice(first["where"])
    draft = _Draft(rng, site, rng.choice(_ways(first, site)), cohort == HELD_OUT)
    here = [condition for condition in lexicon()["condition"] if _seen(condition, draft)]
    if draft.happens("nothing"):
        draft.say("nothing", None, ())
    else:
        more = rng.choices(range(4), lexicon()["chances"]["more"])[0]
        others = [condition for condition in here if condition is not first]
        for condition in (first, *rng.sample(others, min(more, len(others)))):
            _mention(draft, condition)
        _alternatives(draft)
        rng.shuffle(draft.sentences)
    _denied(draft, here)
    _recalled(draft, here)
    if set(draft.labels.values()) <= {State.ABSENT}:
        draft.labels[NO_FINDING] = State.PRESENT
    impression = joined(draft.sentences, numbered=len(draft.sentences) > 1 and draft.happens("numbered"))
    report = report_from_sections(report_id, patient_id, "", impression, "synthetic")
    return replace(report, modality=draft.how, body_part=site), draft.labels


def _ways(condition: dict[str, Any], site: str) -> list[str]:
    """How a condition is seen at a site."""
    ways: list[str] = lexicon()["sites"][site]["how"]
    return [how for how in ways if how in condition.get("how", ways)] or condition["how"]


def _seen(condition: dict[str, Any], draft: _Draft) -> bool:
    return draft.site in condition["where"] and draft.how in condition.get("how", [draft.how])


def _mention(draft: _Draft, condition: dict[str, Any]) -> None:
    """One condition: stated, hedged or resolved."""
    chance, chances = draft.random.random(), lexicon()["chances"]
    if chance < chances["resolved"]:
        draft.say("resolved", State.ABSENT, [condition], x=draft.name(condition))
    elif chance < chances["resolved"] + chances["hedged"]:
        draft.say("hedged", State.UNCERTAIN, [condition], x=draft.name(condition))
    else:
        draft.say("present", State.PRESENT, [condition], x=draft.phrase(condition))


def _alternatives(draft: _Draft) -> None:
    """A sign with two or three conditions that may explain it, of which nothing else is said."""
    by_finding = {condition["finding"]: condition for condition in lexicon()["condition"]}
    signs = [
        sign for sign in lexicon()["alternatives"] if _seen(sign, draft) and not draft.labels.keys() & sign["classes"]
    ]
    if not signs or not draft.happens("alternatives"):
        return
    sign = draft.random.choice(signs)
    meant = [by_finding[name] for name in draft.random.sample(sign["classes"], len(sign["classes"]))]
    names = [draft.name(condition) for condition in meant]
    template = draft.random.choice(lexicon()["held_out" if draft.held_out else "carriers"]["versus"])
    if "{z}" in template and len(names) < 3:
        template = "{seen}, {x} or {y}."
    said = 3 if "{z}" in template else 2
    draft.add(template.format(seen=draft.fill(sign["seen"]), **dict(zip("xyz", names, strict=False))))
    for condition in meant[:said]:
        note(draft.labels, condition["finding"], State.UNCERTAIN)


def _denied(draft: _Draft, here: Sequence[dict[str, Any]]) -> None:
    """Up to three conditions of the site under one "no"."""
    free = [condition for condition in here if condition["finding"] not in draft.labels]
    if free and draft.happens("denied"):
        listed = draft.random.sample(free, min(len(free), draft.random.randint(1, 3)))
        *before, last = [draft.name(condition) for condition in listed]
        draft.say("denied", State.ABSENT, listed, list=f"{', '.join(before)} or {last}" if before else last)


def _recalled(draft: _Draft, here: Sequence[dict[str, Any]]) -> None:
    """What says nothing of the images: operations, histories and advice, and sentences that any report has."""
    free = [condition for condition in here if condition["finding"] not in draft.labels]
    operated = [condition for condition in free if lexicon()["kinds"][condition["kind"]]["operations"]]
    if operated and draft.happens("operated"):
        condition = draft.random.choice(operated)
        template = draft.random.choice(lexicon()["kinds"][condition["kind"]]["operations"])
        draft.sentences.insert(0, template.format(x=draft.name(condition)))
    if free and draft.happens("history"):
        draft.say("history", None, (), x=draft.name(draft.random.choice(free)))
    if draft.happens("filler"):
        draft.say("filler", None, ())


def note(labels: dict[str, State], finding: str, state: State) -> None:
    """Notes what is said of a class; of what is said of it already, the strongest counts."""
    if _STRENGTH[state] >= _STRENGTH[labels.get(finding, State.ABSENT)]:
        labels[finding] = state


def joined(sentences: Sequence[str], numbered: bool) -> str:
    """An impression of sentences, as a paragraph or numbered, one a line."""
    if numbered:
        return "\n".join(f"{number}. {sentence}" for number, sentence in enumerate(sentences, start=1))
    return " ".join(sentences)
