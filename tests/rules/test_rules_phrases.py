from itertools import chain

import pytest

from radtune.rules.notation import PhraseError
from radtune.rules.phrases import Hit, Scanner, read_phrases

LISTS = {"side": ["left", "right"], "base": ["base", "lung bases"]}


def hits(groups: list[tuple[str, list[str]]], text: str) -> list[Hit]:
    return list(Scanner(read_phrases("any", groups, LISTS)).scan(text))


def found(phrase: str, text: str) -> list[str]:
    return [text[hit.start : hit.end] for hit in hits([("any", [phrase])], text)]


@pytest.mark.parametrize(
    ("phrase", "text", "expected"),
    [
        ("pleural effusion", "a pleural effusion", ["pleural effusion"]),
        ("pleural effusion", "pleural-effusion, pleural   effusion", ["pleural-effusion", "pleural   effusion"]),
        ("pleural effusion", "pleural effusions", []),
        ("effusion", "hemoeffusion", []),
        ("effusion*", "effusions effusion", ["effusions", "effusion"]),
        ("(left|right) base", "left base and right base", ["left base", "right base"]),
        ("{side} {base}", "left base and right lung bases", ["left base", "right lung bases"]),
        ("(lung|pleural) fluid", "lung\u80ba fluid, lung fluid\u80ba, lung-fluid", ["lung-fluid"]),
        ("[large] effusion", "large effusion effusion", ["large effusion", "effusion"]),
        ("no [large] effusion", "no effusion no large effusion", ["no effusion", "no large effusion"]),
        ("effusion [present]", "effusion present", ["effusion present"]),
        ("heart [,] large", "heart, large heart large", ["heart, large", "heart large"]),
        ("heart [, lungs] large", "heart, lungs large", ["heart, lungs large"]),
        ("heart (,|and) lungs", "heart, lungs heart and lungs", ["heart, lungs", "heart and lungs"]),
        ("heart ... large", "heart is stable and is not large", ["heart is stable and is not large"]),
        ("heart ... enlarged", "heart size is mildly enlarged", ["heart size is mildly enlarged"]),
        ("heart ... enlarged", "heart enlarged", ["heart enlarged"]),
        ("heart ... enlarged", "heart: mildly enlarged", ["heart: mildly enlarged"]),
        ("mediastinum ... normal", "mediastinum: heart size normal", []),
        ("mediastinum ... normal", "mediastinum: this is normal", []),
        ("heart ... enlarged", "heart:enlarged, heart:not enlarged", ["heart:enlarged", "heart:not enlarged"]),
        ("heart ... enlarged", "heart size: enlarged", []),
        ("heart ... [mildly] large", "heart is large", ["heart is large"]),
        ("heart ... [mildly] large", "heart is mildly large", ["heart is mildly large"]),
        ("heart ... enlarged", "heart is normal and spleen is enlarged", []),
        ("heart ... enlarged", "heart is normal, enlarged", []),
        ("heart ... enlarged", "heart\nenlarged", []),
        ("heart ... enlarged", "heart one two three four five six seven enlarged", []),
        ("edema : none", "edema: none edema :none", ["edema: none", "edema :none"]),
        ("edema : no .", "edema: no\nedema: no acute", ["edema: no"]),
        ("tubes : !(none|no)", "tubes: none tubes: two", ["tubes:"]),
        ("~effusion", "efusion effuison effussion", ["efusion", "effuison", "effussion"]),
        ("~effusion", "infusion effusions fusion", []),
        ("s/p tavr", "s/p tavr", ["s/p tavr"]),
        ("?", "edema ?", ["?"]),
        ("\xb1 (.|,)", "edema \xb1, \xb1 nodule", ["\xb1,"]),
    ],
)  # fmt: skip
def test_notation(phrase: str, text: str, expected: list[str]) -> None:
    assert found(phrase, text) == expected


@pytest.mark.parametrize(
    "phrase",
    [
        "", "(left|right", "left)", "[a", "(a||b)", "()", "... enlarged", "heart ...", "heart ... [enlarged]",
        "Effusion", "a & b", "{nothing}",
        "~a*", "*a", "a !b", "!(a|b) c", "a !",
    ],
)  # fmt: skip
def test_broken_phrase_is_refused(phrase: str) -> None:
    with pytest.raises(PhraseError):
        list(read_phrases("any", [("any", [phrase])], LISTS))


def test_first_group_wins_then_longer_phrase() -> None:
    groups = [("exceptions", ["heart failure"]), ("mentions", ["heart", "heart failure is severe"])]
    assert [(hit.name, hit.phrase) for hit in hits(groups, "heart failure is severe")] == [
        ("exceptions", "heart failure")
    ]
    groups = [("mentions", ["heart", "heart size"])]
    assert [hit.phrase for hit in hits(groups, "heart size heart")] == ["heart size", "heart"]


def test_the_order_holds_between_words_that_are_spelled_differently() -> None:
    groups = [("exceptions", ["vessel* large", "vessels small"]), ("mentions", ["vessel*", "vessels"])]
    assert [hit.phrase for hit in hits(groups, "vessels small, vessels large, vessels")] == [
        "vessels small", "vessel* large", "vessel*",
    ]  # fmt: skip


def test_parts_are_found_beside_each_other() -> None:
    parts = {"one": "heart ... large", "two": "heart", "three": "heart is", "four": "is large"}
    scanner = Scanner(chain(*(read_phrases(part, [("any", [phrase])]) for part, phrase in parts.items())))
    assert {hit.part: (hit.start, hit.end, hit.head) for hit in scanner.scan("the heart is large")} == {
        "one": (4, 18, 13), "two": (4, 9, 4), "three": (4, 12, 4), "four": (10, 18, 10)
    }  # fmt: skip


def test_head_of_a_phrase_with_a_gap_stands_behind_it() -> None:
    (hit,) = hits([("mentions", ["heart ... (large|enlarged)"])], "the heart is not enlarged")
    assert (hit.start, hit.head, hit.end) == (4, 17, 25)


def test_no_phrases_find_nothing() -> None:
    assert hits([("mentions", [])], "heart") == []
