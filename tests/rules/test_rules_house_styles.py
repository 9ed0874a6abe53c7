import sys
from pathlib import Path

import pytest
from chest import CHEST

from radtune.report import report_from_text
from radtune.rules import label_if_meant, label_report, load_rules
from radtune.rules.reading import reading_copy

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import check_rules  # noqa: E402

FILE = Path(__file__).with_name("probes") / "house_styles.tsv"


def test_probes() -> None:
    wrong = {}
    for probe in check_rules.read_probes(FILE, CHEST):
        found = label_if_meant(report_from_text(probe.id, None, probe.text, "probe"), CHEST).labels
        differing = {name: found.get(name) for name, value in probe.expected.items() if found.get(name) != value}
        wrong |= {probe.id: differing} if differing else {}
    assert not wrong


def test_misses_are_shown_with_the_rule_that_fired(run_here, succeeds, tmp_path: Path) -> None:
    probes = tmp_path / "own.tsv"
    probes.write_text(
        "No effusion.\\nEdema\tPleural Effusion=0 Edema=1 # one kind-a; held\n"
        "No edema.\tEdema=1 Pneumonia=0? # two kind b\n\n# a remark\n",
        encoding="utf-8",
    )
    done = succeeds(ROOT / "scripts" / "check_rules.py", probes)
    assert done.stdout.splitlines() == [
        "two [kind b] 'No edema.'",
        "    Edema: 0, expected 1",
        "        'edema' Edema negative: rule absent_before 'No', phrase '[pulmonary] (~edema|edemas|~oedema|oedema*)'",
        "kind b      0 of     1  0.000",
        "kind-a      2 of     2  1.000",
        "all         2 of     3  0.667",
    ]
    (tmp_path / "lexicon.toml").write_text('[Edema]\nmentions = ["edema", "no edema"]\n', encoding="utf-8")
    done = run_here(ROOT / "scripts" / "check_rules.py", tmp_path, f"rules={tmp_path}", "misses=false")
    assert done.stdout.splitlines()[-1].split() == ["all", "2", "of", "3", "0.667"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # a list without periods
        ("no ptx\nsmall effusion\nheart large", ["no ptx", "small effusion", "heart large"]),
        ("NO PNEUMOTHORAX OR\nEFFUSION", ["no pneumothorax or effusion"]),
        # prose: a line with room left for the next word was ended on purpose
        ("No effusion\nthe heart is enlarged and the lungs are clear.", [
            "no effusion", "the heart is enlarged and the lungs are clear"]),
        ("No evidence of any\npneumothorax in this film.", ["no evidence of any pneumothorax in this film"]),
        ("1.No edema\n2.Effusion", ["1", "no edema", "2", "effusion"]),
        ("No edema.2.Effusion", ["no edema", "2", "effusion"]),
        ("No edema (2) effusion b) nodule", ["no edema", "effusion", "b  nodule"]),
        ("Nodule (2 cm) at the base", ["nodule  2 cm  at the base"]),
        ("Edema: no, effusion: small", ["edema: no", "effusion: small"]),
        ("Small effusion, edema: no", ["small effusion", "edema: no"]),
        ("Effusion, edema: no", ["effusion, edema: no"]),
        ("Edema: no effusion: yes", ["edema: no", "effusion: yes"]),
        ("No edema   Effusion", ["no edema", "effusion"]),
        ("No  edema  or   effusion", ["no  edema  or", "effusion"]),
        ("No   edema   or   effusion", ["no   edema   or   effusion"]),
        ("|Edema|None||Effusion|Small|", ["edema:none", "effusion:small"]),
        ("PNEUMOTHORAX\nNone.", ["pneumothorax:none"]),
        ("Heart - enlarged", ["heart : enlarged"]),
        ("Effusion (-)", ["effusion :no"]),
        ("[ ] effusion [x] edema", ["no effusion", "edema"]),
        ("[**Name 3**] edema", ["xxxx         edema"]),
        # signs and letters behind a finding
        ("Edema -, effusion +", ["edema:n", "effusion +"]),
        ("Edema -\nEffusion +", ["edema:n", "effusion +"]),
        ("Edema +/-, nodule \xb1", ["edema \xb1", "nodule \xb1"]),
        ("Edema +, base. Effusion, nodule -", ["edema +", "base", "effusion", "nodule:n"]),
        ("Edema Y / Effusion N, CTR 0,5", ["edema y", "effusion:n", "ctr 0,5"]),
        ("Edema -ve, effusion +ve, mass [-], CHF", ["edema :no", "effusion", "mass:n", ", chf"]),
        ("Edema \u2717 Effusion \u2713", ["edema:n", "effusion"]),
        ("CTR 15/29, size ?large ?fluid 1/2", ["ctr 52   , size ?large", "?fluid 1/2"]),
        # the side that has it
        ("Effusion R: none, L: small", ["effusion:         l  small"]),
        ("Effusion:\n- Right: small\n- Left: no", ["effusion:   right  small"]),
        ("Effusion R: no, L: no", ["effusion:       l  no"]),
        ("Effusion R: small, L: trace", ["effusion r: small, l: trace"]),
        ("Nodule RUL: no, RLL: 5 mm, LLL: no", ["nodule:         rll  5 mm"]),
        ("Mass R - L -. Nodule R + L -", ["mass:    l:n", "nodule:r +"]),
        # lists below what they are denied by
        ("No:\n- Edema.\n2. rib fracture\nHeart is large", ["no:>  edema >   rib fracture", "heart is large"]),
        ("The following are absent: edema", ["no:                       edema"]),
        ("Not seen:\nedema", ["no:      >edema"]),
        ("Seen:\nedema\neffusion", ["seen: edema", "effusion"]),
        # a name above its answer, options to tick
        ("CP angles\nNot blunted", ["cp angles:not blunted"]),
        ("CP angles\nSharp", ["cp angles:sharp"]),
        ("No edema\nNormal", ["no edema", "normal"]),
        ("Edema [ ] none [x] mild [ ] severe", ["edema:             mild"]),
        ("Edema: yes [ ] no [x]", ["edema:         no"]),
    ],
)  # fmt: skip
def test_statements_of_other_layouts(text: str, expected: list[str]) -> None:
    copy = reading_copy(text)
    assert len(copy) == len(text)
    assert [part.strip() for part in copy.split("\n") if part.strip()] == expected


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lexicon.toml").write_text(
        '[A]\nmentions = ["aa", "lung aa"]\n[B]\nmentions = ["bb"]\ncues_end_at = ["next"]\n', encoding="utf-8"
    )
    (tmp_path / "cues.toml").write_text(
        '[stops.next]\nbehind_mention = true\nphrases = ["b*"]\n[stops.lung]\nphrases = ["lung"]\n'
        '[[cue]]\nname = "no"\nstatus = "negative"\ndirection = "before"\nwords = 9\ndenies = ["lung"]\n'
        'phrases = ["no"]\n'
        '[[cue]]\nname = "free"\nstatus = "negative"\ndirection = "before"\nwords = 9\nphrases = ["free of"]\n'
        'denied = { no = "perhaps" }\n'
        '[[cue]]\nname = "perhaps"\nstatus = "uncertain"\ndirection = "before"\nwords = 9\nphrases = ["perhaps"]\n'
        '[[cue]]\nname = "or"\nstatus = "uncertain"\ndirection = "around"\nwords = 2\nbetween = true\nchoice = true\n'
        'phrases = ["or"]\n'
        '[[cue]]\nname = "liver"\nstatus = "ignored"\ndirection = "around"\nwords = 3\nspares = ["lung"]\n'
        'phrases = ["liver"]\n'
        '[[cue]]\nname = "after all"\nstatus = "positive"\ndirection = "after"\nwords = 3\nphrases = ["proven"]\n'
        '[[cue]]\nname = "once"\nstatus = "ignored"\ndirection = "before"\nwords = 3\nphrases = ["once"]\n'
        '[opening]\nasks = ["please"]\ntells = ["cough"]\nreads = ["seen"]\n'
        '[answers]\nno = ["none"]\ngone = ["it went"]\nyes = ["it came"]\nopen = ["it might"]\n'
        'removable = ["B"]\nremoved = ["it left"]\nstill = ["it stays"]\n'
        'there = ["somewhere"]\n'
        'exceptions = ["none but"]\n'
        '[time]\npast = ["then"]\nnow = ["still"]\n',
        encoding="utf-8",
    )
    return tmp_path


@pytest.mark.parametrize(
    ("text", "positive_or", "expected"),
    [
        ("no aa and bb", False, {"A": 0, "B": 0}),
        ("no aa bb", False, {"A": 0, "B": 1}),
        ("free of aa", False, {"A": 0}),
        ("no side is free of aa", False, {"A": -1}),
        ("no lung is free of aa", False, {"A": 0}),
        ("no bb, free of aa", False, {"A": 0, "B": 0}),
        ("aa or bb", False, {"A": -1, "B": -1}),
        ("aa or bb", True, {"A": 1, "B": 1}),
        ("aa or aa", False, {"A": 1}),
        ("aa or none", False, {"A": 1}),
        ("liver aa", False, {}),
        ("liver and lung aa", False, {"A": 1}),
        ("once aa was proven. no bb proven", False, {"A": 1, "B": 0}),
        ("cough, please find aa. bb is seen", False, {"B": 1}),
        ("cough. aa is seen, please. bb", False, {"A": 1, "B": 1}),
        ("please find aa. cough", False, {"A": 1}),
        ("once aa. none", False, {"A": 0}),
        ("once aa. none but two", False, {}),
        ("aa. none. bb. it went", False, {"A": 1, "B": 0}),
        ("once aa. it came. once bb. it might", False, {"A": 1, "B": -1}),
        ("aa and bb. it left", False, {"A": 1, "B": 0}),
        ("aa or bb. it stays", False, {"A": -1, "B": -1}),
        ("once aa. it stays. bb", False, {"A": 1, "B": 1}),
        ("aa or bb? it stays", False, {"A": 1, "B": 1}),
        ("perhaps aa? somewhere", False, {"A": 1}),
        ("perhaps aa. somewhere", False, {"A": -1}),
        ("perhaps aa? somewhere bb", False, {"A": -1, "B": 1}),
        ("1. aa or bb. 2. none", False, {"A": -1, "B": -1}),
        ("then aa or bb. no aa", False, {"A": 0, "B": -1}),
        ("then aa, which still stands. no aa", False, {"A": 1}),
        ("no aa. then aa", False, {"A": 1}),
    ],
)
def test_keys_of_cues_and_stops(folder: Path, text: str, positive_or: bool, expected: dict[str, int]) -> None:
    rules = load_rules(folder, ["A", "B"], alternatives="positive" if positive_or else "uncertain")
    found = label_report(text, rules).labels
    assert {name: found[name] for name in "AB" if name in found} == expected
