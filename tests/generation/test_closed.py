"""Closed answers: nothing else comes out of any model, and the scores are the probabilities that they claim to be."""

import pytest
import torch

from radtune.config import InputError
from radtune.findings import FINDINGS, NORMAL
from radtune.generation.closed import closed_answers
from radtune.generation.torchtune import TorchtuneEngine
from radtune.tasks import multiple_choice
from radtune.training.rows import prompt_tokens

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
