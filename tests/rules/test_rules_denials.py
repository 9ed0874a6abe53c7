"""Negations of negations, spelled out by a grammar: what cannot be excluded, has not gone, is not free of."""

from itertools import product

import pytest
from chest import labels

# With an article, as known, and bare.
FINDINGS = {
    "Pneumonia": ("early pneumonia", "the pneumonia", "pneumonia"),
    "Pleural Effusion": ("a small left effusion", "the left effusion", "effusion"),
    "Fracture": ("an undisplaced rib fracture", "the rib fracture", "rib fracture"),
}
UNABLE = (
    "cannot", "I can't", "one cannot, on this view,", "we are unable to", "I am not able to",
    "it is not yet possible to",
    "it remains difficult to", "we have not been able to", "one would hesitate to", "no single view can",
    "neither view can", "this film does not", "a single view will hardly", "the film is not good enough to",
    "the patient is too rotated to", "there is not enough detail here to", "nobody could", "this fails to",
)  # fmt: skip
EXCLUDE = ("exclude", "rule out", "confidently dismiss")
NOT = (
    "cannot be", "can hardly be", "could not yet be", "has never been", "has not, so far, been", "has yet to be",
    "is still not", "isn't", "is by no means", "cannot on this view be", "should not be",
    "can neither be confirmed nor",
)  # fmt: skip
EXCLUDED = ("excluded", "ruled out", "completely excluded on this view")
OPEN = (
    "{a} is hard to exclude", "{a} is not excludable", "{a} remains unexcluded", "{a} is not out of the question",
    "the possibility of {a} has not been ruled out", "exclusion of {a} is not possible", "nothing argues against {a}",
    "there is no evidence against {a}", "I cannot say that there is no {n}", "this does not mean that there is no {n}",
    "absence of {n} cannot be guaranteed", "we cannot confirm the absence of {a}", "{a} cannot be assumed to be absent",
    "no {n} is seen, but one cannot be excluded", "although no {n} is seen, a small one cannot be excluded",
    "{a} is unlikely but not excluded", "{a} cannot be seen, nor can it be excluded", "no {n} can be excluded",
    "{a}, though not seen, is not ruled out", "it cannot be excluded that there is {a}", "{a} is not unlikely",
)  # fmt: skip
CHANGE = ("resolved", "gone", "cleared", "improved", "increased", "changed")
THERE = (
    "{the} has not {change}", "{the} has never {change}", "{the} has by no means {change}", "neither {n} has {change}",
    "nothing suggests that {the} has {change}", "I do not think that {the} has {change}",
    "not all of {the} has {change}", "no {n} has {change}",
    "no resolution of {the}", "without any clearing of {the}", "there is nothing to suggest resolution of {the}",
    "resolution of {the} is not yet complete", "failure of {the} to resolve", "{the} is far from resolved",
    "the chest is not free of {n}", "no side is free of {n}", "the left side is never without {n}",
    "hardly a film is free of {n}", "not devoid of {n}", "there is no doubt about {the}", "without doubt {a}",
    "there is no denying {the}", "{the} cannot be overlooked", "{the} is no worse", "not only {a}", "not just {a}",
    "no film was spared by {the}",
)  # fmt: skip
ABSENT = (
    "{a} is excluded", "{a} can be excluded", "CT has excluded {a}", "the lateral view rules out {a}",
    "{a} is unlikely",
    "{a} has been ruled out", "I cannot see {a}", "{a} is lacking", "nowhere is there {a}", "{a} is no longer there",
    "{the} has completely resolved", "neither {n} nor scoliosis is seen", "there is nothing to suggest {a}",
)  # fmt: skip
FRAMES = {
    -1: (
        *(" ".join(words) for words in product(UNABLE, EXCLUDE, ["{a}"])),
        *(" ".join(words) for words in product(["{a}"], NOT, EXCLUDED)),
        *OPEN,
    ),
    1: [
        frame.replace("{change}", change)
        for frame in THERE
        for change in CHANGE
        if "{change}" in frame or change == "gone"
    ],
    0: ABSENT,
}


@pytest.mark.parametrize("value", FRAMES)
@pytest.mark.parametrize("finding", FINDINGS)
def test_denied(finding: str, value: int) -> None:
    a, the, bare = FINDINGS[finding]
    sentences = [frame.format(a=a, the=the, n=bare) for frame in FRAMES[value]]
    sentences = [f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences]
    assert {text: found for text in sentences if (found := labels(text).get(finding)) != value} == {}
