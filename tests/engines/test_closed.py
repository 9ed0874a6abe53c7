"""Closed answers: nothing else comes out of any model, and the scores are the probabilities that they claim to be."""

import random
from itertools import compress

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from radtune.config import InputError
from radtune.engines.closed import answer_tree, closed_answers, likely_answer
from radtune.engines.local import TorchtuneEngine, generate
from radtune.findings import FINDINGS, NORMAL
from radtune.models.tokenizer import prompt_tokens
from radtune.tasks import multiple_choice

TASK = "multiple_choice"


def test_there_is_one_answer_for_each_set_of_classes():
    answers = closed_answers(TASK)
    assert len(set(answers)) == 2 ** len(FINDINGS)
    assert f"['{NORMAL}']" in answers
    with pytest.raises(ValueError, match="not closed"):
        closed_answers("open_ended")


@pytest.mark.parametrize("temperature", [0.0, 1.0, 50.0])
def test_a_random_model_gives_valid_answers_alone(random_model, make_prompts, respond, temperature):
    engine = TorchtuneEngine(random_model, 16)
    responses = respond(engine, make_prompts(TASK, 40), task=TASK, temperature=temperature)
    allowed = set(closed_answers(TASK))
    assert all(response.text in allowed and response.finished for response in responses)
    if temperature > 1:
        assert len({response.text for response in responses}) > 10


def test_the_model_goes_on_where_evidence_is_wanted(random_model, make_prompts, respond):
    responses = respond(TorchtuneEngine(random_model, 4), make_prompts(TASK, 6), task=TASK, go_on=True)
    allowed = set(closed_answers(TASK))
    assert all(response.text.partition("]")[0] + "]" in allowed for response in responses)
    assert any(response.text.partition("]")[2] for response in responses)


def test_a_limit_that_would_cut_answers_is_refused(mini, make_prompts, respond):
    with pytest.raises(InputError, match="max_new_tokens=20 would cut closed answers"):
        respond(TorchtuneEngine(mini, 4), make_prompts(TASK, 1), task=TASK, max_new_tokens=20)


some_classes = st.lists(st.booleans(), min_size=len(FINDINGS), max_size=len(FINDINGS)).map(
    lambda chosen: list(compress(FINDINGS, chosen))
)


@given(some_classes, some_classes, st.integers(0, 400))
def test_a_likely_answer_keeps_what_is_written_and_names_what_is_expected(written, expected, length):
    text = multiple_choice.encode(written)[:-1][:length]
    likely = likely_answer(text, expected)
    # A comma calls for another class: all that are expected may have had their place.
    whole = [name for name in FINDINGS if f"'{name}'," in text]
    assert likely is not None or text.endswith(("',", "', ", "', '"))
    if likely is not None:
        assert likely.startswith(text)
        assert likely == multiple_choice.encode(labels := multiple_choice.decode(likely).labels)
        last = FINDINGS.index(whole[-1]) if whole else -1
        begun = text.rpartition("', '")[2] if whole else text.removeprefix("['")
        if not begun:
            assert labels == (*whole, *(name for name in FINDINGS[last + 1 :] if name in expected))


@pytest.fixture(scope="module")
def tree(mini):
    return answer_tree(
        closed_answers(TASK),
        lambda text: mini.tokenizer.encode(text, add_bos=False, add_eos=False),
        lambda tokens: mini.tokenizer.decode(tokens, truncate_at_eos=False),
    )


@given(some_classes, some_classes)
def test_a_draft_stops_at_choices(tree, answer, expected):
    tokens, node, written = tree.tokens[multiple_choice.encode(answer)], tree.root, []
    for token in tokens:
        if len(node.children) > 1:
            ahead, places = tree.draft(node, written, expected)
            assert places[0] == 0 and sorted(set(places)) == places and places[-1] == len(ahead)
            here = node
            for place, following in enumerate([*ahead, None]):
                assert (len(here.children) > 1) == (place in places)
                here = here.children.get(following)
        node = node.children[token]
        written.append(token)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("model", ["mini", "random_model"])
def test_drafts_change_no_answer(request, make_prompts, tree, model, temperature):
    checkpoint = request.getfixturevalue(model)
    prompts = [prompt_tokens(checkpoint.tokenizer, prompt.message) for prompt in make_prompts(TASK, 9)]
    seeds = [str(number) for number in range(len(prompts))]

    def texts(expect, batch_size=4, **options):
        answers = dict(
            generate(checkpoint, prompts, seeds, batch_size, 60, temperature, tree=tree, expect=expect, **options)
        )
        return [answers[index].text for index in range(len(prompts))]

    none = texts(lambda index: ())
    own = [multiple_choice.decode(text).labels for text in none]
    chance = random.Random(0)  # noqa: S311  (no secret)
    some = [chance.sample(FINDINGS, chance.randrange(14)) for _ in prompts]
    assert texts(lambda index: own[index]) == none
    assert texts(lambda index: some[index]) == none
    assert texts(lambda index: some[index], batch_size=1) == none
    assert texts(lambda index: FINDINGS) == none
    # With evidence, what the model goes on with does not depend on it either.
    assert texts(lambda index: own[index], go_on=True) == texts(lambda index: (), go_on=True)


def test_an_answer_that_was_drafted_takes_no_pass(mini, make_prompts, tree):
    prompts = [prompt_tokens(mini.tokenizer, prompt.message) for prompt in make_prompts(TASK, 16)]
    passes = []
    hook = mini.model.tok_embeddings.register_forward_hook(lambda *_: passes.append(1))

    def answer(expect):
        passes.clear()
        answers = dict(generate(mini, prompts, [""] * 16, 16, 100, 0.0, tree=tree, expect=expect))
        return [multiple_choice.decode(answers[index].text).labels for index in range(16)], len(passes)

    try:
        own, undrafted = answer(lambda index: ())
        drafted, passes_drafted = answer(lambda index: own[index])
    finally:
        hook.remove()
    assert drafted == own
    assert max(map(len, own)) > 1
    # What all prompts begin with, and the rest of all of them with their drafts.
    assert passes_drafted == 2 < undrafted


def chance(checkpoint, prompt, answers, beginning, continuation):
    """The probability of a continuation among all that closed answers allow, by plain passes without a cache."""
    tokenizer = checkpoint.tokenizer
    rows = [tokens for answer, tokens in answers.items() if answer.startswith(beginning)]
    fitting = [tokens for answer, tokens in answers.items() if answer.startswith(beginning + continuation)]
    begun = tokenizer.encode(beginning, add_bos=False, add_eos=False)
    total = 1.0
    while not tokenizer.decode(begun, truncate_at_eos=False).startswith(beginning + continuation):
        allowed = sorted({row[len(begun)] for row in rows if row[: len(begun)] == begun})
        with torch.inference_mode():
            logits = checkpoint.model(torch.tensor([[*prompt, *begun]]))[0, -1, allowed]
        chances = dict(zip(allowed, torch.softmax(logits.double(), 0).tolist(), strict=True))
        (token,) = {row[len(begun)] for row in fitting if row[: len(begun)] == begun}
        total *= chances[token]
        begun.append(token)
    return total


def test_scores_are_the_probabilities_they_claim_to_be(mini, make_prompts, respond):
    prompts = make_prompts(TASK, 6)
    responses = respond(TorchtuneEngine(mini, 3), prompts, task=TASK, scores=True)
    place = next(n for n, response in enumerate(responses) if len(multiple_choice.decode(response.text).labels) == 2)
    prompt = prompt_tokens(mini.tokenizer, prompts[place].message)
    first, second = multiple_choice.decode(responses[place].text).labels
    answers = {answer: mini.tokenizer.encode(answer, add_bos=False, add_eos=False) for answer in closed_answers(TASK)}
    at = [-1, FINDINGS.index(first), FINDINGS.index(second)]
    beginnings = ["['", f"['{first}", f"['{first}', '{second}"]
    expected = []
    for step, (last, beginning) in enumerate(zip(at, beginnings, strict=True)):
        comma = "" if step == 0 else "', '"
        mass = {name: chance(mini, prompt, answers, beginning, f"{comma}{name}") for name in FINDINGS[last + 1 :]}
        end = chance(mini, prompt, answers, beginning, NORMAL if step == 0 else "']")
        assert sum(mass.values()) + end == pytest.approx(1)
        until = at[step + 1] + 1 if step < 2 else len(FINDINGS)
        for index in range(last + 1, until):
            behind = sum(mass[name] for name in FINDINGS[index:]) + end
            expected.append(mass[FINDINGS[index]] / behind)
    assert responses[place].scores == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("model", ["mini", "random_model"])
def test_scores_go_with_the_answers(request, make_prompts, respond, model):
    checkpoint = request.getfixturevalue(model)
    prompts = make_prompts(TASK, 20)
    plain = respond(TorchtuneEngine(checkpoint, 8), prompts, task=TASK)
    scored = respond(TorchtuneEngine(checkpoint, 8), prompts, task=TASK, scores=True)
    assert [response.text for response in scored] == [response.text for response in plain]
    for response in scored:
        labels = multiple_choice.decode(response.text).labels
        for name, score in zip(FINDINGS, response.scores, strict=True):
            assert 0 <= score <= 1
            assert name in labels or score <= 0.5
    alone = [respond(TorchtuneEngine(checkpoint, 1), [prompt], task=TASK, scores=True)[0] for prompt in prompts[:4]]
    for ours, theirs in zip(alone, scored, strict=False):
        assert ours.scores == pytest.approx(theirs.scores, abs=1e-4)
