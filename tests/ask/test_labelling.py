"""A labelling run: what is asked, what is asked again, and what it comes to."""

import dataclasses
import json

import pytest
from chat_server import completion
from starlette.responses import Response

from radtune.ask.annotations import annotation_rows
from radtune.ask.batch_api import Collected
from radtune.ask.costs import Budget
from radtune.ask.labelling import Run, collect_answers, label_reports, missing_questions
from radtune.ask.ledger import Ledger
from radtune.ask.prices import Price
from radtune.ask.questions import Labelling, message, questions_for
from radtune.ask.teacher_calls import Sampling, ask_all
from radtune.config import InputError
from radtune.engines import prompt
from radtune.engines.limits import Limits


def Reply(text="", finished=True, **more):
    return prompt.Response(text, finished, **more)


OPEN = Labelling("open_ended", "labelling", 7, Sampling("some-model", 0.0, 64))
CHOICE = dataclasses.replace(OPEN, task="multiple_choice")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "annotations.jsonl.ledger"


def label(reports, path, labelling, server, reask=False, budget=None, max_retries=0):
    """Runs a labelling; gives what it did and its rows."""

    def ask(questions, pay_again):
        limits = Limits(4, 5.0, max_retries)
        return ask_all(server.endpoint, "key", labelling.sampling, limits, questions, message, pay_again=pay_again)

    with Ledger(path) as ledger:
        run = Run(reports, labelling, ledger, "127.0.0.1", reask, budget or Budget(None, None))
        outcome = label_reports(run, ask)
        return outcome, list(annotation_rows(reports, labelling, ledger, outcome.failures))


def test_every_report_gets_one_row_in_their_order_and_is_asked_once(serve, reports, path):
    server = serve(lambda body, number: completion("['effusion']"))
    outcome, rows = label(reports, path, OPEN, server)
    assert (outcome.asked, [row["report_id"] for row in rows]) == (10, [f"r{i}" for i in range(10)])
    outcome, again = label(reports, path, OPEN, server)
    assert (outcome.asked, again, len(server.requests)) == (0, rows, 10)


def test_only_what_changed_is_asked_and_going_back_costs_nothing(serve, reports, path):
    server = serve(lambda body, number: completion(f"['answer {number}']"))
    _, before = label(reports, path, OPEN, server)
    changed = [dataclasses.replace(reports[0], text="Another text."), *reports[1:]]
    outcome, rows = label(changed, path, OPEN, server)
    assert outcome.asked == 1
    assert rows[1:] == before[1:] and rows[0]["labels"] == ["answer 11"]
    hotter = dataclasses.replace(OPEN, sampling=Sampling("some-model", 1.0, 64))
    assert label(changed, path, hotter, server)[0].asked == 10
    outcome, rows = label(reports, path, OPEN, server)
    assert (outcome.asked, rows) == (0, before)


def test_reports_that_failed_have_a_row_and_are_asked_again(serve, reports, path):
    server = serve(lambda body, number: completion("[]") if number % 2 or number > 10 else Response("", 500))
    outcome, rows = label(reports, path, OPEN, server)
    failed = {row["report_id"]: row for row in rows if row["status"] == "failed"}
    assert len(rows) == 10 and set(outcome.failures.values()) == {"500"}
    assert len(failed) == len(outcome.failures) == 5
    assert {(row["error"], *row["problems"]) for row in failed.values()} == {("500", "no answer: 500")}
    outcome, rows = label(reports, path, OPEN, server)
    assert (outcome.asked, {row["status"] for row in rows}) == (5, {"ok"})


def test_reports_of_the_same_words_have_one_question_and_a_row_each(serve, reports, path):
    same = [dataclasses.replace(report, text="Clear.") for report in reports]
    server = serve(lambda body, number: completion("[]") if number > 1 else Response("", 500))
    outcome, rows = label(same, path, CHOICE, server)
    assert (outcome.asked, [row["status"] for row in rows]) == (1, ["failed"] * 10)
    outcome, rows = label(same, path, CHOICE, server)
    assert (outcome.asked, [row["report_id"] for row in rows]) == (1, [f"r{i}" for i in range(10)])
    assert {row["status"] for row in rows} == {"ok"}


def test_what_a_run_would_ask_is_known_before(serve, reports, path):
    server = serve(lambda body, number: completion("['quagga cyst']" if number < 4 else "['Effusion']"))
    label(reports[:5], path, OPEN, server)
    with Ledger(path) as ledger:
        run = Run(reports, OPEN, ledger, "127.0.0.1", False, Budget(None, None))
        assert [q.report.report_id for q in missing_questions(run)] == ["r5", "r6", "r7", "r8", "r9"]
        again = missing_questions(dataclasses.replace(run, reask=True))
        assert [q.complaint is None for q in again] == [True] * 5 + [False] * 3
        waiting = {question.key_sha256 for question in again[2:]}
        assert missing_questions(dataclasses.replace(run, reask=True, waiting=waiting)) == again[:2]


def test_a_run_that_gives_up_keeps_what_it_has(serve, reports, path):
    label(reports[:4], path, OPEN, serve(lambda body, number: completion("[]")))
    content = path.read_bytes()
    with pytest.raises(InputError, match="401"):
        label(reports, path, CHOICE, serve(lambda body, number: Response("", 401)))
    assert path.read_bytes() == content


def test_an_answer_that_cannot_be_used_is_asked_for_once_more_with_the_reason(serve, reports, path):
    def answer(body, number):
        text = body["messages"][0]["content"]
        if "no list that could be read" in text:
            return completion("Output: ['zebra effusion']")
        if "do not stand in the report" in text:
            return completion("['quagga cyst', 'Effusion']")
        if "number 3" in text:
            return completion("There is an effusion.")
        return completion("['quagga cyst']" if "number 5" in text else "['Effusion']")

    server = serve(answer)
    outcome, rows = label(reports, path, OPEN, server)
    assert (outcome.asked, outcome.asked_again, rows[3]["status"]) == (10, 0, "unparsed")
    outcome, rows = label(reports, path, OPEN, server, reask=True)
    assert (outcome.asked, outcome.asked_again) == (2, 2)
    assert (rows[3]["status"], rows[3]["labels"], rows[3]["asked_again"]) == ("ok", ["zebra effusion"], True)
    assert rows[3]["problems"] == []
    # The second answer is no better, so the first one stands, with its problem.
    assert (rows[5]["labels"], rows[5]["asked_again"]) == (["quagga cyst"], False)
    assert rows[5]["problems"] == ["1 of 1 phrases not in the report"]
    again = server.requests[-1][1]["messages"][0]["content"], server.requests[-2][1]["messages"][0]["content"]
    assert any("'quagga cyst'" in text for text in again)
    assert label(reports, path, OPEN, server, reask=True)[0].asked == 0


def test_votes_are_asked_separately_and_counted(serve, reports, path):
    def answer(body, number):
        return completion("['Effusion']" if number % 3 else "['number', 'Effusion']")

    server = serve(answer)
    outcome, _ = label(reports, path, OPEN, server)
    three = dataclasses.replace(OPEN, votes=3)
    outcome, rows = label(reports, path, three, server)
    assert (outcome.asked, len(server.requests)) == (20, 30)
    for row, report in zip(rows, reports, strict=True):
        assert row["labels"][0] == "Effusion" and row["agreement"]["Effusion"] == 1.0
        (phrase,) = [phrase for phrase in row["phrases"] if phrase["phrase"] == "Effusion"]
        assert (phrase["agreement"], report.text[phrase["start"] : phrase["end"]].lower()) == (1.0, "effusion")
        assert len(row["votes"]) == 3 and row["usage"] == {"prompt_tokens": 30, "completion_tokens": 6}
        assert len({tuple(vote["seed_example_ids"]) for vote in row["votes"]}) == 3


def test_a_limit_on_cost_stops_before_it_is_passed_and_the_next_run_goes_on(serve, reports, path):
    usage = {"prompt_tokens": 900, "completion_tokens": 100}
    server = serve(lambda body, number: completion("['Effusion']") | {"usage": usage})
    price = Price(
        input=1000.0, output=1000.0, batch_factor=0.5, date="2026-01-01", source="made up", model="some-model"
    )
    # A call costs a dollar and might have cost a few; another is sent only while the most it may cost is left.
    budget = Budget(10.0, price)
    outcome, rows = label(reports, path, OPEN, server, budget=budget)
    assert outcome.stopped_by_cost
    assert 5 < len(rows) == outcome.asked == budget.spent < 10
    outcome, rows = label(reports, path, OPEN, server)
    assert len(rows) == len(server.requests) == 10


def test_attempts_that_came_to_nothing_are_paid_for_and_kept_within_the_limit(serve, reports, path):
    usage = {"prompt_tokens": 0, "completion_tokens": 64}
    price = Price(input=0.0, output=1e6 / 64, batch_factor=0.5, date="2026-01-01", source="made up", model="m")
    server = serve(lambda body, number: completion(None if number % 3 else "[]") | {"usage": usage})
    budget = Budget(8.0, price)
    outcome, rows = label(reports, path, OPEN, server, budget=budget, max_retries=4)
    assert outcome.stopped_by_cost
    assert len(server.requests) == budget.spent == 8
    assert [row["status"] for row in rows].count("ok") == 2


def test_what_a_batch_brought_is_recorded_by_its_question_once(reports, path):
    questions = {report.report_id: next(questions_for(report, OPEN)) for report in reports}
    usage = {"prompt_tokens": 1000, "completion_tokens": 1000}
    replies = [(questions["r4"].key_sha256, Reply("['Effusion']", model="m-2024", usage=usage))]
    replies += [(questions["r2"].key_sha256, Reply(error="500"))]
    price = Price(input=2.0, output=3.0, batch_factor=0.5, date="2026-01-01", source="made up", model="some-model")
    with Ledger(path) as ledger:
        run = Run(reports, OPEN, ledger, "api.openai.com", False, Budget(None, price))
        _, outcome = collect_answers(run, lambda: Collected([], iter(replies)))
        _, again = collect_answers(run, lambda: Collected([], iter(replies[:1])))
        rows = list(annotation_rows(reports, OPEN, ledger, outcome.failures))
    assert (outcome.asked, outcome.failures, run.budget.spent) == (2, {questions["r2"].key_sha256: "500"}, 0.005)
    assert again.asked == 0 and path.read_bytes().count(b"\n") == 1
    assert [(row["report_id"], row["status"]) for row in rows] == [("r2", "failed"), ("r4", "ok")]
    assert (rows[1]["model_returned"], rows[1]["endpoint"]) == ("m-2024", "api.openai.com")


def test_a_row_says_how_its_answer_came_to_be(serve, reports, path):
    server = serve(
        lambda body, number: completion("Output: ['Effusion']\n- Effusion: J90") | {
            "model": "some-model-2024", "system_fingerprint": "fp_1"
        }
    )  # fmt: skip
    _, rows = label(reports[:1], path, OPEN, server)
    (row,) = rows
    question = next(questions_for(reports[0], OPEN))
    assert json.loads(json.dumps(row)) == {
        "report_id": "r0",
        "task": "open_ended",
        "labels": ["Effusion"],
        "phrases": [
            {
                "phrase": "Effusion",
                "icd10": "J90",
                "start": 16,
                "end": 24,
                "code_exists": True,
                "code_is_leaf": True,
                "code_description": "Pleural effusion, not elsewhere classified",
            }
        ],
        "response": "Output: ['Effusion']\n- Effusion: J90",
        "status": "ok",
        "error": None,
        "problems": [],
        "asked_again": False,
        "finish_reason": "stop",
        "model": "some-model",
        "model_returned": "some-model-2024",
        "fingerprint": "fp_1",
        "temperature": 0.0,
        "prompt_sha256": question.prompt_sha256,
        "seed_example_ids": list(question.seed_example_ids),
        "endpoint": "127.0.0.1",
        "created": row["created"],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2},
    }
