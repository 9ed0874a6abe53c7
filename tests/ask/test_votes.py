"""Several answers made into one."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radtune.ask.teacher_answers import Reading
from radtune.ask.teacher_votes import count_votes
from radtune.labels import Status
from radtune.tasks.open_ended import Phrase, locate

TEXT = "Small left pleural effusion. Patchy atelectasis at both bases. Heart is enlarged."


def reading(*labels, codes=()):
    codes = dict(zip(labels, codes, strict=False))
    phrases = tuple(Phrase(label, codes.get(label), *locate(label, TEXT)) for label in labels)
    return Reading(Status.OK, labels, phrases)


def test_phrases_of_more_than_half_are_kept_in_the_reports_order():
    verdict = count_votes(
        [reading("heart is enlarged", "patchy atelectasis"), reading("patchy atelectasis"), reading("bases")]
    )
    assert verdict.labels == ("patchy atelectasis",)
    assert verdict.agreement == {"patchy atelectasis": 2 / 3}
    both = [reading("heart is enlarged", "patchy atelectasis"), reading("patchy atelectasis", "heart is enlarged")]
    assert count_votes(both).labels == ("patchy atelectasis", "heart is enlarged")


def test_wordings_of_one_place_vote_together_and_the_most_frequent_stands():
    verdict = count_votes(
        [
            reading("left pleural effusion", codes=["J90"]),
            reading("Small left pleural effusion", codes=["J90"]),
            reading("left pleural effusion", codes=["J91.8"]),
        ]
    )
    (phrase,) = verdict.phrases
    assert (phrase.phrase, phrase.icd10) == ("left pleural effusion", "J90")
    assert TEXT[phrase.start : phrase.end] == "left pleural effusion"
    assert verdict.agreement == {"left pleural effusion": 1.0}


def test_a_word_in_common_is_not_the_same_place():
    verdict = count_votes([reading("effusion"), reading("Small left pleural effusion")])
    assert verdict.labels == ()


def test_two_phrases_of_one_answer_are_one_vote():
    verdict = count_votes(
        [reading("left pleural effusion", "pleural effusion"), reading("heart is enlarged"), reading()]
    )
    assert verdict.labels == ()


def test_half_is_not_most():
    assert count_votes([reading("bases"), reading()]).labels == ()


def test_answers_that_cannot_be_read_count_as_votes_for_nothing():
    bad = Reading(Status.UNPARSED)
    verdict = count_votes([reading("bases"), reading("bases"), bad])
    assert (verdict.status, verdict.labels, verdict.agreement) == (Status.OK, ("bases",), {"bases": 2 / 3})
    verdict = count_votes([reading("bases"), bad, Reading(Status.TRUNCATED), bad])
    assert (verdict.status, verdict.labels) == (Status.UNPARSED, ())


def test_classes_are_counted_by_name():
    votes = [Reading(Status.OK, ("Edema", "Fracture")), Reading(Status.OK, ("Edema",)), Reading(Status.OK, ())]
    verdict = count_votes(votes)
    assert (verdict.labels, verdict.phrases, verdict.agreement) == (("Edema",), (), {"Edema": 2 / 3})


def test_one_answer_stays_as_it_is():
    only = reading("patchy atelectasis", "left pleural effusion", codes=["J98.11"])
    verdict = count_votes([only])
    assert (verdict.labels, verdict.phrases, verdict.agreement) == (only.labels, only.phrases, {})


words = st.sampled_from(["left", "pleural effusion", "small left", "atelectasis", "heart is", "enlarged", "unheard of"])


@given(st.lists(st.lists(words, max_size=4, unique=True), min_size=2, max_size=5), st.randoms())
def test_the_order_of_votes_decides_nothing_and_no_share_is_too_small(answers, chance):
    votes = [reading(*answer) for answer in answers]
    verdict = count_votes(votes)
    assert all(0.5 < share <= 1 for share in verdict.agreement.values())
    assert set(verdict.agreement) == set(verdict.labels) == {phrase.phrase for phrase in verdict.phrases}
    shuffled = list(votes)
    chance.shuffle(shuffled)
    again = count_votes(shuffled)
    assert sorted(again.labels) == sorted(verdict.labels)
    assert again.agreement == verdict.agreement


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_unanimous_verdict_is_the_answer(count):
    one = reading("left pleural effusion", "patchy atelectasis")
    verdict = count_votes([dataclasses.replace(one)] * count)
    assert verdict.labels == one.labels
