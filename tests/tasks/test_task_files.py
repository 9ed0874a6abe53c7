"""Task files: the paper's two against its Figures 1a and 1b and Table 2 (arXiv:2409.16563), own ones, broken ones."""

import re
from pathlib import Path

import pytest
import yaml

from radtune.config import InputError
from radtune.files import write_jsonl
from radtune.labels import State
from radtune.report import report_from_sections, report_from_text
from radtune.tasks import USES, load_task, own_tasks, task_names, text_of
from radtune.tasks.rendering import read_examples

FIGURE_1A = """\
You are given a clinical report. Your task is to identify the diseases that the patient have and list them. \
The result list should be formatted exactly as [disease1, disease2, …] and be on a single line.
Only use diseases from this list:
(‘Atelectasis’, ‘Cardiomegaly’, ‘Consolidation’, ‘Edema’, ‘Enlarged Cardiomediastinum’, ‘Fracture’, ‘Lung Lesion’, \
‘Lung Opacity’, ‘Pleural Effusion’, ‘Pleural Other’, ‘Pneumonia’, ‘Pneumothorax’, ‘Support Devices’)
Guidelines:
* Be careful about negation. E.g., do not include Pneumonia if the text says ”no Pneumonia”
* Only include diseases that are certain. Entities that are ’likely’, ’possibly’ should not be returned.
* After output the list, provide the evidence in the text for each disease."""

FIGURE_1B = """\
You are a radiologist. Your task is to do entity recognition, which will extract phrases in the report that represent \
a potential ICD-10 code. Your result should be a list, i.e., [phrase 1, phrase 2, …]. The phrase should fully contain \
the indication of an ICD-10 code, but also should be as short as possible."""

TABLE_2 = """\
You are a radiologist. Your tasks is to do disease detection, which will extract phrases in the report that represents \
a potential ICD-10 code. Your result should be a list, i.e. [phrase 1, phrase 2, …]. The phrase should fully contain \
the indication of a ICD-10 code, but also should be as short as possible."""

GUIDELINES = """
Guidelines:
* Extract phrases that directly correlate to an ICD-10 code.
* Keep the phrases as concise as possible while retaining their full meaning.
* Provide the reasoning behind each extracted phrase, including the corresponding ICD-10 code.
* Include only the conditions that the patient has. For example, if the report states ‘No pneumothorax,’ do not \
include pneumothorax.
* If there are no conditions or findings that correlate to an ICD-10 code, directly output ‘Output: []’
Example Reports and Outputs:
1. """


def test_multiple_choice_asks_as_figure_1a_and_trains_without_its_guidelines():
    task = load_task("multiple_choice")
    assert task.prompt("inference").instruction == task.prompt("labelling").instruction == FIGURE_1A
    assert task.prompt("training").instruction == FIGURE_1A.partition("\nGuidelines:")[0]


def test_open_ended_asks_as_figure_1b_with_three_examples():
    task = load_task("open_ended")
    prompt = task.prompt("inference")
    fixed = [example for example in read_examples(task.files[1]) if example.fixed]
    shown = "\n".join(
        f"{'' if number == 1 else f'{number}. '}{example.text}\n"
        f"Output: {task.encode([phrase.phrase for phrase in example.phrases])}"
        for number, example in enumerate(fixed, start=1)
    )
    assert prompt.instruction == FIGURE_1B + GUIDELINES + shown
    assert prompt.example_ids == tuple(example.example_id for example in fixed)
    assert task.prompt("training") == prompt


def test_the_labelling_prompt_is_table_2_with_codes_in_its_examples():
    task = load_task("open_ended")
    by_id = {example.example_id: example for example in read_examples(task.files[1])}
    prompt = task.prompt("labelling", "r1", seed=3)
    first = by_id[prompt.example_ids[0]]
    assert prompt.instruction.startswith(TABLE_2 + GUIDELINES + first.text)
    for example_id in prompt.example_ids:
        for phrase in by_id[example_id].phrases:
            assert f"\n- {phrase.phrase}: {phrase.icd10}" in prompt.instruction


OWN = {
    "name": "knee",
    "kind": "classes",
    "classes": [
        "Tear",
        {"name": "Meniscal Tear", "parent": "Tear", "synonyms": ["torn meniscus"], "definition": "A cleft."},
    ],
    "certainty": ["present", "uncertain"],
    "sections": ["impression"],
    "texts": {"rules": "Choose from {classes}.", "meaning": "{rules}\n{definitions}"},
    "prompts": {"inference": "What is it? {meaning} {{kept}}"},
}


def write(folder: Path, **changes: object) -> Path:
    path = folder / "task.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in (OWN | changes).items() if v is not None}, allow_unicode=True))
    return path


def test_a_task_of_ones_own_is_a_file(tmp_path):
    task = load_task(write(tmp_path, prompts={"inference": "What is it? {meaning}"}))
    asked = "What is it? Choose from ‘Tear’, ‘Meniscal Tear’.\n* Meniscal Tear: A cleft."
    assert {task.prompt(use).instruction for use in USES} == {asked}
    assert (task.title, task.classes, task.rules) == ("Knee", ("Tear", "Meniscal Tear"), None)
    assert task.labels_of({"Tear": State.UNCERTAIN, "Meniscal Tear": State.ABSENT}) == ("Tear",)
    assert (task.parents, task.synonyms) == ({"Meniscal Tear": "Tear"}, {"Meniscal Tear": ("torn meniscus",)})


def test_a_task_reads_its_sections_and_the_whole_of_a_report_without_any(tmp_path):
    task = load_task(write(tmp_path, prompts={"inference": "{classes}"}))
    assert text_of(task, report_from_sections("r", None, "A.", "B.", "made")) == "B."
    assert text_of(task, report_from_text("r", None, "Torn.", "made")) == "Torn."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "prompts.inference: no piece {kept}"),
        ({"prompts": {"inference": "{classes}\n{report}"}}, "no piece {report}; a report stands below its prompt"),
        ({"classes": ["A", "b "]}, "classes[1]: 'b ' is no name"),
        ({"classes": ["A", "a"]}, "classes[0]: 'A' stands for two classes"),
        (
            {"classes": [{"name": "A", "synonyms": ["x"]}, {"name": "B", "synonyms": ["X"]}]},
            "'x' stands for two classes",
        ),
        ({"classes": ["normal"]}, "is the word for none"),
        ({"classes": [{"name": "A", "parent": "B"}]}, "classes[0].parent: 'B' is none of the classes"),
        ({"classes": [{"name": "A", "parent": "A"}]}, "its own ancestor"),
        ({"classes": [{"name": "A", "icd10": "U99.9"}]}, "classes[0].icd10: 'U99.9' is no code of ICD-10-CM"),
        ({"classes": ["Tumor"], "families": ["tumor"]}, "'Tumor' stands for two classes, or is the word for none or a"),
        ({"classes": []}, "classes: none given"),
        ({"kind": "phrases"}, "a task of phrases has none"),
        ({"kind": "phrases", "classes": [], "rules": "chest"}, "rules: "),
        ({"kind": "words"}, "kind"),
        ({"certainty": ["maybe"]}, "certainty"),
        ({"sections": []}, "may not be empty"),
        ({"prompts": {"training": "x"}}, "prompts.inference is missing"),
        ({"prompts": {"inference": "x", "labeling": "y"}}, "'labeling'; did you mean 'labelling'?"),
        ({"prompts": {"inference": "{a}"}, "texts": {"a": "{b}", "b": "{a}"}}, "stands in itself"),
        ({"rules": "elsewhere"}, "rules: no 'elsewhere'"),
        ({"examples": {"file": "none.jsonl"}}, "examples.file: no 'none.jsonl'"),
        ({"examples": {"file": "data/seed_examples.jsonl"}}, "is none of the classes"),
        ({"prompts": {"inference": "{examples}"}}, "{examples} is empty: the file gives none"),
        ({"classes": ["A"], "prompts": {"inference": "{definitions}"}}, "{definitions} is empty"),
        ({"classes": ["Lung  Lesion"]}, "'Lung  Lesion' is no name"),
        ({"classes": ["Lung-Edema", "lung edema"]}, "stands for two classes"),
        ({"classes": ["A", "NA"]}, "classes[1]: 'NA' in a table of labels is a blank cell"),
        ({"classes": ["A", "a (Uncertain)"]}, "classes[1]: 'a (Uncertain)' is the name of another class in doubt"),
        ({"none": " "}, "none: a word for none of the classes"),
        ({"classes": ["Labels"]}, "'Labels' is the name of a column"),
        ({"sections": ["impression", "impression"]}, "sections: one stands twice"),
        ({"rules": ""}, "rules: '' is no folder with a lexicon.toml"),
        ({"rules": "task.yaml"}, "rules: 'task.yaml' is no folder with a lexicon.toml"),
        ({"name": "a/b"}, "name: "),
        ({"clases": ["A"]}, "unknown key 'clases'; did you mean 'classes'?"),
    ],
)
def test_a_broken_task_file_is_refused_in_one_line(tmp_path, changes, message):
    with pytest.raises(InputError, match=re.escape(message)) as refused:
        load_task(write(tmp_path, **changes))
    assert str(refused.value).startswith(str(tmp_path / "task.yaml")) and "\n" not in str(refused.value)


ROW = {"example_id": "s", "text": "Torn.", "fixed": True, "labels": ["Tear"]}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ROW], "examples.shown: at most 1, the examples there are"),
        ([ROW, ROW | {"fixed": False}], "examples.shown is 2, but 1 rows of rows.jsonl are fixed"),
        ([ROW | {"labels": ["Gout"]}, ROW], "'Gout' is none of the classes"),
        ([ROW | {"fixed": "false"}, ROW], "rows.jsonl:1: expected example_id"),
        ([ROW, ROW | {"labels": "Tear"}], "rows.jsonl:2: expected example_id"),
        ([ROW, {"text": "Torn."}], "rows.jsonl:2: expected example_id"),
    ],
)
def test_examples_that_would_not_be_shown_as_meant_are_refused(tmp_path, rows, message):
    write_jsonl(tmp_path / "rows.jsonl", rows)
    asked = {"prompts": {"inference": "{classes} {examples}"}, "examples": {"file": "rows.jsonl", "shown": 2}}
    with pytest.raises(InputError, match=re.escape(message)):
        load_task(write(tmp_path, **asked))


def test_examples_of_classes_are_shown_without_codes(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", [ROW])
    asked = {"prompts": {"inference": "{reasoned_examples}"}, "examples": {"file": "rows.jsonl", "shown": 1}}
    assert load_task(write(tmp_path, **asked)).prompt("inference").instruction == "1. Torn.\nOutput: ['Tear']\n"


def test_an_unknown_task_is_refused_with_those_that_ship():
    with pytest.raises(InputError, match="did you mean 'multiple_choice'"):
        load_task("multiple_choise")
    assert set(task_names()) >= {"multiple_choice", "open_ended"}


def test_a_name_is_one_tasks_alone(tmp_path):
    path = write(tmp_path, prompts={"inference": "{classes}"})
    assert own_tasks([path]) == {"knee": path}
    with pytest.raises(InputError, match=r"task.yaml is 'knee', too"):
        own_tasks([path, path])
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="a task that ships is 'open_ended', too"):
        own_tasks([write(tmp_path / "other", name="open_ended", prompts={"inference": "{classes}"})])
    # What extends a task that ships may be another wording of it.
    worded = tmp_path / "worded.yaml"
    worded.write_text(
        f"extends: {Path('configs/tasks/open_ended.yaml').resolve()}\nprompts: {{inference: Name phrases.}}\n"
    )
    assert own_tasks([worded]) == {"open_ended": worded}
    for shipped in Path("configs/study/wordings").glob("*.yaml"):
        assert own_tasks([shipped]) == {"multiple_choice": shipped}


def test_a_task_of_another_folder_has_the_files_of_what_it_extends(tmp_path):
    shipped = Path("configs/tasks").resolve()
    for name in ("nih_findings", "open_ended"):
        mine = tmp_path / f"{name}.yaml"
        mine.write_text(f"extends: {shipped / name}.yaml\ntitle: Mine\n")
        (tmp_path / f"second_{name}.yaml").write_text(f"extends: {mine.name}\nname: mine\n")
        task = load_task(tmp_path / f"second_{name}.yaml")
        assert (task.name, task.title) == ("mine", "Mine")
        assert {*task.files} >= {*load_task(name).files, mine}
    # What stands beside it goes before.
    (tmp_path / "nih_findings").mkdir()
    (tmp_path / "nih_findings" / "lexicon.toml").write_text("")
    (tmp_path / "third.yaml").write_text(f"extends: {shipped}/nih_findings.yaml\n")
    assert load_task(tmp_path / "third.yaml").rules == tmp_path / "nih_findings"
