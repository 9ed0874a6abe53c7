import gzip
import json
import stat
from pathlib import Path

import pytest

from radtune.label_files import label_columns, write_label_table
from radtune.tasks import load_task

ROOT = Path(__file__).resolve().parents[2]
MC = load_task("multiple_choice")
SCRIPT = ROOT / "scripts" / "compare_labels.py"


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    """A table of ours and one laid out as MIMIC-CXR's official ones: two id columns, floats, classes by alphabet."""
    ours, official = tmp_path / "labels.csv", tmp_path / "mimic-cxr-2.0.0-negbio.csv.gz"
    write_label_table(ours, MC, {"501": {"Edema": 1}, "502": {"Edema": 0, "No Finding": 1}, "503": {"Edema": -1}})
    columns = sorted(label_columns(MC))
    rows = {"502": {"Edema": "0.0", "No Finding": "1.0"}, "501": {"Edema": "1.0"}, "503": {"Edema": "1.0"}}
    with gzip.open(official, "wt", encoding="utf-8") as stream:
        stream.write(",".join(["subject_id", "study_id", *columns]) + "\n")
        for study, labels in rows.items():
            stream.write(",".join(["10", study, *(labels.get(name, "") for name in columns)]) + "\n")
    return ours, official


def test_compares_ours_with_the_official_layout(succeeds, tables: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "out" / "agreement.json"
    done = succeeds(SCRIPT, f"a={tables[0]}", f"b={tables[1]}", f"output={output}")
    edema = next(line for line in done.stdout.splitlines() if line.startswith("Edema"))
    assert edema.split()[1:] == ["0.667", "0.500", "1", "503"]
    written = json.loads(output.read_text())
    assert written["figures"]["n_reports"] == 3
    assert written["differ"]["Edema"] == [{"report_id": "503", "a": -1, "b": 1}]
    assert written["figures"]["per_class_kappa"]["No Finding"] == 1.0
    assert written["figures"]["per_class_kappa"]["Fracture"] is None
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert str(tables[1]) in json.loads((tmp_path / "out" / "agreement.json.manifest.json").read_text())["inputs"]
