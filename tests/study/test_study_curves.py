import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torchtune.training.metric_logging import DiskLogger

from radtune.study.curves import newest_curve


def test_what_torchtunes_logger_writes_is_read(tmp_path: Path) -> None:
    logger = DiskLogger(str(tmp_path / "logs"))
    for step in range(1, 4):
        logger.log_dict({"loss": 1 / step, "lr": 1e-4, "tokens_per_second_per_gpu": 70.5}, step)
    logger.log("validation_loss", 0.7, 3)
    logger.close()
    curve = newest_curve(tmp_path)
    assert curve is not None
    assert curve.training == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert curve.validation == [(3, 0.7)]


def test_json_lines_are_read_also_where_the_last_is_torn(tmp_path: Path) -> None:
    rows = [
        {"step": 1, "loss": 0.9},
        {"step": 2, "loss": 0.8},
        {"step": 2, "validation_loss": 0.85},
        {"event": "saved"},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 3, "lo')
    curve = newest_curve(tmp_path)
    assert curve is not None
    assert (curve.training, curve.validation) == ([(1, 0.9), (2, 0.8)], [(2, 0.85)])


def test_the_newest_log_with_losses_counts(tmp_path: Path) -> None:
    for name, loss, time in (("log_1.txt", 3.0, 100), ("log_2.txt", 2.0, 200)):
        (tmp_path / name).write_text(f"Step 1 | loss:{loss} lr:0.1 \n")
        os.utime(tmp_path / name, (time, time))
    (tmp_path / "notes.txt").write_text("no losses here\n")
    curve = newest_curve(tmp_path)
    assert curve is not None
    assert curve.training == [(1, 2.0)]


def test_no_log_no_curve(tmp_path: Path) -> None:
    assert newest_curve(tmp_path) is None
    assert newest_curve(tmp_path / "absent") is None


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats()), min_size=1))
def test_losses_that_are_no_numbers_are_left_out(tmp_path_factory: pytest.TempPathFactory, points: list) -> None:
    folder = tmp_path_factory.mktemp("logs")
    (folder / "log.txt").write_text("".join(f"Step {step} | loss:{loss} lr:nan \n" for step, loss in points))
    finite = [point for point in points if abs(point[1]) < float("inf")]
    curve = newest_curve(folder)
    assert (curve.training if curve else []) == finite
