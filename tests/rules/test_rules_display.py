import re

from chest import RULES
from hypothesis import given, settings
from hypothesis import strategies as st

from radtune.rules import label_report
from radtune.rules.display import evidence_text


def shown(text: str, colours: bool) -> list[str]:
    return evidence_text(text, label_report(text, RULES), colours).splitlines()


def test_marks_stand_below_their_words() -> None:
    lines = shown("No edema. Effusion is possible. Small pneumothorax. History of pneumonia.", colours=False)
    at = lines.index("No edema. Effusion is possible. Small pneumothorax. History of pneumonia.")
    assert lines[at + 1] == "^^ -----  ???????? ^^^^^^^^^^^        ++++++++++++  ^^^^^^^^^^ ........."


def test_colours_on_a_terminal() -> None:
    lines = shown("No edema.", colours=True)
    assert "\x1b[4mNo\x1b[m \x1b[32medema\x1b[m." in lines


def test_long_lines_are_cut_and_stay_marked() -> None:
    lines = shown("The lungs are clear. " * 30 + "Small effusion.", colours=False)
    at = next(number for number, line in enumerate(lines) if line.endswith("Small effusion."))
    assert max(map(len, lines[: at + 2])) <= 100
    assert lines[at + 1].endswith("++++++++")
    assert lines[at + 1].rindex("+") == lines[at].rindex("n")


@settings(max_examples=150, deadline=None)
@given(st.text() | st.lists(st.sampled_from(["No", "effusion", "\x1b[2J", "\n", "edema", "x" * 130])).map(" ".join))
def test_a_report_cannot_steer_the_terminal(text: str) -> None:
    plain = evidence_text(text, label_report(text, RULES), colours=False)
    assert all(c.isprintable() or c == "\n" for c in plain)
    coloured = evidence_text(text, label_report(text, RULES), colours=True)
    assert all(c.isprintable() or c == "\n" for c in re.sub(r"\x1b\[(?:|2|4|32|33|1;31)m", "", coloured))
