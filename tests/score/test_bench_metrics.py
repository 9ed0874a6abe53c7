import os
import re
import subprocess
import sys
from pathlib import Path

from radtune.tasks import task_names

ROOT = Path(__file__).resolve().parents[2]


def test_prints_seconds_of_each_task() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "bench_metrics.py"), "reports=50", "runs=1"],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [task for task in task_names() for _ in range(4)]
    assert all(re.fullmatch(r"\w+: .*: \d+\.\d+ s", line) for line in lines)
