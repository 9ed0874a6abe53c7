"""A task file from a list of names."""

import pytest

from radtune.tasks import load_task

TABLE = (
    "name;definition;synonyms;parent;icd10\n"
    "Rundherd;ein Herd bis 3 cm;Knoten;Herd;R91.1\n"
    "Herd;;;n/a;\n"
    "Erguß;Flüssigkeit, auch wenig;Pleuraerguß;;\n"
)


def test_names_in_a_table_become_a_task_that_asks_for_them(command, tmp_path):
    (tmp_path / "names.csv").write_text(TABLE, encoding="cp1252")
    code, said, error = command(
        "scripts/new_task.py", "name=ct", f"names={tmp_path / 'names.csv'}", f"output={tmp_path / 'ct.yaml'}",
        "none=Unauffällig", "sections=[impression]",
    )  # fmt: skip
    assert code == 0 and said.startswith(f"{tmp_path / 'ct.yaml'}: 3 labels"), error
    task = load_task(tmp_path / "ct.yaml")
    assert task.classes == ("Rundherd", "Herd", "Erguß") and task.sections == ("impression",)
    assert task.synonyms == {"Rundherd": ("Knoten",), "Erguß": ("Pleuraerguß",)}
    assert task.parents == {"Rundherd": "Herd"}
    asked, trained = task.prompt("inference").instruction, task.prompt("training").instruction
    assert "* Erguß: Flüssigkeit, auch wenig" in asked and "* Erguß" not in trained
    assert "['Unauffällig']" in trained and "‘Rundherd’, ‘Herd’, ‘Erguß’" in trained


@pytest.mark.parametrize("form", ["[Nodule, 'no', Effusion]", "names.txt"])
def test_names_alone_do(command, tmp_path, form):
    if form.endswith(".txt"):
        (tmp_path / form).write_text("Nodule\n\nno\nEffusion\n")
        form = str(tmp_path / form)
    code, _, error = command("scripts/new_task.py", "name=ct", f"names={form}", f"output={tmp_path / 'ct.yaml'}")
    assert code == 0, error
    assert load_task(tmp_path / "ct.yaml").classes == ("Nodule", "no", "Effusion")


@pytest.mark.parametrize(
    ("names", "keys", "message"),
    [
        ("gone.csv", (), "names: no file 'gone.csv'; a list of names is written [gone.csv, ...]"),
        ("[A, a]", (), "'A' stands for two classes, or is the word for none"),
        ("[A, Normal]", (), "'Normal' stands for two classes, or is the word for none"),
        ("[]", (), "classes: none given"),
        ("[A, B]", ("rules=gone",), "rules: no 'gone'"),
        ("[A, B]", ("name=differential",), "name: differential is a task that ships with radtune; give another"),
        ("[A, B]", ("name=c t",), "name: letters, digits, - and _ only"),
        ("[A, B]", ("output=ct.txt",), "output: ct.txt: expected a name that ends in .yaml"),
    ],
)
def test_a_slip_is_one_line_and_leaves_no_file(command, tmp_path, names, keys, message):
    given = [f"names={names}", "name=ct", f"output={tmp_path / 'ct.yaml'}", *keys]
    code, _, error = command("scripts/new_task.py", *given)
    assert code == 2 and message in error and len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_code_that_does_not_exist_is_refused(command, tmp_path):
    (tmp_path / "names.csv").write_text(TABLE.replace("R91.1", "R91.7"), encoding="utf-8")
    given = ["name=ct", f"names={tmp_path / 'names.csv'}", f"output={tmp_path / 'ct.yaml'}"]
    code, _, error = command("scripts/new_task.py", *given)
    assert code == 2 and "ct.yaml: classes[0].icd10: 'R91.7' is no code of ICD-10-CM" in error


def test_a_file_that_is_there_stays(command, tmp_path):
    (tmp_path / "ct.yaml").write_text("mine")
    code, _, error = command("scripts/new_task.py", "name=ct", "names=[A, B]", f"output={tmp_path / 'ct.yaml'}")
    assert code == 2 and "is there already" in error and (tmp_path / "ct.yaml").read_text() == "mine"
