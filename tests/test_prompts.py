"""prompts.py: what a model sees, held to the prompts of earlier versions byte by byte."""

import hashlib

import pytest

from prompts import PromptConfig, main
from radtune.config import InputError
from radtune.files import write_jsonl
from radtune.report import report_from_sections


# SHA-256 of what the version before tasks became files printed, with seed=3.
@pytest.mark.parametrize(
    ("task", "use", "sha256"),
    [
        ("multiple_choice", "training", "6345c29e82597c8612df67fe48786871ccd66f179541423c561857eff43027a5"),
        ("multiple_choice", "inference", "8eebba1cf5cc2d3cb50019fe5538f89f7c7b65e2747064d4eea2ac5827b6ac22"),
        ("multiple_choice", "labelling", "8eebba1cf5cc2d3cb50019fe5538f89f7c7b65e2747064d4eea2ac5827b6ac22"),
        ("open_ended", "training", "33a848f79159f304b14c48383ce47303a0e8f18e35044b61ab77336ac19a765a"),
        ("open_ended", "inference", "33a848f79159f304b14c48383ce47303a0e8f18e35044b61ab77336ac19a765a"),
        ("open_ended", "labelling", "0e9ac71a72f0fd77babc8ea9729a332d60a5ae9d4b90f58471537f018427d7e7"),
    ],
)
def test_prompts_are_those_of_earlier_versions(capsys, task, use, sha256):
    main(PromptConfig(task=task, use=use, seed=3))
    assert hashlib.sha256(capsys.readouterr().out.encode()).hexdigest() == sha256


def test_a_task_of_150_classes_and_a_report(tmp_path, capsys):
    classes = "".join(f"- {{name: Class {number}, definition: Made-up {number}}}\n" for number in range(150))
    task = tmp_path / "toy.yaml"
    prompts = "{inference: 'Which of {classes}?', labelling: '{definitions}'}"
    task.write_text(f"name: toy\nkind: classes\nclasses:\n{classes}sections: [impression]\nprompts: {prompts}\n")
    main(PromptConfig(task=str(task)))
    shown = capsys.readouterr().out
    assert all(f"‘Class {number}’" in shown for number in range(150))
    assert shown.endswith("Report to Analyze:\n{report}\n\nOutput:\n")

    reports = tmp_path / "reports.jsonl"
    write_jsonl(reports, [report_from_sections("7", None, "Clear.", "Normal.", "test")])
    main(PromptConfig(task=str(task), use="labelling", reports=reports, show_text=True))
    shown = capsys.readouterr().out
    assert "* Class 149: Made-up 149" in shown
    assert shown.endswith("Report to Analyze:\nNormal.\n\nOutput:\n")
    notes = tmp_path / "notes.csv"
    notes.write_text("NOTE_ID,NOTE\n7,INDICATION: Cough. IMPRESSION: Normal.\n")
    main(PromptConfig(task=str(task), reports=notes, id_column="NOTE_ID", text_column="NOTE", show_text=True))
    assert capsys.readouterr().out.endswith("Report to Analyze:\nNormal.\n\nOutput:\n")
    with pytest.raises(InputError, match="no report '8'"):
        main(PromptConfig(task=str(task), reports=reports, report_id="8", show_text=True))
