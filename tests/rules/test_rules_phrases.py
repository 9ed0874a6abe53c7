import pytest

from radtune.rules.notation import PhraseError
from radtune.rules.phrases import Scanner

LISTS = {"side": ["left", "right"], "base": ["base", "lung bases"]}


def found(phrase: str, text: str) -> list[str]:
    return [text[hit.start : hit.end] for hit in Scanner([("any", [phrase])], LISTS).scan(text)]


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
        ("[large] effusion", "large effusion effusion", ["large effusion", "effusion"]),
        ("no [large] effusion", "no effusion no large effusion", ["no effusion", "no large effusion"]),
        ("effusion [present]", "effusion present", ["effusion present"]),
        ("heart [,] large", "heart, large heart large", ["heart, large", "heart large"]),
        ("heart [, lungs] large", "heart, lungs large", ["heart, lungs large"]),
        ("heart (,|and) lungs", "heart, lungs heart and lungs", ["heart, lungs", "heart and lungs"]),
        ("heart ... large", "heart is stable and is not large", ["heart is stable and is not large"]),
        ("heart ... enlarged", "heart size is mildly enlarged", ["heart size is mildly enlarged"]),
        ("heart ... enlarged", "heart enlarged", ["heart enlarged"]),
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
        Scanner([("any", [phrase])], LISTS)


def test_first_group_wins_then_longer_phrase() -> None:
    scanner = Scanner([("exceptions", ["heart failure"]), ("mentions", ["heart", "heart failure is severe"])])
    assert [(hit.name, hit.phrase) for hit in scanner.scan("heart failure is severe")] == [
        ("exceptions", "heart failure")
    ]
    scanner = Scanner([("mentions", ["heart", "heart size"])])
    assert [hit.phrase for hit in scanner.scan("heart size heart")] == ["heart size", "heart"]


def test_head_of_a_phrase_with_a_gap_stands_behind_it() -> None:
    (hit,) = Scanner([("mentions", ["heart ... (large|enlarged)"])]).scan("the heart is not enlarged")
    assert (hit.start, hit.head, hit.end) == (4, 17, 25)


def test_no_phrases_find_nothing() -> None:
    assert list(Scanner([("mentions", [])]).scan("heart")) == []
