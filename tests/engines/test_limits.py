"""Rate limits in made-up time and in real time: never exceeded in any minute, and used to the full."""

import random
import time
from bisect import bisect_left
from email.utils import formatdate
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radtune.engines.limits import LONGEST_PAUSE_S, Limits, RateLimiter, Window, asked_pause_s


def sent(window, costs, now=0.0, late=lambda: 0.0):
    """When calls go out that all want to go at once, one after another."""
    times = []
    for cost in costs:
        while (wait_s := window.wait_s(now, cost)) > 0:
            now += max(wait_s, 1e-6)
        now += late()
        window.spend(now, cost)
        times.append(now)
    return times


def most_in_a_minute(arrivals, costs):
    """The most that arrives within any 60 s; arrivals in order."""
    sums = [0, *accumulate(costs)]
    return max(sums[bisect_left(arrivals, start + 60)] - sums[index] for index, start in enumerate(arrivals))


@given(
    st.integers(1, 60),
    st.lists(st.tuples(st.integers(1, 20), st.floats(0, 3), st.floats(0, 0.99)), min_size=1, max_size=150),
)
def test_no_minute_exceeds_the_limit_however_late_calls_arrive(limit, calls):
    costs = [min(cost, limit) for cost, _, _ in calls]
    lateness = iter([late for _, late, _ in calls])
    times = sent(Window(limit), costs, late=lambda: next(lateness))
    arrived = sorted((at + delay, cost) for at, cost, (_, _, delay) in zip(times, costs, calls, strict=True))
    assert most_in_a_minute([at for at, _ in arrived], [cost for _, cost in arrived]) <= limit


@pytest.mark.parametrize("limit", [1, 600])
def test_a_limit_is_used_to_the_full_and_evenly(limit):
    chance = random.Random(1)  # noqa: S311
    times = sent(Window(limit), [1] * (limit * 4 + 1), late=lambda: chance.random() * min(0.1, 6 / limit))
    assert (len(times) - 1) / times[-1] * 60 >= 0.95 * limit
    # A second sees its share of the minute, and what was missed in the half second before.
    assert max(bisect_left(times, at + 1) - index for index, at in enumerate(times)) <= limit / 60 * 1.6 + 2


def test_no_limit_is_no_wait_and_what_exceeds_a_limit_by_itself_goes_alone():
    assert sent(Window(None), [10**9] * 100) == [0.0] * 100
    times = sent(Window(100), [1, 500, 1])
    assert times[1] >= 60 and times[2] - times[1] >= 60


def test_a_correction_counts_from_then_on():
    for cost, wait_s in ((10, 0.0), (90, 30.0)):
        window = Window(100)
        spent = window.spend(0.0, 50)
        window.correct(1.0, spent, cost)
        # At 40 s the pace has long allowed more; what counts is the sum.
        assert window.wait_s(31.0, 50) == pytest.approx(wait_s, abs=0.01)
        # What has left the minute cannot be corrected any more.
        assert window.wait_s(62.0, 100) == 0.0
        window.correct(62.0, spent, 10**6)
        assert window.wait_s(62.0, 100) == 0.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "20"}, 20.0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({"retry-after": "86400"}, LONGEST_PAUSE_S),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, LONGEST_PAUSE_S),
        ({"retry-after": "Sat, 01 Jan 2000 00:00:00 GMT"}, 0.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_the_pause_that_a_server_asks_for_is_read(headers, seconds):
    assert asked_pause_s(headers) == seconds
    assert 5 < asked_pause_s({"retry-after": formatdate(time.time() + 10, usegmt=True)}) <= 10


@given(st.text(max_size=12), st.text("0123456789.hmsd-einf", max_size=12))
def test_no_header_breaks_a_run_or_stops_it_for_ever(text, number):
    for value in (text, number):
        pause_s = asked_pause_s({"retry-after": value, "retry-after-ms": value})
        assert pause_s is None or 0 <= pause_s <= LONGEST_PAUSE_S


def test_a_call_counts_by_its_length_and_the_longest_answer_it_may_get():
    def costs(max_new_tokens, usage):
        rate = RateLimiter(Limits(8, 1.0, 0, None, 10**6))
        spent = rate.enter(0.0, 400, max_new_tokens)
        before = spent.cost
        rate.settle(0.0, 400, max_new_tokens, spent, usage)
        return [before, spent.cost, rate.enter(0.0, 400, max_new_tokens).cost]

    assert costs(10, None) == [110, 110, 110]
    # The server counts two characters a token: so will the next call.
    counted = {"prompt_tokens": 200, "completion_tokens": 4}
    assert costs(10, counted) == [110, 210, 210]
    assert costs(None, counted) == [100, 204, 204]
    # It never falls below what prose takes.
    assert costs(10, {"prompt_tokens": 50}) == [110, 60, 110]


def test_a_hold_stops_all_calls_and_a_shorter_one_does_not_end_it():
    rate = RateLimiter(Limits(8, 1.0, 0, 60))
    rate.enter(0.0, 1, 10)
    assert rate.wait_s(1.0, 1, 10) == 0
    rate.hold(1.0, 0.5)
    rate.hold(1.1, 0.1)
    assert rate.wait_s(1.1, 1, 10) == pytest.approx(0.4)
