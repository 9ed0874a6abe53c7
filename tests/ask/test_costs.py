"""Prices are read strictly, an estimate needs nobody, and a budget is never passed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radtune.ask.costs import (
    TYPICAL_ANSWER_TOKENS,
    Budget,
    check_budget,
    estimate,
    estimate_text,
    most_tokens,
)
from radtune.ask.prices import FREE, PRICES_FILE, Price, find_price, price_at
from radtune.ask.teacher_calls import Sampling
from radtune.config import InputError
from radtune.engines.guard import Endpoint, find_endpoint
from radtune.engines.prompt import Response


def Reply(text="", finished=True, **more):
    return Response(text, finished, **more)


PRICE = Price(5.0, 15.0, 0.5, "2026-01-31", "a list", "some-model")
SAMPLING = Sampling("some-model", 0.0, 1024)
LOOPBACK = Endpoint("http://127.0.0.1:1/v1", "127.0.0.1")
OPENAI = find_endpoint(None, None, None, {})

LIST = """
- source: a list
  date: 2026-01-31
  batch_factor: 0.5
  models:
    some-model: {input: 5.00, output: 15}
    some-model-2024-05-13: {input: 1, output: 2}
"""


@pytest.fixture
def prices(tmp_path):
    path = tmp_path / "prices.yaml"
    path.write_text(LIST)
    return path


@pytest.mark.parametrize(
    ("model", "listed"),
    [
        ("some-model", "some-model"),
        ("some-model-2024-05-13", "some-model-2024-05-13"),
        ("some-model-2025-01-01", "some-model"),
        ("some-model-0613", "some-model"),
        ("some-model-pro", None),
        ("some-model-pro-2025-01-01", None),
        ("some", None),
        ("some-model-", None),
        ("", None),
    ],
)
def test_a_dated_name_has_the_price_of_the_name_before_its_date_and_no_other_has(prices, model, listed):
    price = find_price(model, prices)
    assert (price.model if price else None) == listed
    if listed == "some-model":
        assert price == PRICE


def test_the_list_that_ships_holds_the_papers_model_with_date_and_source():
    price = find_price("gpt-4o-2024-05-13")
    assert (price.input, price.output, price.batch_factor) == (5.0, 15.0, 0.5)
    assert len(price.date) == 10 and price.source.startswith("https://")
    assert find_price("gpt-4o-2024-08-06").model == "gpt-4o"
    assert find_price("gpt-4o-mini-2024-07-18").model == "gpt-4o-mini"
    assert find_price("o1-pro") is None


def test_a_server_on_this_machine_is_free_unless_its_model_is_listed(prices):
    assert price_at(LOOPBACK, "meta-llama/Llama-3.3-70B-Instruct", prices) is FREE
    assert price_at(LOOPBACK, "some-model", prices) == PRICE
    assert price_at(OPENAI, "meta-llama/Llama-3.3-70B-Instruct", prices) is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (LIST, "models: {}", "expected a list"),
        (LIST, "- [", "not valid YAML"),
        ("  date: 2026-01-31\n", "", "list 1: missing required key: date"),
        ("{input: 5.00, output: 15}", "{input: 5.00}", "list 1: missing required key: models.some-model.output"),
        ("input: 5.00", "input: -5", "list 1: models.some-model.input: expected 0 or more and at most"),
        ("input: 5.00", "input: .inf", "models.some-model.input: expected 0 or more and at most"),
        ("input: 5.00", "input: true", "models.some-model.input: expected float"),
        ("input: 5.00", f"input: 1{'0' * 400}", "models.some-model.input: expected float"),
        ("batch_factor: 0.5", "batch_factor: half", "list 1: batch_factor: expected float"),
        ("some-model-2024-05-13", "some-model", "not valid YAML"),
        (LIST, "[" * 5000, "not valid YAML"),
    ],
)
def test_a_broken_list_is_told_with_its_place(prices, old, new, said):
    assert old in LIST
    prices.write_text(LIST.replace(old, new))
    with pytest.raises(InputError, match=rf"prices\.yaml.*{said}"):
        find_price("some-model", prices)


def test_a_model_in_two_lists_is_refused(prices):
    prices.write_text(LIST + LIST)
    with pytest.raises(InputError, match="some-model stands twice"):
        find_price("some-model", prices)


def test_a_limit_that_could_not_be_kept_is_refused(prices):
    check_budget(None, None, SAMPLING)
    check_budget(1.0, PRICE, SAMPLING)
    check_budget(1.0, FREE, Sampling("m", 0.0, None))
    for amount in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="max_cost must be above 0"):
            check_budget(amount, PRICE, SAMPLING)
    with pytest.raises(InputError, match=r"'some-model'.*add to .*prices\.yaml.* some-model: \{input: "):
        check_budget(1.0, None, SAMPLING, prices)
    with pytest.raises(InputError, match="max_tokens"):
        check_budget(1.0, PRICE, Sampling("m", 0.0, None))


def test_the_line_that_the_refusal_proposes_can_be_added_as_it_is(prices):
    with pytest.raises(InputError) as error:
        check_budget(1.0, None, Sampling("my-deployment", 0.0, 8), prices)
    line = str(error.value).split("under models: ")[1].split(" (US")[0]
    prices.write_text(f"{LIST}    {line}\n")
    assert find_price("my-deployment", prices).output == 10.0


def test_an_estimate_counts_calls_tokens_and_price():
    found = estimate(["x" * 4000] * 1000, SAMPLING, PRICE)
    assert (found.calls, found.prompt_tokens, found.completion_tokens) == (1000, 1_000_000, 200_000)
    assert found.cost == pytest.approx(8.0)
    assert found.most == pytest.approx(1000 * (4016 * 5 + 1024 * 15) / 1e6)
    assert estimate(["x"] * 2, Sampling("m", 0.0, 10), PRICE.in_batch).completion_tokens == 20
    assert estimate(["x" * 4000], SAMPLING, PRICE.in_batch).cost == pytest.approx(0.004)
    assert FREE.in_batch is FREE and PRICE.in_batch.in_batch == PRICE.in_batch
    unknown = estimate(iter(["x"]), Sampling("m", None, None), None)
    assert (unknown.cost, unknown.most, unknown.completion_tokens) == (None, None, TYPICAL_ANSWER_TOKENS)
    assert estimate([], SAMPLING, PRICE).most == 0.0


def test_the_estimate_says_what_would_leave_the_machine_and_where_to():
    def text(price, endpoint, sampling=SAMPLING):
        return estimate_text(estimate(["x" * 4000] * 1000, sampling, price), price, sampling, endpoint, "all reports")

    said = text(PRICE, OPENAI)
    assert "1,000 calls to some-model at api.openai.com" in said
    assert "about 1,000,000 tokens of prompts and 200,000 of answers" in said
    assert "price: $5 and $15 per million tokens of prompts and answers (2026-01-31, a list)" in said
    assert "about $8.00, $35.44 at the very most" in said
    assert "all reports would leave this machine, for https://api.openai.com/v1; nothing has been sent" in said
    dated = Sampling("some-model-2025-01-01", 0.0, None)
    assert "(listed as some-model, 2026-01-31, a list)" in text(PRICE, OPENAI, dated)
    assert "without max_tokens no limit" in text(PRICE, OPENAI, dated)
    assert f"no price known for some-model; {PRICES_FILE.name} says how" in text(None, OPENAI)
    assert "no cost: a server on this machine\nnothing would leave this machine" in text(FREE, LOOPBACK)


@given(st.text())
def test_a_text_has_no_more_tokens_than_bytes(text):
    assert most_tokens(text) >= len(text.encode("utf-8", "replace")) >= len(text)


OUTCOMES = st.sampled_from(["counted", "uncounted", "timeout", "429 rate_limit_exceeded", "refused"])


@settings(max_examples=150)
@given(st.data(), st.floats(0.001, 0.2), st.integers(1, 8))
def test_whatever_is_in_flight_and_however_it_ends_the_limit_holds(data, max_cost, in_flight):
    budget, bill, under_way = Budget(max_cost, PRICE, {"type": "object"}), 0.0, []
    for number in range(60):
        message = f"m{number % 3}" * data.draw(st.integers(1, 400))
        if len(under_way) == in_flight:
            sent = under_way.pop(data.draw(st.integers(0, in_flight - 1)))
            outcome = data.draw(OUTCOMES)
            # The worst that a server may count: every byte a token, every answer to its end.
            prompt, answer = data.draw(st.integers(0, most_tokens(sent))), data.draw(st.integers(0, 300))
            usage = {"prompt_tokens": prompt, "completion_tokens": answer}
            bill += 0.0 if outcome[0].isdigit() else PRICE.cost(prompt, answer)
            replies = {
                "counted": Reply("x", usage=usage),
                "uncounted": Reply("x"),
                "refused": Reply(refused=True),
            }
            budget.settle(sent, replies.get(outcome) or Reply(error=outcome))
        if budget.admit(message, 300):
            under_way.append(message)
        assert bill <= budget.spent + 1e-9
        assert budget.spent <= max_cost + 1e-9
    for message in under_way:
        budget.settle(message, Reply(error="timeout"))
    assert budget.spent <= max_cost + 1e-9


def test_what_was_reserved_and_not_used_can_be_spent():
    budget = Budget(0.02, PRICE)
    assert budget.admit("x", 1000) and not budget.admit("x", 1000)
    budget.settle("x", Reply("y", usage={"prompt_tokens": 10, "completion_tokens": 10}))
    assert budget.spent == pytest.approx(0.0002) and budget.admit("x", 1000)
    budget.settle("x", Reply(error="500"))
    assert budget.spent == pytest.approx(0.0002)


def test_what_cannot_be_bounded_is_not_admitted_under_a_limit():
    assert not Budget(1e9, PRICE).admit("x", None)
    assert Budget(None, PRICE).admit("x", None)
    assert Budget(1.0, FREE).admit("x", None)
    with pytest.raises(InputError, match="price"):
        Budget(1.0, None)


def test_what_earlier_starts_spent_counts_where_it_is_given():
    assert not Budget(0.02, PRICE, spent=0.019).admit("x", 1000)


def test_spend_is_shown_where_there_is_a_price():
    budget = Budget(5.0, PRICE)
    budget.admit("x", 100_000)
    budget.settle("x", Reply("y", usage={"prompt_tokens": 1, "completion_tokens": 100_000}))
    assert budget.shown() == ", $1.50 of $5.00 spent"
    assert Budget(None, PRICE).shown() == ", $0.00 spent"
    assert Budget(None, None).shown() == Budget(None, FREE).shown() == ""
    unpriced = Budget(None, None)
    assert unpriced.admit("x", None)
    unpriced.settle("x", Reply("y"))
    assert unpriced.spent == 0.0
