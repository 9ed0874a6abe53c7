"""Order, learning rates and the plan's warnings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DistributedSampler
from torchtune.training.lr_schedulers import get_cosine_schedule_with_warmup

from radtune.train.history import History
from radtune.train.plan import learning_rates, make_plan, step_rows, steps_per_epoch


@given(st.integers(1, 200), st.integers(1, 50), st.integers(0, 1000), st.integers(0, 3))
def test_every_row_once_an_epoch(rows, rows_per_step, seed, epoch):
    steps = list(step_rows(rows, rows_per_step, seed, epoch))
    assert sorted(index for step in steps for index in step) == list(range(rows))
    assert len(steps) == steps_per_epoch(rows, rows_per_step)
    assert all(len(step) == rows_per_step for step in steps[:-1])


def test_seed_and_epoch_govern_the_order():
    orders = {str(list(step_rows(50, 8, seed, epoch))) for seed, epoch in ((0, 0), (0, 1), (7, 0))}
    assert len(orders) == 3
    sampler = DistributedSampler(range(50), num_replicas=1, rank=0, shuffle=True, seed=0)
    assert [index for step in step_rows(50, 8, 0, 0) for index in step] == list(sampler)


def rates(steps, warmup):
    return learning_rates(
        lambda optimizer: get_cosine_schedule_with_warmup(optimizer, warmup, num_training_steps=steps), 3e-4, steps
    )


def test_learning_rates_are_the_schedules():
    found = rates(200, 100)
    assert found[0] == 0
    assert max(found) == found[100] == pytest.approx(3e-4)
    assert found[199] < 1e-6


def lines(steps, **changes):
    values = {"instructions": [], "rows": [], "cut": 0, "batches": [], "rates": rates(steps, 100), "asked": 3e-4}
    return make_plan(**values | changes)[0]


def test_warns_of_a_warm_up_that_outlasts_training_and_of_cut_rows():
    # The paper's own case: 9,000 rows in batches of 128.
    short = lines(steps_per_epoch(9_000, 128))
    assert any(line.startswith("71 optimizer steps, 70 of them warm-up") for line in short)
    assert any("the learning rate reaches 0.00021, not 0.0003" in line for line in short)
    assert not any("warning" in line for line in lines(200))
    assert any("3 rows reach tokenizer.max_seq_len: their answers are cut" in line for line in lines(200, cut=3))


def test_history_is_cut_back_where_a_run_goes_on(tmp_path):
    path = tmp_path / "history.jsonl"
    history = History(path, 0, 0)
    for step in range(1, 6):
        history.add(step=step, loss=1 / step)
    history.add(step=4, validation_loss=0.5)
    history.close()
    with path.open("a") as stream:
        stream.write('{"step": 6, "lo')
    again = History(path, 4, 0)
    assert [row["step"] for row in again.rows] == [1, 2, 3, 4]
    again.add(step=5, loss=0.1)
    again.close()
    assert len(path.read_text().splitlines()) == 5
    assert path.stat().st_mode & 0o777 == 0o600
