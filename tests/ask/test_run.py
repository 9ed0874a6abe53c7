"""A run: what is asked, what is asked again, what it costs, and what it comes to, whatever the engine."""

import json
from dataclasses import replace

import pytest
from scripted_engine import CLASSES, PHRASES, Scripted, asking, label, model_of

import radtune.ask.run as ask_run
from radtune.ask.costs import Budget, Price
from radtune.ask.ledger import Ledger
from radtune.ask.questions import asked_again, questions_for
from radtune.ask.run import Run, ask_together, write_rows
from radtune.config import InputError
from radtune.engines.prompt import Response, Sampling
from radtune.label_files import read_labels
from radtune.report import report_from_sections
from radtune.tasks import prompt_sha256

FAILED = Response("", True, error="500")


def question_for(report, asked, model=None):
    return next(questions_for(report, asked, model or model_of(None)))


def test_labelling_shows_three_drawn_examples_and_inference_the_fixed_ones(reports):
    question = question_for(reports[0], asking())
    drawn = PHRASES.prompt("labelling", "r0", 7)
    assert (question.prompt.instruction, question.example_ids) == (drawn.instruction, drawn.example_ids)
    assert question.prompt_sha256 == prompt_sha256(drawn.instruction)
    assert question.prompt.message.endswith(f"Report to Analyze:\n{reports[0].text}\n\nOutput:")
    inference = question_for(reports[0], asking(use="inference"))
    assert inference.example_ids == PHRASES.prompt("inference").example_ids != question.example_ids


def edited(task):
    """As a person may edit the file of a task: more classes, another order, another word for none."""
    turned, more = task.classes[::-1], (*task.classes, "Gout")
    return [replace(task, classes=turned), replace(task, classes=more), replace(task, none="Nothing")]


def closed(task, at_server=False):
    if at_server:
        return Sampling(0.0, 64, schema=task.json_schema())
    return Sampling(0.0, 64, grammar=task.grammar(), scores=True)


def test_the_key_depends_on_all_that_may_change_the_answer_and_on_nothing_else(reports):
    schema = Sampling(0.0, 64, schema=CLASSES.json_schema())
    variants = [
        *(asking(), asking(task=CLASSES), asking(use="inference"), asking(seed=8), asking(sampling=schema)),
        *(asking(temperature=None), asking(temperature=1.0), asking(longest=65)),
        *(asking(task=CLASSES, sampling=Sampling(0.0, 64, go_on=True)), asking(task=CLASSES, temperature=1.0)),
        asking(task=CLASSES, temperature=1.0, seed=8),
        *(asking(task=task, sampling=closed(task)) for task in (CLASSES, *edited(CLASSES))),
        *(asking(task=task, sampling=closed(task, True)) for task in edited(CLASSES)[:2]),
    ]
    keys = [question_for(reports[0], variant).key_sha256 for variant in variants]
    keys += [question_for(reports[0], asking(), model).key_sha256 for model in (model_of(None, "m"),)]
    keys += [question_for(reports[0], asking(), model_of(None, engine_name="torchtune")).key_sha256]
    keys.append(question_for(replace(reports[0], text="Clear."), asking()).key_sha256)
    assert len(set(keys)) == len(keys)
    # Greedy answers to a prompt without examples need no seed, and how they are counted is no part of a question.
    assert question_for(reports[0], asking(task=CLASSES, seed=8, vote="union")).key_sha256 == keys[1]
    three = list(questions_for(reports[0], asking(samples=3), model_of(None)))
    # So that asking for more samples later asks for no answer again.
    assert three[0] == question_for(reports[0], asking())
    assert len({question.key_sha256 for question in three}) == len({q.example_ids for q in three}) == 3
    again = asked_again(three[0], "There was no list.")
    assert again.prompt.message == f"{three[0].prompt.message}\n\nThere was no list."
    assert len({three[0].key_sha256, again.key_sha256, asked_again(three[0], "Too long.").key_sha256}) == 3


def test_only_what_changed_is_asked_and_going_back_costs_nothing(reports, path):
    numbers = iter(range(100))
    _, before, engine = label(reports, path, asking(), lambda prompt: f"['answer {next(numbers)}']")
    changed = [replace(reports[0], text="Another text."), *reports[1:]]
    outcome, rows, _ = label(changed, path, asking(), engine)
    assert outcome.asked == 1 and rows[1:] == before[1:] and rows[0]["labels"] == ["answer 10"]
    assert label(changed, path, asking(temperature=1.0), engine)[0].asked == 10
    outcome, rows, _ = label(reports, path, asking(), engine)
    assert (outcome.asked, rows) == (0, before)


def test_a_row_that_a_reader_has_edited_stays(reports, path, tmp_path):
    output = tmp_path / "annotations.jsonl"
    with Ledger(path) as ledger:
        run = Run(reports, asking(), model_of(Scripted(lambda prompt: "['effusion']")), ledger)
        ask_together([run])
        write_rows(run, output)
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        rows[1]["labels"], rows[2]["phrases"] = ["scar"], [{"phrase": "mass", "icd10": "R91.8"}]
        output.write_text("".join(json.dumps(row) + "\n" for row in rows))
        # Nor does one go where a changed question has no answer yet.
        write_rows(Run(reports, asking(seed=8), model_of(None), ledger), output)
        assert [json.loads(line) for line in output.read_text().splitlines()] == rows[1:3]
        write_rows(run, output, tmp_path / "quarantine.jsonl")
    assert [json.loads(line) for line in output.read_text().splitlines()] == rows
    found = read_labels(output, PHRASES).answers
    assert [(answer.labels, answer.by) for answer in found.values()][1:4] == [
        (("scar",), "reader"), (("mass",), "reader"), (("effusion",), rows[3]["model"]),
    ]  # fmt: skip


def test_reports_of_the_same_words_have_one_question_and_a_row_each(reports, path):
    same = [replace(report, text="Clear.") for report in reports]
    outcome, rows, _ = label(same, path, asking(task=CLASSES), lambda prompt: "[]")
    assert (outcome.asked, [row["report_id"] for row in rows]) == (1, [f"r{i}" for i in range(10)])
    # Drawn at a temperature, each has a seed of its own.
    assert label(same, path, asking(task=CLASSES, temperature=1.0), lambda prompt: "[]")[0].asked == 10


def test_a_report_without_text_is_not_asked_about(reports, path):
    blank = report_from_sections("blank", None, " ", "", "made")
    for verify in (False, True):
        _, rows, engine = label([*reports[:2], blank], None, asking(verify=verify), lambda prompt: "['effusion']")
        assert [row["labels"] for row in rows] == [["effusion"], ["effusion"], []]
        assert (rows[2]["status"], rows[2]["error"]) == ("failed", "empty_report")
        assert all(prompt.report_id != "blank" for prompt in engine.prompts)


def test_what_a_run_would_ask_is_known_before(reports, path):
    label(reports[:5], path, asking(), lambda p: "['quagga cyst']" if p.report_id < "r3" else "['Effusion']")
    with Ledger(path) as ledger:
        missing = Run(reports, asking(), model_of(None), ledger).missing()
        assert [question.prompt.report_id for question in missing] == ["r5", "r6", "r7", "r8", "r9"]
        again = Run(reports, asking(reask=True), model_of(None), ledger).missing()
        assert [question.prompt.complaint is None for question in again] == [True] * 5 + [False] * 3
        waiting = {question.key_sha256 for question in again[2:]}
        assert Run(reports, asking(reask=True), model_of(None), ledger, waiting=waiting).missing() == again[:2]


def test_an_engine_that_gives_up_or_is_interrupted_costs_no_answer(reports, path):
    def dying(error):
        def answer(prompt):
            if prompt.report_id in ("r0", "r9"):
                raise error
            return "[]"

        return answer

    with pytest.raises(InputError, match="401"):
        label(reports, path, asking(), dying(InputError("401")))
    with Ledger(path) as ledger:
        assert len(ledger) == 7
    outcome, rows, _ = label(reports[1:], path, asking(), dying(KeyboardInterrupt()))
    assert outcome.interrupted and len(rows) == 7 + outcome.asked
    assert label(reports, path, asking(), lambda prompt: "[]")[0].asked == 3 - outcome.asked


def test_an_answer_that_cannot_be_used_is_asked_for_once_more_with_the_reason(reports, path):
    def answer(prompt):
        if "no list that could be read" in prompt.message:
            return "Output: ['zebra effusion']"
        if "do not stand in the report" in prompt.message:
            return "['quagga cyst', 'Effusion']"
        if prompt.report_id == "r3":
            return "There is an effusion."
        return "['quagga cyst']" if prompt.report_id == "r5" else "['Effusion']"

    outcome, rows, engine = label(reports, path, asking(), answer)
    assert (outcome.asked, outcome.asked_again, rows[3]["status"]) == (10, 0, "unparsed")
    outcome, rows, _ = label(reports, path, asking(reask=True), engine)
    assert (outcome.asked, outcome.asked_again) == (2, 2)
    assert (rows[3]["status"], rows[3]["labels"], rows[3]["asked_again"]) == ("ok", ["zebra effusion"], True)
    # The second answer is no better, so the first one stands, with its problem.
    assert (rows[5]["labels"], rows[5]["asked_again"]) == (["quagga cyst"], False)
    assert rows[5]["problems"] == ["1 of 1 phrases not in the report"]
    assert any("'quagga cyst'" in prompt.message for prompt in engine.prompts[-2:])
    assert label(reports, path, asking(reask=True), engine)[0].asked == 0
    # Without it, rows are as if nothing had been asked again.
    assert label(reports, path, asking(), engine)[1][3]["status"] == "unparsed"


def test_samples_are_asked_separately_and_counted(reports, path):
    numbers = iter(range(100))

    def answer(prompt):
        return "['Effusion']" if next(numbers) % 3 else "['number', 'Effusion']"

    label(reports, path, asking(), answer)
    outcome, rows, engine = label(reports, path, asking(samples=3), answer)
    assert (outcome.asked, len({prompt.seed for prompt in engine.prompts})) == (20, 20)
    for row, report in zip(rows, reports, strict=True):
        (phrase,) = [phrase for phrase in row["phrases"] if phrase["phrase"] == "Effusion"]
        assert (phrase["agreement"], report.text[phrase["start"] : phrase["end"]].lower()) == (1.0, "effusion")
        assert row["agreement"]["Effusion"] == 1.0 and len(row["votes"]) == 3
        assert len({tuple(vote["seed_example_ids"]) for vote in row["votes"]}) == 3


def test_a_report_of_which_one_sample_failed_is_failed_until_it_is_answered(reports, path):
    asked = asking(task=CLASSES, temperature=1.0, samples=3)
    _, rows, _ = label(reports[:1], path, asked, lambda p: FAILED if p.seed.endswith(":2") else "['Edema']")
    assert (rows[0]["status"], rows[0]["labels"]) == ("failed", [])
    outcome, rows, _ = label(reports[:1], path, asked, lambda prompt: "['edema', 'Pneumonia']")
    assert (outcome.asked, rows[0]["labels"], rows[0]["agreement"]) == (1, ["Edema"], {"Edema": 1.0})
    assert rows[0]["report_agreement"] == 2 / 3
    for vote, labels, no_majority in (("union", ["Edema", "Pneumonia"], 1), ("response", ["Edema"], 0)):
        outcome, rows, _ = label(reports[:1], path, replace(asked, vote=vote), lambda prompt: "")
        outcome.count(rows[0])
        assert (outcome.asked, rows[0]["labels"], outcome.facts()["no_majority"]) == (0, labels, no_majority)


def verifying(prompt):
    if "one word, yes or no" not in prompt.instruction:
        return "['Edema', 'Pneumonia']\nEdema: \"edema of the lung\"\nPneumonia: \"consolidation\""
    return "No." if "Edema" in prompt.instruction and prompt.report_id != "r1" else "Yes, it does."


def test_denied_labels_are_dropped_and_no_label_is_asked_about_twice(reports, path):
    asked = asking(task=CLASSES, verify=True, evidence=True)
    outcome, rows, _ = label(reports[:3], path, asked, verifying)
    assert [row["labels"] for row in rows] == [["Pneumonia"], ["Edema", "Pneumonia"], ["Pneumonia"]]
    assert [row["denied"] for row in rows] == [["Edema"], [], ["Edema"]]
    assert [one["label"] for one in rows[0]["evidence"]] == ["Pneumonia"]
    assert rows[1]["unsupported"] == ["Pneumonia"]
    start, end = rows[1]["evidence"][0]["start"], rows[1]["evidence"][0]["end"]
    assert reports[1].text[start:end] == "edema of the lung"
    assert outcome.asked == 9 and label(reports[:3], path, asked, verifying)[0].asked == 0
    # Unverified, nothing is left to be asked.
    outcome, rows, _ = label(reports[:3], path, replace(asked, verify=False), verifying)
    assert outcome.asked == 0 and rows[0]["labels"] == ["Edema", "Pneumonia"] and "denied" not in rows[0]


def test_a_row_of_which_a_label_could_not_be_verified_must_not_pass_for_verified(reports, path):
    asked = asking(task=CLASSES, verify=True)
    one = lambda p: FAILED if "Condition: Edema" in p.instruction and p.report_id == "r1" else verifying(p)  # noqa: E731
    _, rows, _ = label(reports[:3], path, asked, one)
    assert [row["status"] for row in rows] == ["ok", "failed", "ok"]
    assert (rows[1]["labels"], rows[1]["error"]) == ([], "500")
    outcome, rows, _ = label(reports[:3], path, asked, verifying)
    assert (outcome.asked, rows[1]["labels"]) == (1, ["Edema", "Pneumonia"])


PRICE = Price(1000.0, 1000.0, 0.5, "2026-01-01", "made up", "some-model")
USAGE = {"prompt_tokens": 900, "completion_tokens": 100}


def test_a_limit_on_cost_stops_before_it_is_passed_and_the_next_run_goes_on(reports, path):
    paid = Response("['Effusion']", True, usage=USAGE)
    # A call costs a dollar and might have cost a few; another is sent only while the most it may cost is left.
    budget = Budget(10.0, PRICE)
    outcome, rows, engine = label(reports, path, asking(reask=True), lambda prompt: paid, budget=budget)
    assert outcome.stopped_by_cost and 5 < len(rows) == outcome.asked == budget.spent < 10
    outcome, rows, _ = label(reports, path, asking(), engine)
    assert len(rows) == len(engine.prompts) == 10


def test_what_an_engine_says_of_its_answer_stands_in_the_row(reports):
    responses = {
        "r0": Response("", True, refused=True),
        "r1": Response("", True, refused=True, finish_reason="content_filter"),
        "r2": Response("['Edema", False),
        "r3": Response("['Edema']", True, cut_words=7),
        "r4": Response("['Edema']", True, scores=(0.5,) * 13, finish_reason="closed_early"),
        "r5": Response('{"labels": ["Edema"]}', True, as_json=True),
    }
    _, rows, _ = label(reports[:6], None, asking(task=CLASSES), lambda p: responses[p.report_id], host=None)
    assert [row["status"] for row in rows] == ["refused", "refused", "truncated", "ok", "ok", "ok"]
    assert rows[0]["problems"] == ["refused"] and rows[1]["problems"] == ["stopped by a content filter"]
    assert rows[3]["problems"] == [] and "closed early by max_new_tokens" in rows[4]["problems"][0]
    assert (rows[3]["cut_words"], rows[4]["scores"]["Support Devices"], rows[5]["labels"]) == (7, 0.5, ["Edema"])
    # Of several samples, the one that saw least: its examples may have been the longest.
    cuts = iter([0, 7])
    sampled = label(reports[:1], None, asking(samples=2), lambda p: Response("[]", True, cut_words=next(cuts)))[1]
    assert sampled[0]["cut_words"] == 7
    # What only a server says stands in no row of a model here.
    assert "endpoint" not in rows[0] and "usage" not in rows[0]


def test_after_an_edit_of_its_classes_a_closed_task_is_asked_anew_and_scores_keep_their_names(reports, path):
    # A prompt that does not name them, so that it stays the same.
    wording = replace(CLASSES.wording, prompts={"inference": "What does this say?"})
    task = replace(CLASSES, wording=wording, definitions={})
    for variant in (task, *edited(task), task):
        none = Response(str([variant.none]), True, scores=tuple(n / 100 for n in range(len(variant.classes))))
        asked = asking(task=variant, use="inference", sampling=closed(variant))
        outcome, (row,), _ = label(reports[:1], path, asked, lambda prompt, none=none: none)
        expected = {name: number / 100 for number, name in enumerate(variant.classes)}
        assert (row["labels"], row["scores"], list(row["scores"])) == ([], expected, list(variant.classes))
    assert outcome.asked == 0


def test_a_local_engine_gets_bounded_windows_and_what_the_rules_expect(reports, monkeypatch):
    monkeypatch.setattr(ask_run, "_WINDOW", 4)
    windows = []

    class Counting:
        def generate(self, prompts, sampling):
            windows.append(list(prompts))
            for index in range(len(windows[-1])):
                yield index, Response("['Edema']", True)

    asked = asking(task=CLASSES, sampling=Sampling(0.0, 64, grammar=CLASSES.grammar()))
    with Ledger(None) as ledger:
        ask_together([Run(reports, asked, model_of(Counting(), engine_name="torchtune"), ledger)])
    assert [len(window) for window in windows] == [4, 4, 2]
    assert {prompt.draft for prompt in windows[1]} == {("Edema", "Pleural Effusion")}


def test_a_row_says_how_its_answer_came_to_be(reports, path):
    said = Response(
        "Output: ['Effusion']\n- Effusion: J90", True, usage={"prompt_tokens": 10, "completion_tokens": 2},
        model="some-model-2024", fingerprint="fp_1", finish_reason="stop",
    )  # fmt: skip
    _, (row,), _ = label(reports[:1], path, asking(), lambda prompt: said)
    question = question_for(reports[0], asking())
    code = {"code_exists": True, "code_is_leaf": True, "code_description": "Pleural effusion, not elsewhere classified"}
    assert json.loads(json.dumps(row)) == {
        "report_id": "r0",
        "task": "open_ended",
        "labels": ["Effusion"],
        "phrases": [{"phrase": "Effusion", "icd10": "J90", "start": 18, "end": 26, "side": "none", **code}],
        "response": "Output: ['Effusion']\n- Effusion: J90",
        "status": "ok",
        "error": None,
        "problems": [],
        "asked_again": False,
        "finish_reason": "stop",
        "model": "some-model",
        "adapter": None,
        "model_returned": "some-model-2024",
        "fingerprint": "fp_1",
        "temperature": 0.0,
        "seed": 7,
        "prompt_sha256": question.prompt_sha256,
        "seed_example_ids": list(question.example_ids),
        "endpoint": "127.0.0.1",
        "created": row["created"],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2},
    }
