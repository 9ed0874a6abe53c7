"""Ledgers that earlier versions wrote: nothing in them is asked or paid for again.

The keys were made by the version before (commit 99187aa) for the same report and settings.
"""

import json

import pytest
from scripted_engine import CLASSES, PHRASES, asking, label, model_of

from radtune.ask.ledger import Ledger
from radtune.ask.questions import asked_again, old_row_keys, questions_for
from radtune.ask.run import Run
from radtune.engines.choose import Model
from radtune.engines.prompt import Sampling

TEACHER = "1654a5c7b9e3fa1ae88dd293e5d56f31835c0de68a934d138f1378d1eb321925"
SECOND = "5f9747aa8f4d55b7ab95480357a82c1991b6c5aa2d53653959acaf6bf15f91aa"
VOTES = (
    "04bc9391f1ce0bf9f45f1033de6aa6ce914e8636d45b7ab22cc25c112ab20762",
    "0da0a48752864c9afdc42922c51dffb0817c502b9525c1b88a7d7072c075e86b",
)
CLOSED = Sampling(0.1, 150, CLASSES.grammar(), go_on=True, scores=True)
SETTINGS = {"engine": "torchtune", "model": [["model.safetensors", 1, 2]], "adapter": None, "quantization": None}
ROW = "b45ca3dce0f0398825beaf0099e2af1c8c6980f75fab0358df1a8d33633d940c"
VERIFIED = "3e6c261bb060ef6d3f26d91043ed2414327966bbf19f05cf42adff626cb97754"
SERVED = "68da0af59cff426ba597992afd6d7e1e94e6022326c8f83c60029b58f14ddac2"


@pytest.fixture
def closed_asking():
    return asking(
        task=CLASSES, use="inference", sampling=CLOSED, seed=3, samples=2, vote="union", evidence=True, verify=True
    )


def no_answer(prompt):
    raise AssertionError("asked again")


def write(path, *lines):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps({"key_sha256": key} | answer) + "\n" for key, answer in lines))


def answer(response, **more):
    return {
        "report_id": "r0", "task": "open_ended", "vote": 0, "asked_again": False, "response": response,
        "finished": True, "refused": False, "finish_reason": "stop", "as_json": False,
        "usage": {"prompt_tokens": 9, "completion_tokens": 1}, "model": "some-model", "model_returned": "m-2024",
        "fingerprint": None, "temperature": 0.0, "max_tokens": 64, "prompt_sha256": "x", "seed_example_ids": ["s01"],
        "endpoint": "api.openai.com", "created": "2026-11-01T00:00:00+00:00", **more,
    }  # fmt: skip


def test_a_teachers_answers_are_taken_over_with_their_second_ones(reports, path):
    first = next(questions_for(reports[0], asking(), model_of(None)))
    assert (first.old_key_sha256, asked_again(first, "Too long.").old_key_sha256) == (TEACHER, SECOND)
    complaint = "Your earlier answer held no list that could be read. Begin with: Output: ["
    again = asked_again(first, complaint).old_key_sha256
    write(path, (TEACHER, answer("?")), (again, answer("['zebra effusion']", asked_again=True)))
    for _ in range(2):
        outcome, (row,), _ = label(reports[:1], path, asking(reask=True), no_answer)
        assert (outcome.asked, row["labels"], row["asked_again"]) == (0, ["zebra effusion"], True)
        assert (row["model_returned"], row["endpoint"], row["seed_example_ids"]) == (
            "m-2024",
            "api.openai.com",
            ["s01"],
        )


def test_earlier_keys_count_in_ledgers_taken_over_alone_and_for_what_a_teacher_was_asked(reports, path):
    closed = [Sampling(0.0, 64, CLASSES.grammar()), Sampling(0.0, 64, go_on=True), Sampling(0.0, 64, scores=True)]
    others = [(sampling, model_of(None)) for sampling in closed] + [(CLOSED, model_of(None, engine_name="torchtune"))]
    others.append((Sampling(0.0, 64), model_of(None, engine_name="torchtune")))
    for sampling, model in others:
        question = next(questions_for(reports[0], asking(task=CLASSES, sampling=sampling), model))
        assert question.old_key_sha256 is asked_again(question, "Too long.").old_key_sha256 is None
    # An answer to what differs from the old key alone: a seed, which that did not hold.
    asked = asking(task=CLASSES, temperature=1.0, seed=8)
    old = next(questions_for(reports[0], asked, model_of(None))).old_key_sha256
    with Ledger(path) as ledger:
        ledger.append(old, answer("['Fracture']"))
    outcome, (row,), _ = label(reports[:1], path, asked, lambda prompt: "['Edema']")
    assert (outcome.asked, row["labels"]) == (1, ["Edema"])


def test_a_teachers_votes_at_a_temperature_are_taken_over(reports, path):
    held = Sampling(1.0, None, schema=CLASSES.json_schema())
    asked = asking(task=CLASSES, use="inference", sampling=held, seed=0, samples=2)
    assert tuple(q.old_key_sha256 for q in questions_for(reports[0], asked, model_of(None))) == VOTES
    # By the key that earlier schemas had.
    found = answer('{"diseases": ["Edema"]}', as_json=True)
    write(path, *((key, found | {"vote": vote}) for vote, key in enumerate(VOTES)))
    outcome, (row,), _ = label(reports[:1], path, asked, no_answer)
    assert (outcome.asked, row["labels"], row["agreement"]) == (0, ["Edema"], {"Edema": 1.0})


def test_whole_rows_of_inference_are_taken_over_as_they_are(reports, path, closed_asking):
    model = Model(lambda: None, "data/mini", None, SETTINGS | {"dtype": "torch.float32"})
    assert old_row_keys(reports[0], closed_asking, model) == (ROW, VERIFIED)
    row = {"report_id": "r0", "task": "multiple_choice", "labels": ["Edema"], "response": "['Edema']", "status": "ok"}
    row |= {"evidence": [], "unsupported": [], "denied": ["Fracture"]}
    write(path, (ROW, row | {"labels": ["Edema", "Fracture"]}), (VERIFIED, row))
    with Ledger(path) as ledger:
        run = Run(reports[:1], closed_asking, model, ledger)
        run.ask()
        assert list(run.rows()) == [row] and run.outcome.asked == 0


def test_a_row_that_was_not_verified_yet_is_verified_alone(reports, path):
    asked = asking(task=PHRASES, use="training", sampling=Sampling(0.0, 150), seed=0, prompt_format="alpaca")
    assert old_row_keys(reports[0], asked, model_of(None, "m"))[0] == SERVED
    asked = asking(task=CLASSES, use="inference", sampling=Sampling(0.0, 150), verify=True)
    row = {"report_id": "r0", "task": "multiple_choice", "labels": ["Edema"], "response": "['Edema']", "status": "ok"}
    write(path, (old_row_keys(reports[0], asked, model_of(None))[0], row))
    outcome, rows, engine = label(reports[:1], path, asked, lambda prompt: "No.")
    assert (outcome.asked, rows) == (1, [row | {"labels": [], "denied": ["Edema"]}])
    assert "Condition: Edema" in engine.prompts[0].instruction
