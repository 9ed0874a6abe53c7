"""From a list of names to a scored model in another language, by files alone: a study's every command on a CPU."""

import csv
import json
from pathlib import Path

from radtune.files import read_jsonl
from radtune.study.jobs import jobs_of
from radtune.study.plan import read_study, read_training
from radtune.study.report import report_html
from radtune.study.results import read_reported, read_results
from radtune.study.tables import all_tables

NAMES = ("Pleuraerguß", "Pneumothorax", "Lungenödem")
SENTENCES = {"Pleuraerguß": "Erguß links basal.", "Pneumothorax": "Pneumothorax rechts.", "Lungenödem": "Stauung."}
TRAINING = "extends: {root}/configs/mini/lora_fast.yaml\nrows_per_step: 4\nwrite_merged: False\n"


def write_reports(path: Path, first: int, count: int) -> None:
    with path.open("w", encoding="cp1252", newline="") as stream:
        write = csv.writer(stream, delimiter=";").writerow
        write(("Auftrag", "Befundtext", "labels"))
        for number in range(first, first + count):
            found = [name for place, name in enumerate(NAMES) if number >> place & 1]
            text = " ".join(["Befund:", f"Aufnahme {number}.", *(SENTENCES[name] for name in found)])
            write((number, f"{text}\nBeurteilung: Siehe oben.", ", ".join(found)))


def test_a_task_in_german_runs_through_a_whole_study(command, run_here, tmp_path) -> None:
    root = Path.cwd()
    write_reports(tmp_path / "berichte.csv", 0, 8)
    write_reports(tmp_path / "gold.csv", 8, 4)
    (tmp_path / "training.yaml").write_text(TRAINING.format(root=root))
    columns = ("id_column=Auftrag", "text_column=Befundtext")
    task, study, notes = (tmp_path / name for name in ("befunde.yaml", "studie.yaml", "berichte.csv"))
    tables = (f"input={notes}", f"gold={tmp_path / 'gold.csv'}", f"labels={notes}")
    training = f"training={tmp_path / 'training.yaml'}"
    for script, *words in (
        ("new_task.py", "name=befunde", f"names=[{', '.join(NAMES)}]", "none=Ohne", f"output={task}"),
        ("new_study.py", "name=studie", f"task={task}", *tables, *columns, training, f"output={study}"),
    ):
        code, _, error = command(f"scripts/{script}", *words)
        assert code == 0, error
    study.write_text(study.read_text() + "inference: {max_new_tokens: 20}\n")
    planned = read_study(study, run_dir=tmp_path / "run")
    for name, job in jobs_of(planned, read_training(planned)).items():
        script, *words = job.words()[1:]
        done = run_here(script, *words)
        assert done.returncode in (0, None), (name, done.stderr)
    rows = [row for _, row in read_jsonl(planned.instructions(planned.cell("mix_all")))]
    assert len(rows) == 8 and {"['Pleuraerguß', 'Pneumothorax']", "['Ohne']"} <= {row["output"] for row in rows}
    scores = json.loads(planned.evaluation("mix_all", "studie_test").read_text())
    assert scores["n_reports"] == 4 and set(scores["per_class"]) == {*NAMES}
    results, reported = read_results(planned), read_reported(None)
    assert "Lungenödem" in report_html(results, reported, all_tables(results, reported), [])
