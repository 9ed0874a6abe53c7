import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from radtune.files import write_jsonl

ROOT = Path(__file__).resolve().parents[1]
OPENI = Path(os.environ.get("OPENI_DIR", "data/openi"))


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "evaluate.py"), *arguments],
        cwd=folder, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """100 predictions, half of them right, and their gold."""
    write_jsonl(
        tmp_path / "predictions.jsonl",
        ({"report_id": str(i), "task": "multiple_choice", "labels": ["Edema"], "status": "ok"} for i in range(100)),
    )
    rows = "".join(f'{i},"{"edema, fracture," if i % 2 else ""}"\n' for i in range(100))
    (tmp_path / "gold.csv").write_text(f"uid,labels\n{rows}")
    return tmp_path


GIVEN = ("task=multiple_choice", "predictions=predictions.jsonl", "gold=gold.csv", "output=out/metrics.json")


def test_scores_are_written_and_shown(folder: Path) -> None:
    done = run(folder, *GIVEN)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((folder / "out/metrics.json").read_text())
    assert (metrics["n_reports"], metrics["micro"]["tp"], metrics["micro"]["fp"]) == (100, 50, 50)
    low, high = metrics["micro"]["ci95"]["f1"]
    assert low < metrics["micro"]["f1"] == 0.5 < high
    assert f"F1 0.500 [{low:.3f}, {high:.3f}]" in done.stdout
    assert "Pleural Effusion" in done.stdout
    assert len(metrics["inputs"]["gold.csv"]) == 64
    assert oct((folder / "out/metrics.json").stat().st_mode & 0o777) == "0o600"
    manifest = json.loads((folder / "out/metrics.json.manifest.json").read_text())
    assert manifest["config"]["gold"] == "gold.csv"


def test_the_same_seed_gives_the_same_file(folder: Path) -> None:
    assert run(folder, *GIVEN).returncode == 0
    first = (folder / "out/metrics.json").read_bytes()
    assert run(folder, *GIVEN).returncode == 0
    assert (folder / "out/metrics.json").read_bytes() == first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("task=open_ended", "predictions.jsonl:1: a row of task 'multiple_choice', expected 'open_ended'"),
        ("gold=absent.csv", "absent.csv: No such file"),
        ("gold_column=names", "gold.csv:2: no column 'names'"),
        ("gold_blank=ignore", "gold_blank=ignore needs a label table"),
        ("gold_blank=maybe", "'maybe' is not one of negative, ignore"),
        ("id_column=accession", "no column 'accession' in predictions.jsonl or gold.csv"),
        ("output=gold.csv", "gold.csv: would overwrite gold.csv"),
        ("output=x/../gold.csv", "would overwrite gold.csv"),
        ("output=link.csv", "link.csv: would overwrite gold.csv"),
        ("seed=-1", "seed must be 0 or more"),
        ("reports=empty.jsonl", "empty.jsonl: no reports"),
        ("predictons=x", "unknown key 'predictons'; did you mean 'predictions'?"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(folder: Path, change: str, message: str) -> None:
    (folder / "x").mkdir()
    (folder / "link.csv").symlink_to("gold.csv")
    (folder / "empty.jsonl").touch()
    before = sorted(path.name for path in folder.iterdir())
    gold = (folder / "gold.csv").read_bytes()
    done = run(folder, *GIVEN, change)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (folder / "gold.csv").read_bytes() == gold
    assert sorted(path.name for path in folder.iterdir()) == before


def test_reports_narrow_both_sides_and_name_the_patients(folder: Path) -> None:
    reports = [{"report_id": str(i), "patient_id": str(i // 5), "text": "made up"} for i in range(40)]
    write_jsonl(folder / "reports.jsonl", reports)
    done = run(folder, *GIVEN, "reports=reports.jsonl")
    assert done.returncode == 0, done.stderr
    assert "gold.csv: 60 reports left out, not in reports.jsonl" in done.stdout
    metrics = json.loads((folder / "out/metrics.json").read_text())
    assert metrics["n_reports"] == 40
    assert metrics["bootstrap"] | {"unit": "patient", "n_units": 8} == metrics["bootstrap"]


def test_heavy_packages_stay_out(folder: Path) -> None:
    script = (
        "import runpy, sys; sys.argv[0] = 'evaluate.py'; "
        f"runpy.run_path({str(ROOT / 'evaluate.py')!r}, run_name='__main__'); "
        "print(sorted({'torch', 'pandas', 'sklearn', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *GIVEN],
        cwd=folder, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.skipif(not (OPENI / "gold_labels.csv").exists(), reason="Open-i is not here (OPENI_DIR)")
def test_open_i_gold_scores_itself_perfectly(tmp_path: Path) -> None:
    gold = (OPENI / "gold_labels.csv").resolve()
    arguments = ("task=multiple_choice", f"predictions={gold}", f"gold={gold}", "output=m.json")
    for blank in ("negative", "ignore"):
        done = run(tmp_path, *arguments, f"gold_blank={blank}")
        assert done.returncode == 0, done.stderr
        assert json.loads((tmp_path / "m.json").read_text())["micro"]["ci95"]["f1"] == [1.0, 1.0]
