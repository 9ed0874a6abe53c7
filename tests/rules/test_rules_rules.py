from pathlib import Path

import pytest

from radtune.config import InputError
from radtune.findings import FINDINGS
from radtune.rules import label_report, load_rules
from radtune.rules.rules import CUES_FILE, LEXICON_FILE


def edited(tmp_path: Path, source: Path, old: str, new: str) -> Path:
    text = source.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / source.name
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def test_a_phrase_added_to_the_lexicon_counts(tmp_path: Path) -> None:
    text = "Wombat sign at the left base."
    assert "Pneumonia" not in label_report(text).labels
    lexicon = edited(tmp_path, LEXICON_FILE, "[Pneumonia]\nmentions = [", '[Pneumonia]\nmentions = ["wombat sign", ')
    assert label_report(text, load_rules(lexicon=lexicon)).labels["Pneumonia"] == 1


def test_a_cue_added_to_the_cues_counts(tmp_path: Path) -> None:
    cues = edited(tmp_path, CUES_FILE, '"no", "none",', '"nary a", "no", "none",')
    rules = load_rules(cues=cues)
    assert label_report("Nary a pneumothorax.", rules).labels["Pneumothorax"] == 0
    assert {rule.finding for rule in rules.findings} >= set(FINDINGS)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[Pneumonia]", "[Pneumonias]", "unknown class 'Pneumonias'; did you mean 'Pneumonia'?"),
        ("[Pneumonia]\nmentions", "[Pneumonia]\nmention", "[Pneumonia]: unknown key 'mention'"),
        ("[Pneumonia]\nmentions = [", "[Pneumonia]\nmentions = [1, ", "[Pneumonia]: mentions is no list of strings"),
        ("[Pneumonia]\nmentions = [", '[Pneumonia]\nmentions = ["(a", ', "[Pneumonia]: '(a': missing ')'"),
        ("[Pneumonia]\nmentions = [", '[Pneumonia]\nmentions = ["{x}", ', "no word list 'x'"),
        ('cues_end_at = ["new_item"]', 'cues_end_at = ["coma"]', "unknown stop 'coma'"),
        ("[Pneumonia]\n", "[Pneumonia\n", "not valid TOML"),
    ],
)
def test_broken_lexicon_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = edited(tmp_path, LEXICON_FILE, old, new)
    with pytest.raises(InputError) as error:
        load_rules(lexicon=path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "history"\nstatus = "ignored"', 'name = "history"\nstatus = "maybe"', "status is 'maybe'"),
        ('direction = "around"', 'direction = "about"', "direction is 'about'"),
        ('name = "history"', 'name = "suggests"', "'suggests' stands twice"),
        ("words = 30", 'words = "30"', "words is '30'"),
        ('only = ["Support Devices"]', 'only = ["Devices"]', "unknown class 'Devices'"),
        ('ends_at = ["contrast", "verb"]', 'ends_at = ["contrasts"]', "unknown stop 'contrasts'"),
        ("yields = true", "yield = true", "unknown key 'yield'"),
        ("yields = true", "yields = 1", "yields is 1"),
        ("[stops.verb]\n", "[stops.verb]\nphrase = []\n", "unknown key 'phrase'"),
    ],
)
def test_broken_cues_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = edited(tmp_path, CUES_FILE, old, new)
    with pytest.raises(InputError) as error:
        load_rules(cues=path)
    assert message in str(error.value)


def test_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: No such file"):
        load_rules(lexicon=tmp_path / "none.toml")


def test_a_class_without_a_part_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.toml"
    path.write_text('[Pneumonia]\nmentions = ["pneumonia"]\n', encoding="utf-8")
    with pytest.raises(InputError, match="no part for 'Atelectasis'"):
        load_rules(lexicon=path)
