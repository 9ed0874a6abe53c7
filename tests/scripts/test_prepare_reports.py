"""scripts/prepare_reports.py: what it writes, says, and refuses."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from radtune.files import manifest_path
from radtune.label_files import read_labels
from radtune.report import read_reports, report_from_sections
from radtune.sources.check import say_look
from radtune.sources.select import Counts
from radtune.tasks import load_task

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(run_here: Callable) -> Callable:
    def run(*arguments: str) -> SimpleNamespace:
        say_look.cache_clear()  # what a process says once
        return run_here(ROOT / "scripts" / "prepare_reports.py", *arguments)

    return run


@pytest.fixture
def mimic(tmp_path: Path) -> Path:
    """A zip of 40 reports, every tenth without sections."""
    path = tmp_path / "in" / "mimic-cxr-reports.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(40):
            text = "Portable view." if number % 10 == 0 else f" FINDINGS:  Nodule of {number} mm.\n"
            archive.writestr(f"files/p10/p100000{number // 2:02}/s500000{number:02}.txt", text)
    return path


def test_mimic_to_a_nested_sample(tmp_path: Path, mimic: Path, run: Callable) -> None:
    (tmp_path / "curated.txt").write_text("s50000001\n50000002\ns99999999\n")
    kept = {}
    for sample in (5, 10):
        output = tmp_path / f"mimic_{sample}.jsonl"
        finished = run(
            "source=mimic_cxr", f"input={mimic}", f"output={output}", f"sample={sample}", "seed=1",
            f"exclude_ids={tmp_path}/curated.txt",
        )  # fmt: skip
        assert (finished.returncode, finished.stderr) == (0, "")
        kept[sample] = {report.report_id for report in read_reports(output)}
    assert len(kept[5]) == 5
    assert kept[5] < kept[10]
    assert not kept[10] & {"50000001", "50000002"}
    assert finished.stdout.splitlines() == [
        f"{mimic}: 40 reports in English, 36 with findings, 4 with neither, 3 with the text of another, "
        "4 with no word that tells their language; headings: FINDINGS 36",
        f"{output}: 10 reports (40 read, 2 excluded, 4 without Findings or Impression "
        "(require_sections=false keeps them), 24 not drawn)",
        f"{tmp_path}/curated.txt: ids that belong to no report: 1",
    ]
    manifest = json.loads((tmp_path / "mimic_10.jsonl.manifest.json").read_text())
    assert manifest["counts"] == asdict(
        Counts(40, 10, excluded=2, without_sections=4, not_sampled=24, unmatched_exclude_ids=1)
    )
    assert set(manifest["inputs"]) == {str(mimic), f"{tmp_path}/curated.txt"}
    assert manifest["config"]["sample"] == 10
    assert "Nodule" not in json.dumps(manifest)


def test_a_table_of_notes(tmp_path: Path, run: Callable) -> None:
    notes = tmp_path / "notes.csv"
    with notes.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["NOTE_ID", "MRN", "NOTE", "MOD", "READER"])
        writer.writerow(["a1", "m1", "HISTORY: Cough.\nFINDINGS: Clear.\nIMPRESSION: Normal.", "CR", "R1"])
    output = tmp_path / "wcm.jsonl"
    columns = ("id_column=NOTE_ID", "patient_column=MRN", "text_column=NOTE", "modality_column=MOD")
    finished = run("source=table", f"input={notes}", f"output={output}", *columns)
    assert finished.stdout.splitlines() == [
        f"{notes}: CSV in UTF-8, cells separated by ','; 1 reports in English, 1 with findings, 1 with an impression; "
        "headings: HISTORY 1, FINDINGS 1, IMPRESSION 1",
        f"{output}: 1 reports (1 read)",
    ]
    report = report_from_sections("a1", "m1", "Clear.", "Normal.", "table")
    assert list(read_reports(output)) == [replace(report, modality="CR")]
    assert finished.stderr == f"{notes}: fields that are not used: READER\n"


def test_synthetic_reports_come_with_their_truth(tmp_path: Path, run: Callable) -> None:
    # A file's name need not be UTF-8.
    names = (os.fsdecode(b"q\xff.jsonl"), "labels.csv", "phrases.jsonl")
    output, labels, phrases = (tmp_path / name for name in names)
    finished = run(
        "source=synthetic", "count=40", "cohort=wcm", "sample=30", f"output={output}",
        f"gold_labels={labels}", f"gold_phrases={phrases}",
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    texts = {report.report_id: report.text for report in read_reports(output)}
    assert len(texts) == 30
    assert list(read_labels(labels, load_task("multiple_choice")).answers) == list(texts)
    rows = [json.loads(line) for line in phrases.read_text().splitlines()]
    assert [row["report_id"] for row in rows] == list(texts)
    assert sum(len(row["phrases"]) for row in rows) > 10
    for row in rows:
        assert row["labels"] == [phrase["phrase"] for phrase in row["phrases"]]
        for phrase in row["phrases"]:
            assert texts[row["report_id"]][phrase["start"] : phrase["end"]].lower() == phrase["phrase"].lower()
            assert phrase["icd10"]
    for made in (output, labels, phrases):
        assert json.loads(manifest_path(made).read_text())["output"]["path"] == str(made)


@pytest.mark.parametrize(("cohort", "task"), [("mimic", "multiple_choice"), ("msk_held_out", "differential")])
def test_the_truth_of_few_reports_is_a_table_of_their_cohorts_task(
    run: Callable, tmp_path: Path, cohort: str, task: str
) -> None:
    output, labels = tmp_path / "reports.jsonl", tmp_path / "labels.csv"
    finished = run("source=synthetic", "count=2", f"cohort={cohort}", f"output={output}", f"gold_labels={labels}")
    assert finished.returncode == 0, finished.stderr
    assert read_labels(labels, load_task(task)).answers.keys() == {report.report_id for report in read_reports(output)}


def test_a_source_is_one_file(tmp_path: Path) -> None:
    """Dropped into the package, it is a source, with keys of its own, and in ``--help``."""
    toy = """from dataclasses import dataclass
from radtune.config import key
from radtune.report import report_from_text
@dataclass
class Keys:
    word: str = key("What reports say.")
def read(keys):
    yield report_from_text("1", None, f"FINDINGS: {keys.word}", "toy")
"""
    shutil.copytree(ROOT / "radtune", tmp_path / "radtune")
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "prepare_reports.py", tmp_path / "scripts")
    shutil.copytree(ROOT / "configs" / "tasks", tmp_path / "configs" / "tasks")
    (tmp_path / "radtune" / "sources" / "toy.py").write_text(toy)
    command = [sys.executable, "scripts/prepare_reports.py"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    for arguments, said in (
        (["source=toy", "word=Clear.", "output=r.jsonl"], "r.jsonl: 1 reports (1 read)\n"),
        (["--help"], "source=toy: What reports say."),
    ):
        finished = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, cwd=tmp_path, env=environment, check=True
        )
        assert said in finished.stdout
    assert [report.findings for report in read_reports(tmp_path / "r.jsonl")] == ["Clear."]


def test_bad_input_leaves_what_was_there_and_shows_no_report(tmp_path: Path, run: Callable) -> None:
    table, output = tmp_path / "notes.csv", tmp_path / "reports.jsonl"
    output.write_text("from before")
    table.write_bytes(b"uid,text\n1,FINDINGS: the secret word\n2,FINDINGS: the secret caf\x81\n")
    finished = run("source=table", f"input={table}", f"output={output}")
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr.startswith(f"prepare_reports.py: error: {table}: line ")
    assert finished.stderr.count("\n") == 1
    assert "secret" not in finished.stderr
    table.write_text("uid,text\n1,FINDINGS: the secret word\n1,FINDINGS: the secret word\n")
    finished = run("source=table", f"input={table}", f"output={output}")
    assert finished.returncode == 2 and "secret" not in finished.stderr
    assert output.read_text() == "from before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.csv", "reports.jsonl"]


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    output = tmp_path / "r.jsonl"
    command = [sys.executable, "scripts/prepare_reports.py", "source=synthetic", "count=10000000", f"output={output}"]
    with subprocess.Popen(
        [*command, "sample=5"], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
    ) as process:
        while not list(tmp_path.iterdir()):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (130, "prepare_reports.py: interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_the_benchmark_runs(succeeds) -> None:
    finished = succeeds(ROOT / "benchmarks" / "bench_prepare.py", "count=30", "sample=10")
    assert "30 reports" in finished.stdout
    assert "MiB peak" in finished.stdout
