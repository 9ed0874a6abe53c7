"""Ledgers that earlier versions wrote: nothing in them is asked or paid for again.

The keys were made by the version before (commit 99187aa) for the same report and settings.
"""

import json

import pytest
from refusals import refused
from scripted_engine import CLASSES, PHRASES, asking, label, model_of

from radtune.ask.ledger import Ledger, Said
from radtune.ask.old_ledgers import row_keys, teacher_key
from radtune.ask.questions import questions_for
from radtune.ask.run import Run, ask_together
from radtune.engines.choose import Model
from radtune.engines.prompt import Sampling

TEACHER = "1654a5c7b9e3fa1ae88dd293e5d56f31835c0de68a934d138f1378d1eb321925"
SECOND = "f0f695dad70188749f190c100777077ddcf6c2acf1ac7c005890ba6b83ebf4b8"
VOTES = (
    "04bc9391f1ce0bf9f45f1033de6aa6ce914e8636d45b7ab22cc25c112ab20762",
    "0da0a48752864c9afdc42922c51dffb0817c502b9525c1b88a7d7072c075e86b",
)
CLOSED = Sampling(0.1, 150, CLASSES.grammar(), go_on=True, scores=True)
SETTINGS = {"engine": "torchtune", "model": [["model.safetensors", 1, 2]], "adapter": None, "quantization": None}
MINI = Model(lambda: None, "data/mini", None, SETTINGS | {"dtype": "torch.float32"})
ROW = "b45ca3dce0f0398825beaf0099e2af1c8c6980f75fab0358df1a8d33633d940c"
VERIFIED = "3e6c261bb060ef6d3f26d91043ed2414327966bbf19f05cf42adff626cb97754"
SERVED = "68da0af59cff426ba597992afd6d7e1e94e6022326c8f83c60029b58f14ddac2"


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


def row(labels, response="['Edema']", status="ok", **more):
    return {
        "report_id": "r0",
        "task": "multiple_choice",
        "labels": labels,
        "response": response,
        "status": status,
        **more,
    }


def test_a_teachers_answers_are_taken_over_with_their_second_ones(reports, path):
    first = next(questions_for(reports[0], asking(), model_of(None)))
    assert teacher_key(first, asking(), model_of(None)) == TEACHER
    write(path, (TEACHER, answer("?")), (SECOND, answer("['zebra effusion']", asked_again=True)))
    for _ in range(2):
        outcome, (made,), _ = label(reports[:1], path, asking(reask=True), no_answer)
        assert (outcome.asked, made["labels"], made["asked_again"]) == (0, ["zebra effusion"], True)
        provenance = [made[name] for name in ("model_returned", "endpoint", "seed_example_ids")]
        assert provenance == ["m-2024", "api.openai.com", ("s01",)]


def test_a_teachers_votes_at_a_temperature_are_taken_over(reports, path):
    # By the key that earlier schemas had.
    held = Sampling(1.0, None, schema=CLASSES.json_schema())
    asked = asking(task=CLASSES, use="inference", sampling=held, seed=0, samples=2)
    assert (
        tuple(teacher_key(q, asked, model_of(None)) for q in questions_for(reports[0], asked, model_of(None))) == VOTES
    )
    found = answer('{"diseases": ["Edema"]}', as_json=True)
    write(path, *((key, found | {"vote": vote}) for vote, key in enumerate(VOTES)))
    outcome, (made,), _ = label(reports[:1], path, asked, no_answer)
    assert (outcome.asked, made["labels"], made["agreement"]) == (0, ["Edema"], {"Edema": 1.0})


def test_earlier_keys_count_in_ledgers_taken_over_alone_and_for_what_a_teacher_was_asked(reports, path):
    # What differs from the old key alone: a seed, which that did not hold.
    asked = asking(task=CLASSES, temperature=1.0)
    key = teacher_key(next(questions_for(reports[0], asked, model_of(None))), asked, model_of(None))
    with Ledger(path) as ledger:
        ledger.append(key, Said("['Fracture']", True, False))
    outcome, (made,), _ = label(reports[:1], path, asked, lambda prompt: "['Edema']")
    assert (outcome.asked, made["labels"]) == (1, ["Edema"])
    closed = [Sampling(0.0, 64, CLASSES.grammar()), Sampling(0.0, 64, go_on=True), Sampling(0.0, 64, scores=True)]
    for number, sampling in enumerate([*closed, Sampling(0.0, 64)]):
        model = model_of(None, engine_name="openai" if number < 3 else "torchtune")
        asked, old = asking(task=CLASSES, sampling=sampling), path.with_name(f"{number}.ledger")
        write(old, (teacher_key(next(questions_for(reports[0], asked, model)), asked, model), answer("[]")))
        with Ledger(old) as ledger:
            assert len(Run(reports[:1], asked, model, ledger).missing()) == 1


def test_rows_of_inference_are_taken_over_with_samples_scores_and_what_was_denied(reports, path):
    asked = asking(
        task=CLASSES, use="inference", sampling=CLOSED, seed=3, samples=2, vote="union", evidence=True, verify=True
    )
    assert row_keys(reports[0], asked, MINI) == (ROW, VERIFIED)
    quoting = "['Edema']\nEdema: \"mild edema\""
    votes = [{"labels": [], "status": "ok", "response": text} for text in (quoting, "['Edema', 'Fracture']")]
    scores = dict.fromkeys(CLASSES.classes, 0.25)
    first = row(["Edema", "Fracture"], quoting, votes=votes, scores=scores, cut_words=7)
    write(path, (ROW, first), (VERIFIED, first | {"labels": ["Edema"], "denied": ["Fracture"]}))
    for _ in range(2):
        with Ledger(path) as ledger:
            run = Run(reports[:1], asked, MINI, ledger)
            ask_together([run])
            (made,) = run.rows()
        assert (run.outcome.asked, made["labels"], made["denied"]) == (0, ["Edema"], ["Fracture"])
        assert (made["scores"], made["cut_words"], made["model"]) == (scores, 7, "data/mini")
        assert [one["quote"] for one in made["evidence"]] == ["mild edema"] and len(made["votes"]) == 2


def test_a_row_that_was_not_verified_yet_is_verified_alone(reports, path):
    asked = asking(task=PHRASES, use="training", sampling=Sampling(0.0, 150), seed=0, prompt_format="alpaca")
    assert row_keys(reports[0], asked, model_of(None, "m"))[0] == SERVED
    asked = asking(task=CLASSES, use="inference", sampling=Sampling(0.0, 150), verify=True)
    write(path, (row_keys(reports[0], asked, model_of(None))[0], row(["Edema"])))
    outcome, (made,), engine = label(reports[:1], path, asked, lambda prompt: "No.")
    assert (outcome.asked, made["labels"], made["denied"]) == (1, [], ["Edema"])
    assert "Condition: Edema" in engine.prompts[0].instruction


@pytest.mark.parametrize(
    ("kept", "status", "complaint"),
    [(row([], "?", "unparsed"), "ok", "no list"), (row([], "['Ede", "truncated"), "ok", "too long"),
     (row([], "", "refused"), "refused", None), (row(["Edema"]), "ok", None)],
)  # fmt: skip
def test_a_row_that_cannot_be_used_is_asked_once_more_with_the_reason(reports, path, kept, status, complaint):
    asked = asking(task=CLASSES, use="inference", sampling=Sampling(0.0, 150), reask=True)
    write(path, (row_keys(reports[0], asked, model_of(None))[0], kept))
    outcome, (made,), engine = label(reports[:1], path, asked, lambda prompt: "['Edema']")
    assert (made["status"], made["asked_again"], outcome.asked) == (status, bool(complaint), int(bool(complaint)))
    assert [complaint in prompt.complaint for prompt in engine.prompts] == [True] * outcome.asked


@pytest.mark.parametrize("odd", [{"response": 5}, {"status": None}, {"labels": "zebra"}, {"labels": [{}]}])
def test_an_odd_row_is_told_without_its_text(reports, path, odd):
    asked = asking(task=CLASSES, use="inference", sampling=Sampling(0.0, 150))
    write(path, (row_keys(reports[0], asked, model_of(None))[0], row([], "zebra") | odd))
    with refused("a damaged answer", "zebra"):
        label(reports[:1], path, asked, no_answer)
