import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_prints_seconds_of_both_tasks() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "bench_metrics.py"), "reports=50", "runs=1"],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 8
    assert all(re.fullmatch(r"(multiple_choice|open_ended): .*: \d+\.\d+ s", line) for line in lines)
