"""Many answers made into one."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radtune.combine import INTERSECTION, MAJORITY, RESPONSE, RULES, UNION, combine
from radtune.labels import Answer, Phrase, Status
from radtune.tasks import load_task
from radtune.tasks.phrase_list import locate

MC, OE = load_task("multiple_choice"), load_task("open_ended")
TEXT = "Small left pleural effusion. Patchy atelectasis at both bases. Heart is enlarged."


def placed(*labels: str, codes: tuple[str, ...] = ()) -> Answer:
    known = dict(zip(labels, codes, strict=False))
    return Answer(labels, phrases=tuple(Phrase(label, known.get(label), *locate(label, TEXT)) for label in labels))


def plain(*labels: str) -> Answer:
    return Answer(labels)


def unread(status: Status) -> Answer:
    return Answer((), status=status)


@pytest.mark.parametrize("answer", [placed, plain])
@pytest.mark.parametrize("rule", RULES)
def test_three_wordings_of_one_finding_are_one_label(answer, rule: str) -> None:
    answers = [answer(x) for x in ("Small left pleural effusion", "left pleural effusion", "pleural effusion")]
    combined = combine(OE, answers, rule)
    assert combined.answer.labels == ("pleural effusion",)
    assert combined.agreement == {"pleural effusion": 1.0}


def test_the_most_frequent_wording_and_code_stand_in_their_place() -> None:
    answers = [
        placed("left pleural effusion", codes=("J90",)),
        placed("Small left pleural effusion", codes=("J90",)),
        placed("left pleural effusion", codes=("J91.8",)),
    ]
    (phrase,) = combine(OE, answers, MAJORITY).answer.phrases
    assert (phrase.phrase, phrase.icd10) == ("left pleural effusion", "J90")
    assert TEXT[phrase.start : phrase.end] == "left pleural effusion"


def test_phrases_stand_in_the_reports_order_and_classes_in_theirs() -> None:
    both = [placed("heart is enlarged", "patchy atelectasis"), placed("patchy atelectasis", "heart is enlarged")]
    assert combine(OE, both, MAJORITY).answer.labels == ("patchy atelectasis", "heart is enlarged")
    answers = [plain("mass", "Fracture", "Edema"), plain("Fracture"), plain("Edema", "Mass")]
    combined = combine(MC, answers, MAJORITY)
    assert combined.answer.labels == ("Edema", "Fracture", "Mass")
    assert combined.agreement == {"Edema": 2 / 3, "Fracture": 2 / 3, "Mass": 2 / 3}
    assert combine(MC, answers, INTERSECTION).answer.labels == ()
    assert combine(MC, answers, UNION).answer.labels == ("Edema", "Fracture", "Mass")


def test_a_word_in_common_is_not_the_same_place() -> None:
    assert combine(OE, [placed("effusion"), placed("Small left pleural effusion")], MAJORITY).answer.labels == ()


def test_left_and_right_are_two_findings_however_alike_their_words() -> None:
    answers = [plain("left pleural effusion"), plain("right pleural effusion"), plain()]
    assert combine(OE, answers, MAJORITY).answer.labels == ()
    assert set(combine(OE, answers, UNION).answer.labels) == {"left pleural effusion", "right pleural effusion"}


def test_two_phrases_of_one_answer_are_one_vote_but_two_things() -> None:
    answers = [placed("left pleural effusion", "pleural effusion"), placed("heart is enlarged"), placed()]
    assert combine(OE, answers, MAJORITY).answer.labels == ()
    # By the paper's rule these two match each other; who names both means both.
    twice = [plain("small left effusion", "small left nodule")] * 2
    assert set(combine(OE, twice, MAJORITY).answer.labels) == {"small left effusion", "small left nodule"}


@pytest.mark.parametrize(
    ("statuses", "rule", "expected"),
    [
        (("ok", "ok", "refused"), MAJORITY, "ok"),
        (("ok", "truncated", "refused", "truncated"), MAJORITY, "truncated"),
        (("ok", "refused"), MAJORITY, "refused"),
        (("ok", "refused", "refused"), UNION, "ok"),
        (("failed", "failed", "refused"), UNION, "failed"),
        (("ok", "ok", "unparsed"), INTERSECTION, "unparsed"),
        (("refused", "ok", "refused"), RESPONSE, "ok"),
        (("failed", "refused", "refused"), RESPONSE, "refused"),
    ],
)
def test_enough_answers_must_be_readable(statuses: tuple[str, ...], rule: str, expected: str) -> None:
    answers = [Answer(("Edema",) if status == "ok" else (), "7", status=Status(status)) for status in statuses]
    combined = combine(MC, answers, rule)
    assert (combined.answer.status, combined.answer.report_id) == (expected, "7")
    if expected == "ok":
        assert combined.agreement == {"Edema": statuses.count("ok") / len(statuses)}
    else:
        assert (combined.answer.labels, combined.agreement) == ((), {})


def test_the_most_common_whole_answer_is_kept_as_it_is_and_of_several_the_earliest() -> None:
    answers = [plain("Edema"), plain("Fracture", "Edema"), plain("Pneumonia"), plain("edema", "fracture")]
    combined = combine(MC, answers, RESPONSE)
    assert (combined.answer.labels, combined.whole) == (("Fracture", "Edema"), 1 / 2)
    assert combined.agreement == {"Edema": 3 / 4, "Fracture": 1 / 2}
    assert combine(MC, answers[:3], RESPONSE).answer.labels == ("Edema",)
    # By label no report has what most say of each: here as nobody said it.
    by_label = combine(MC, [plain("Edema", "Fracture"), plain("Edema", "Mass"), plain("Fracture", "Mass")], MAJORITY)
    assert (set(by_label.answer.labels), by_label.whole) == ({"Edema", "Fracture", "Mass"}, 0)
    assert combine(MC, [plain("Edema"), plain(), plain("No Finding"), unread(Status.REFUSED)], RESPONSE).whole == 1 / 2
    phrases = [placed("Heart is  enlarged"), placed("patchy atelectasis"), placed("heart is enlarged")]
    found = combine(OE, phrases, RESPONSE)
    assert (found.answer.phrases[0].start, found.whole) == (TEXT.index("Heart"), 2 / 3)


@pytest.mark.parametrize(
    ("rule", "labels"), [(UNION, "Edema"), (MAJORITY, "doubt"), (INTERSECTION, None), (1, "Edema")]
)
@pytest.mark.parametrize("task", [MC, MC.three_valued()])
def test_of_a_class_that_some_find_and_others_doubt_there_is_one_label(
    task, rule: str | int, labels: str | None
) -> None:
    doubt = "Edema (uncertain)"
    answers = [plain("Edema", "Fracture"), plain(doubt, "Fracture"), plain("Fracture")]
    one = {"doubt": [doubt], None: []}.get(labels, [labels])
    assert {*combine(task, answers, rule).answer.labels} == {*one, "Fracture"}
    assert combine(task, answers[:2], INTERSECTION).agreement == {doubt: 1.0, "Fracture": 1.0}


def test_synonyms_are_one_label() -> None:
    msk = load_task("differential")
    answers = [plain("subcapital fracture"), plain("Femoral neck fracture", "Gout"), plain("Gout")]
    assert combine(msk, answers, MAJORITY).agreement.popitem()[1] == 2 / 3
    assert combine(msk, [*answers, plain("femoral-neck fracture")], RESPONSE).whole == 1 / 2


def test_who_said_it_and_of_whom() -> None:
    answers = [Answer(("Edema",), "7", "A", patient_id=None), Answer(("Edema",), "7", "B", patient_id="p")]
    combined = combine(MC, answers, UNION).answer
    assert (combined.report_id, combined.by, combined.patient_id) == ("7", "union", "p")


WORDS = ("small", "left", "pleural", "effusion", "Effusion", "patchy", "atelectasis", "heart")
PHRASES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
PLACED = st.lists(PHRASES, max_size=4, unique_by=str.casefold).flatmap(
    lambda labels: st.sampled_from([placed(*labels), plain(*labels)])
)
CLASSES = st.lists(st.sampled_from(MC.classes), max_size=5, unique=True).map(lambda names: plain(*names))
SOME = st.one_of(
    st.tuples(st.just(OE), st.lists(PLACED | st.just(unread(Status.REFUSED)), min_size=1, max_size=5)),
    st.tuples(st.just(MC), st.lists(CLASSES | st.just(unread(Status.FAILED)), min_size=1, max_size=5)),
)


@given(SOME, st.sampled_from(RULES), st.randoms(use_true_random=False))
def test_the_order_of_answers_decides_nothing(some: tuple, rule: str, chance: random.Random) -> None:
    task, answers = some
    shuffled = chance.sample(answers, len(answers))
    first, second = combine(task, answers, rule), combine(task, shuffled, rule)
    assert (first.agreement, first.whole) == (second.agreement, second.whole)
    assert first.answer.status == second.answer.status


@given(SOME, st.sampled_from([*RULES, RESPONSE]), st.integers(1, 4))
def test_equal_answers_come_to_that_answer(some: tuple, rule: str, times: int) -> None:
    task, (answer, *_) = some
    combined = combine(task, [answer] * times, rule)
    assert set(combined.answer.labels) == set(answer.labels)
    assert combined.whole == (answer.status == Status.OK)
    assert (combined.answer.status, set(combined.agreement.values()) <= {1.0}) == (answer.status, True)


@given(SOME)
def test_rules_keep_ever_more(some: tuple) -> None:
    task, answers = some
    kept = [set(combine(task, answers, rule).answer.labels) for rule in (INTERSECTION, MAJORITY, UNION)]
    assert kept[0] <= kept[1] <= kept[2] or len(answers) == 1
