"""Labels that are likely wrong: noise that was put in stands first in the queue."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from radtune.files import write_jsonl
from radtune.label_files import read_labels, write_label_table
from radtune.labels import State
from radtune.report import report_from_sections
from radtune.score.label_errors import suspects
from radtune.sources.synthetic import generate
from radtune.tasks import load_task

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "find_label_errors.py"
MC = load_task("multiple_choice")
WORDS = {"Edema": "congestion", "Fracture": "broken rib", "Pneumonia": "infiltrate"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Reports that say what they have; of a tenth the labels leave out what is there, or say what is not."""
    folder, chance = tmp_path_factory.mktemp("errors"), np.random.default_rng(0)
    truth = chance.random((120, 3)) < 0.4
    texts = [f"{'. '.join(w for w, t in zip(WORDS.values(), row, strict=True) if t)}. Lungs seen." for row in truth]
    reports = [report_from_sections(str(i), f"p{i // 2}", text, "", "made") for i, text in enumerate(texts)]
    write_jsonl(folder / "reports.jsonl", reports)
    noisy = truth.copy()
    noisy[:12, 0] ^= True
    for name, table in (("labels", noisy), ("teacher", truth)):
        rows = {str(i): dict(zip(WORDS, map(int, row), strict=True)) for i, row in enumerate(table)}
        rows["119"]["Pneumonia"] = State.UNCERTAIN
        write_label_table(folder / f"{name}.csv", MC, rows)
    return folder


def queue(folder: Path) -> list[dict[str, str]]:
    with (folder / "queue.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_noise_stands_first_and_its_reports_can_be_left_out(succeeds, folder: Path) -> None:
    words = ["task=multiple_choice", f"reports={folder / 'reports.jsonl'}", f"labels={folder / 'labels.csv'}"]
    words += [f"output={folder / 'queue.csv'}", "rows=12", f"cleaned={folder / 'cleaned.csv'}", "drop=0.1"]
    succeeds(SCRIPT, *words)
    alone = {(row["report_id"], row["label"]) for row in queue(folder)}
    noise = {(str(i), "Edema") for i in range(12)}
    assert len(alone & noise) >= 10
    cleaned = read_labels(folder / "cleaned.csv", MC).answers
    assert len(cleaned) == 108 and cleaned["119"].states["Pneumonia"] == State.UNCERTAIN
    # A second labeler tells all of them.
    succeeds(SCRIPT, *words, f"others=[{folder / 'teacher.csv'}]")
    rows = queue(folder)
    assert {(row["report_id"], row["label"]) for row in rows} == noise
    assert all(row["given"] != row[str(folder / "teacher.csv")] for row in rows)
    assert [float(row["suspicion"]) for row in rows] == sorted((float(row["suspicion"]) for row in rows), reverse=True)


@pytest.mark.parametrize("name", ["labels.jsonl", "labels.csv"])
def test_what_is_doubted_or_quarantined_stays_so_in_what_is_left(succeeds, folder, tmp_path, name: str) -> None:
    rows = [
        {"study_id": f"s{i}", "labels": ["Edema (uncertain)", "Fracture"] if i % 2 else ["Edema"], "model": "m"}
        | ({"problems": ["names what is not there"], "phrases": []} if i % 7 == 0 else {})
        for i in range(120)
    ]
    if name.endswith(".csv"):
        lines = [f"{row['study_id']},{'; '.join(row['labels'])}" for row in rows]
        (tmp_path / name).write_text("\n".join(["study_id,labels", *lines]))
    else:
        write_jsonl(tmp_path / name, rows)
    words = ["task=multiple_choice", f"reports={folder / 'reports.jsonl'}", f"labels={tmp_path / name}"]
    succeeds(SCRIPT, *words, f"output={tmp_path / 'queue.csv'}", f"cleaned={tmp_path / 'cleaned.jsonl'}")
    before, kept = read_labels(tmp_path / name, MC).answers, read_labels(tmp_path / "cleaned.jsonl", MC).answers
    assert len(kept) == 114
    for report_id, answer in kept.items():
        other = before.get(report_id) or before[f"s{report_id}"]
        assert (answer.labels, answer.provenance.get("problems")) == (other.labels, other.provenance.get("problems"))


def test_what_a_table_has_no_column_for_is_not_absent_in_what_is_left(run_here, succeeds, folder, tmp_path) -> None:
    rows = [line.split(",") for line in (folder / "labels.csv").read_text().splitlines()]
    places = [rows[0].index(name) for name in WORDS]
    table = [["subject_id", "study_id", *WORDS], *(["1", f"s{row[0]}", *(row[i] for i in places)] for row in rows[1:])]
    (tmp_path / "labels.csv").write_text("\n".join(map(",".join, table)))
    reports = [report_from_sections(str(i), None, f"Lungs seen {i}.", "", "made") for i in range(120)]
    write_jsonl(tmp_path / "reports.jsonl", reports)
    words = ["task=multiple_choice", f"labels={tmp_path / 'labels.csv'}", f"output={tmp_path / 'queue.csv'}"]
    words += [f"cleaned={tmp_path / 'cleaned.csv'}", "drop=0.1"]
    # Whose reports they are, the table alone says here: all of one patient, of whom a student learns none.
    done = run_here(SCRIPT, *words, f"reports={tmp_path / 'reports.jsonl'}")
    assert done.returncode == 2 and "1 patients are too few" in done.stderr
    succeeds(SCRIPT, *words, f"reports={folder / 'reports.jsonl'}")
    given, kept = (read_labels(tmp_path / f"{name}.csv", MC) for name in ("labels", "cleaned"))
    assert len(kept.answers) == 108 and kept.missing == given.missing
    assert all(answer == given.answers[x] for x, answer in kept.answers.items())
    columns = f"{tmp_path / 'lists.csv'}", f"cleaned={tmp_path / 'cleaned.jsonl'}"
    (tmp_path / "lists.csv").write_text("".join(f"{','.join(row[:2])},{name}\n" for row, name in zip(
        table, ["labels", *["Edema", "Fracture"] * 60], strict=True
    )))  # fmt: skip
    succeeds(SCRIPT, *words[:1], f"labels={columns[0]}", columns[1], words[2], f"reports={folder / 'reports.jsonl'}")
    assert {x.patient_id for x in read_labels(tmp_path / "cleaned.jsonl", MC).answers.values()} == {"1"}


def test_files_of_other_ids_and_of_other_reports(run_here, succeeds, folder: Path, tmp_path: Path) -> None:
    rows = (folder / "labels.csv").read_text()
    (tmp_path / "notes.csv").write_text(rows.replace("report_id", "NOTE_ID"))
    (tmp_path / "others.csv").write_text(rows.replace("\n", "\nx").removesuffix("x"))
    write_jsonl(tmp_path / "few.jsonl", [report_from_sections("1", "p", "Broken rib.", "", "made")])
    (tmp_path / "again.csv").symlink_to(folder / "labels.csv")
    words = ["task=multiple_choice", f"reports={folder / 'reports.jsonl'}", f"output={tmp_path / 'queue.csv'}"]
    mine, other = f"labels={folder / 'labels.csv'}", tmp_path / "others.csv"
    for more, message in (
        ([mine, f"others=[{other}]"], f"{other}: no label for any of the 120 reports"),
        ([mine, f"others=[{tmp_path / 'again.csv'}]"], "a file stands twice"),
        (["task=multiple_choice+states", mine], "its labels are phrases or states"),
        (["task=open_ended", mine], "its labels are phrases"),
        ([f"reports={tmp_path / 'few.jsonl'}", mine], "1 patients are too few"),
        ([f"cleaned={tmp_path / 'kept.jsonl'}", mine], "cleaned is one, too"),
    ):
        done = run_here(SCRIPT, *words, *more)
        assert (done.returncode, message in done.stderr, done.stderr.count("\n")) == (2, True, 1), done.stderr
    done = succeeds(SCRIPT, *words, f"labels={tmp_path / 'notes.csv'}", "id_column=note_id", "rows=3")


def test_what_a_file_does_not_decide_is_not_held_against_a_label(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("report_id,Edema\n" + "".join(f"{i},{(1, 0, -1)[i % 3]}\n" for i in range(6)))
    (tmp_path / "b.csv").write_text("report_id,Fracture,Edema\n" + "".join(f"{i},1,{i % 2 or -1}\n" for i in range(6)))
    labels, other = (read_labels(tmp_path / name, MC) for name in ("a.csv", "b.csv"))
    texts = {str(i): f"lungs {i % 3}" for i in range(6)}
    found = suspects(MC, texts, {x: x for x in texts}, labels, {"b": other})
    assert {(one.report_id, one.label) for one in found} == {(x, "Edema") for x in "0134"}
    assert {one.report_id: one.others["b"] for one in found} == {"0": None, "1": True, "3": True, "4": None}


def test_the_benchmark_puts_noise_in_and_says_what_is_found(tmp_path, monkeypatch, succeeds) -> None:
    made = [*generate(80, seed=3)]
    with (tmp_path / "reports.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [
                ("uid", "findings", "impression"),
                *((i, m.report.findings, m.report.impression) for i, m in enumerate(made)),
            ]
        )
    write_label_table(tmp_path / "gold_labels.csv", MC, {str(i): m.labels for i, m in enumerate(made)})
    monkeypatch.setenv("OPENI_DIR", str(tmp_path))
    said = succeeds(SCRIPT.parents[1] / "benchmarks" / "bench_label_errors.py", "what=openi").stdout
    reports, changed, labels = map(int, re.findall(r"\d+", said.splitlines()[0].replace(",", "")))
    assert (reports, labels) == (40, 40 * len(MC.classes))
    assert 0 < changed < labels / 2
    found = [int(count) for count in re.findall(r"first (\d+) of the queue", said)]
    assert found == [round(part * changed) for part in (0.25, 0.5, 1.0, 2.0)]
    titles = ("as they were", "with noise", "without suspect reports", "mended by a reader")
    assert [title for title in titles if f"  {title} " in said] == [*titles]
