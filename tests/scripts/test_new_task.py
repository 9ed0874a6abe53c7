"""A task file from a list of names."""

import pytest

from radtune.tasks import load_task

TABLE = (
    "name;Definition;Synonyms;PARENT;ICD10\n"
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
    assert code == 0 and said.startswith(f"{tmp_path / 'ct.yaml'}: 3 labels\nradtune prompts task="), error
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
