import re


def test_prints_seconds_of_each_task(succeeds, monkeypatch) -> None:
    tasks = ("multiple_choice", "open_ended")
    monkeypatch.setattr("radtune.tasks.task_names", lambda: tasks)
    done = succeeds("benchmarks/bench_metrics.py", "reports=50", "runs=1")
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [task for task in tasks for _ in range(4)]
    assert all(re.fullmatch(r"\w+: .*: \d+\.\d+ s", line) for line in lines)
