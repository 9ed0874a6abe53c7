"""Prices are read strictly, an estimate needs nobody, and a budget is never passed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radtune.ask.costs import (
    FREE,
    PRICES_FILE,
    Budget,
    Price,
    check_budget,
    estimate,
    find_price,
    most_tokens_of,
    price_at,
)
from radtune.config import InputError
from radtune.engines.guard import Endpoint, find_endpoint
from radtune.engines.prompt import Prompt, Response, Sampling

PRICE = Price(5.0, 15.0, 0.5, "2026-01-31", "a list", "some-model")
SAMPLING = Sampling(0.0, 1024)
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
        ("some-model-pro-2025-01-01", None),
        ("some-model-", None),
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
        ("  date: 2026-01-31\n", "", "list 1: missing required key: date"),
        ("input: 5.00", "input: -5", "list 1: models.some-model.input: expected 0 or more and at most"),
        ("input: 5.00", "input: .inf", "models.some-model.input: expected a finite number"),
        ("input: 5.00", f"input: 1{'0' * 400}", "models.some-model.input: expected float"),
        ("some-model-2024-05-13", "some-model", "not valid YAML"),
        (LIST, LIST + LIST, "some-model stands twice"),
    ],
)
def test_a_broken_list_is_told_with_its_place(prices, old, new, said):
    assert old in LIST
    prices.write_text(LIST.replace(old, new))
    with pytest.raises(InputError, match=rf"prices\.yaml.*{said}"):
        find_price("some-model", prices)


def test_a_limit_that_could_not_be_kept_is_refused(prices):
    check_budget(None, None, "some-model", SAMPLING, prices)
    check_budget(1.0, PRICE, "some-model", SAMPLING, prices)
    check_budget(1.0, FREE, "some-model", Sampling(0.0, None), prices)
    with pytest.raises(InputError, match="max_tokens"):
        check_budget(1.0, PRICE, "some-model", Sampling(0.0, None), prices)
    with pytest.raises(InputError, match=r"'my-deployment'.*add to .*prices\.yaml") as error:
        check_budget(1.0, None, "my-deployment", SAMPLING, prices)
    # The line that the refusal proposes can be added as it is.
    line = str(error.value).split("under models: ")[1].split(" (US")[0]
    prices.write_text(f"{LIST}    {line}\n")
    assert find_price("my-deployment", prices).output == 10.0


def prompt(message):
    return Prompt("r", "", message, "llama3_chat", "")


def test_the_estimate_counts_calls_tokens_and_price_and_needs_nobody():
    around = len(prompt("").message)

    def text(price, endpoint, sampling=SAMPLING, model="some-model"):
        return estimate([prompt("x" * (4000 - around))] * 1000, sampling, price, model, endpoint)

    said = text(PRICE, OPENAI)
    assert "1,000 calls to some-model at api.openai.com" in said
    assert "about 1,000,000 tokens of prompts and 200,000 of answers" in said
    assert "price: $5 and $15 per million tokens of prompts and answers (2026-01-31, a list)" in said
    assert "about $8.00, $35.44 at the very most" in said
    assert "about $4.00, $17.72 at the very most" in text(PRICE.in_batch, OPENAI)
    assert "10,000 of answers" in text(PRICE, OPENAI, Sampling(0.0, 10))
    dated = text(PRICE, OPENAI, Sampling(0.0, None), "some-model-2025-01-01")
    assert "(listed as some-model, 2026-01-31, a list)" in dated and "without max_tokens no limit" in dated
    assert f"no price known for some-model; {PRICES_FILE.name} says how" in text(None, OPENAI)
    assert "no cost: a server on this machine" in text(FREE, LOOPBACK)
    assert "calls to data/mini at this machine" in (said := text(FREE, None, model="data/mini"))
    assert "no cost: a model on this machine" in said
    assert FREE.in_batch == FREE
    assert price_at(None, "data/mini") is FREE


@given(st.text())
def test_a_text_has_no_more_tokens_than_bytes(text):
    assert most_tokens_of(text) >= len(text.encode("utf-8", "replace")) >= len(text)


OUTCOMES = st.sampled_from(["counted", "uncounted", "timeout", "429 rate_limit_exceeded", "refused"])


@settings(max_examples=150)
@given(st.data(), st.floats(0.001, 0.2), st.integers(1, 8))
def test_whatever_is_in_flight_and_however_it_ends_the_limit_holds(data, max_cost, in_flight):
    budget, bill, under_way = Budget(max_cost, PRICE), 0.0, []
    sampling = Sampling(0.0, 300, schema={"type": "object"})

    def count(sent):
        # The worst that a server may count: every byte a token, every answer to its end.
        most = most_tokens_of(sent.message)
        return {"prompt_tokens": data.draw(st.integers(0, most)), "completion_tokens": data.draw(st.integers(0, 300))}

    for number in range(60):
        if len(under_way) == in_flight:
            sent = under_way.pop(data.draw(st.integers(0, in_flight - 1)))
            while True:
                outcome, usage = data.draw(OUTCOMES), count(sent)
                bill += 0.0 if outcome[0].isdigit() else PRICE.cost(*usage.values())
                responses = {
                    "counted": Response("x", True, usage=usage),
                    "uncounted": Response("x", True),
                    "refused": Response("", True, refused=True),
                }
                response = responses.get(outcome) or Response("", True, error=outcome)
                if not (response.error and data.draw(st.booleans()) and budget.pay_again(sent, response)):
                    break
            budget.settle(sent, response)
        asked = prompt(f"{number}:" + "m" * data.draw(st.integers(1, 1200)))
        if budget.admit(asked, sampling):
            under_way.append(asked)
        assert bill <= budget.spent + 1e-9
        assert budget.spent <= max_cost + 1e-9
    for sent in under_way:
        budget.settle(sent, Response("", True, error="timeout"))
    assert budget.spent <= max_cost + 1e-9


def test_what_was_reserved_and_not_used_can_be_spent():
    budget, longest = Budget(0.02, PRICE), Sampling(0.0, 1000)
    assert budget.admit(prompt("x"), longest) and not budget.admit(prompt("y"), longest)
    budget.settle(prompt("x"), Response("y", True, usage={"prompt_tokens": 10, "completion_tokens": 10}))
    assert budget.spent == pytest.approx(0.0002) and budget.admit(prompt("y"), longest)
    budget.settle(prompt("y"), Response("", True, error="500"))
    assert budget.spent == pytest.approx(0.0002)


def test_spend_is_shown_where_there_is_a_price():
    budget = Budget(5.0, PRICE)
    budget.admit(prompt("x"), Sampling(0.0, 100_000))
    budget.settle(prompt("x"), Response("y", True, usage={"prompt_tokens": 1, "completion_tokens": 100_000}))
    assert budget.shown() == ", $1.50 of $5.00 spent"
    assert Budget(None, PRICE).shown() == ", $0.00 spent"
    assert Budget(None, None).shown() == Budget(None, FREE).shown() == ""
