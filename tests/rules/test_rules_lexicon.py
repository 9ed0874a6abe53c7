import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from chest import CHEST, labels
from hypothesis import given
from hypothesis import strategies as st

from radtune.config import InputError
from radtune.labels import State
from radtune.rules import label_report, load_rules
from radtune.rules.lexicon import CUES, LEXICON
from radtune.sources.synthetic import generate

PRESENT, ABSENT, UNCERTAIN = State.PRESENT, State.ABSENT, State.UNCERTAIN


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert CHEST.rules is not None
    return Path(shutil.copytree(CHEST.rules, tmp_path / "chest"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_phrase_added_to_the_lexicon_counts(folder: Path) -> None:
    text = "Wombat sign at the left base."
    assert "Pneumonia" not in labels(text)
    edit(folder / LEXICON, "[Pneumonia]\nmentions = [", '[Pneumonia]\nmentions = ["wombat sign", ')
    assert label_report(text, load_rules(folder, CHEST.classes)).labels["Pneumonia"] == PRESENT


def test_a_cue_added_to_the_cues_counts(folder: Path) -> None:
    edit(folder / CUES, '"nothing",', '"nary a", "nothing",')
    rules = load_rules(folder, CHEST.classes)
    assert label_report("Nary a pneumothorax.", rules).labels["Pneumothorax"] == ABSENT


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (LEXICON, "[Pneumonia]", "[Pneumonias]", "unknown class 'Pneumonias'; did you mean 'Pneumonia'?"),
        (LEXICON, '["Pleural Effusion"]', '["Pleural effusion"]', "did you mean 'Pleural Effusion'?"),
        (LEXICON, "[Pneumonia]\nmentions", "[Pneumonia]\nmention", "[Pneumonia]: unknown key 'mention'"),
        (LEXICON, "[Pneumonia]\nmentions = [", "[Pneumonia]\nmentions = [{}, ", "[Pneumonia]: "),
        (LEXICON, "[Pneumonia]\nmentions = [", '[Pneumonia]\nmentions = ["(a", ', "[Pneumonia]: '(a': missing ')'"),
        (LEXICON, 'cues_end_at = ["new_item"', 'cues_end_at = ["coma"', "unknown stop 'coma'"),
        (LEXICON, "[Pneumonia]\n", "[Pneumonia\n", "not valid TOML"),
        (CUES, 'name = "history"\nstatus = "ignored"', 'name = "history"\nstatus = "maybe"', "status"),
        (CUES, 'direction = "around"', "", "direction is missing"),
        (CUES, 'name = "history"', 'name = "suggests"', "'suggests' stands twice"),
        (CUES, 'only = ["Support Devices"]', 'only = ["Devices"]', "unknown class 'Devices'"),
        (CUES, "yields = true", "yield = true", "yield"),
        (CUES, "[stops.verb]\n", "[stops.verb]\nphrase = []\n", "phrase"),
    ],
)
def test_broken_files_are_named(folder: Path, file: str, old: str, new: str, message: str) -> None:
    edit(folder / file, old, new)
    with pytest.raises(InputError) as error:
        load_rules(folder, CHEST.classes)
    assert message in str(error.value)
    assert str(folder / file) in str(error.value)
    assert "\n" not in str(error.value)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lexicon\.toml: No such file"):
        load_rules(tmp_path, ["Cyst"])


def found(
    tmp_path: Path,
    text: str,
    classes: Sequence[str],
    synonyms: Mapping[str, Sequence[str]] | None = None,
    lexicon: str = "",
) -> dict[str, State]:
    (tmp_path / LEXICON).write_text(lexicon, encoding="utf-8")
    return label_report(text, load_rules(tmp_path, classes, synonyms or {})).labels


def test_a_class_without_a_part_is_found_by_name_and_synonyms(tmp_path: Path) -> None:
    classes = ["Glorp Cyst", "Wug/Zeb (Type-2)", "Blicket's Sign", "Fep"]
    text = "No GLORP cysts. Wug/Zeb type 2 is seen. Possible Blicket’s sign. Dax was removed."
    assert found(tmp_path, text, classes, {"Fep": ["dax"]}) == {
        "Glorp Cyst": ABSENT, "Wug/Zeb (Type-2)": PRESENT, "Blicket's Sign": UNCERTAIN, "Fep": PRESENT
    }  # fmt: skip
    assert found(tmp_path, "No glorp cyst.", classes) == {"Glorp Cyst": ABSENT, "No Finding": PRESENT}


def test_a_name_inside_a_longer_one_is_not_meant(tmp_path: Path) -> None:
    classes = ["Cyst", "Renal Cyst"]
    assert found(tmp_path, "No renal cyst.", classes)["Renal Cyst"] == ABSENT
    assert "Cyst" not in found(tmp_path, "No renal cysts.", classes)
    assert found(tmp_path, "Renal cyst. No other cyst.", classes) == {"Cyst": ABSENT, "Renal Cyst": PRESENT}
    assert found(tmp_path, "A hepatic cyst.", classes, lexicon='["Renal Cyst"]\nmentions = ["bubble"]\n') == {
        "Cyst": PRESENT
    }


def test_no_finding_stays_blank_for_other_and_not_for_what_is_no_abnormality(tmp_path: Path) -> None:
    lexicon = '[Clip]\nmentions = ["clip*"]\nabnormal = false\n[Other]\nmentions = ["glorp"]\n'
    assert found(tmp_path, "Clips in place.", ["Clip"], lexicon=lexicon) == {"Clip": PRESENT, "No Finding": PRESENT}
    assert found(tmp_path, "Large glorp.", ["Clip"], lexicon=lexicon) == {}


@pytest.mark.parametrize("name", ["Opacity [left]", "a\\b", "Heart & {lung}", "≥2 ribs™", "結節", "CT気胸"])
def test_any_sign_of_a_name_is_read_alike(tmp_path: Path, name: str) -> None:
    assert found(tmp_path, f"No scar. There is {name} today.", [name, "Scar"]) == {name: PRESENT, "Scar": ABSENT}
    assert found(tmp_path, f"No {name}.", [name])[name] == ABSENT


def test_a_script_without_spaces_has_no_bounds_of_words(tmp_path: Path) -> None:
    classes = ["結節", "기흉", "Cyst"]
    assert found(tmp_path, "右肺に結節がある。좌측 기흉이 있음. Polycystic.", classes) == dict.fromkeys(
        classes[:2], PRESENT
    )
    with pytest.raises(InputError, match="'Edema; left' ends a sentence"):
        found(tmp_path, "", ["Edema; left"])


def test_some_classes_of_a_lexicon_are_labelled_as_among_all_of_them() -> None:
    assert CHEST.rules is not None
    some = ["Pneumonia", "Edema"]
    rules = load_rules(CHEST.rules, some)
    for report in (made.report.text for made in generate(60, seed=3)):
        everything = labels(report)
        expected = {name: everything[name] for name in everything if name in (*some, "No Finding")}
        assert label_report(report, rules).labels == expected
    assert label_report("Moderate pneumothorax.", rules).labels == {}


NAMES = st.text("ab c'’-/.,:?+()[]{}|~*!&\\\"\nİß", min_size=1, max_size=12)


@given(st.lists(NAMES, min_size=1, max_size=4, unique=True))
def test_any_names_give_rules_or_one_line(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    folder = tmp_path_factory.getbasetemp() / "names"
    folder.mkdir(exist_ok=True)
    for file in (LEXICON, CUES):
        (folder / file).touch()
    try:
        rules = load_rules(folder, names)
    except InputError as error:
        assert "empty phrase" in str(error) or "ends a sentence" in str(error)
    else:
        label_report(" ".join(names), rules)
