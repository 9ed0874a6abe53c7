import re


def test_prints_seconds_of_each_task(run_here, monkeypatch) -> None:
    tasks = ("multiple_choice", "open_ended")
    monkeypatch.setattr("radtune.tasks.task_names", lambda: tasks)
    done = run_here("benchmarks/bench_metrics.py", "reports=50", "runs=1")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [task for task in tasks for _ in range(4)]
    assert all(re.fullmatch(r"\w+: .*: \d+\.\d+ s", line) for line in lines)
