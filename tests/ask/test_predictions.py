"""Rows from answers: votes, verification, evidence, and what could not be answered."""

import pytest

from radtune.ask.model_votes import count_votes, denies
from radtune.ask.predictions import EMPTY_REPORT, Asking, predict, verify
from radtune.engines.prompt import Response, Sampling
from radtune.findings import FINDINGS
from radtune.labels import Answer, Status
from radtune.report import report_from_sections
from radtune.tasks.legacy import TASKS

REPORTS = [report_from_sections(f"r{n}", None, f"Report {n}: edema of the lung.", "", "made") for n in range(5)]


class Scripted:
    """An engine that answers as a function of prompt and sample says, the last prompt first."""

    def __init__(self, answer):
        self.answer = answer
        self.requests = []

    def generate(self, prompts, request):
        self.requests.append((prompts, request))
        for index in reversed(range(len(prompts))):
            answered = self.answer(prompts[index])
            yield index, answered if isinstance(answered, Response) else Response(answered, True)


def ask(answer, reports=REPORTS, verified=False, **changes):
    task = TASKS[changes.pop("task", "multiple_choice")]
    asking = Asking(task, task.prompt(), "llama3_chat", Sampling(0.5, 50), **changes)
    engine = Scripted(answer)
    made = predict(reports, asking, engine, "model", None)
    made = verify(list(made), asking, engine) if verified else made
    rows = {report.report_id: row for report, row in made}
    return [rows[report.report_id] for report in reports], engine


def test_every_report_gets_its_own_answer():
    rows, engine = ask(lambda prompt: f"['{FINDINGS[int(prompt.report_id[1:])]}']")
    assert [row["labels"] for row in rows] == [[name] for name in FINDINGS[:5]]
    assert {prompt.seed for prompt in engine.requests[0][0]} == {f"0:multiple_choice:r{n}" for n in range(5)}
    assert list(rows[0]) == [
        "report_id", "task", "labels", "response", "status", "model", "adapter", "prompt_sha256", "temperature", "seed",
    ]  # fmt: skip


def by_sample(*answers):
    return lambda prompt: answers[int(prompt.seed.split(":")[3]) if prompt.seed.count(":") > 2 else 0]


@pytest.mark.parametrize(("vote", "labels"), [("majority", ["Edema"]), ("union", ["Edema", "Fracture", "Pneumonia"])])
def test_samples_are_voted_on(vote, labels):
    rows, engine = ask(by_sample("['Edema', 'Pneumonia']", "['edema', 'Fracture']", "?"), samples=3, vote=vote)
    assert all(row["labels"] == labels for row in rows)
    assert rows[0]["agreement"]["Edema"] == pytest.approx(2 / 3)
    assert [one["status"] for one in rows[0]["votes"]] == ["ok", "ok", "unparsed"]
    assert len({prompt.seed for prompt in engine.requests[0][0]}) == 15


def test_a_majority_needs_readable_answers():
    unread = Answer((), Status.TRUNCATED)
    read = Answer(("Edema",), Status.OK)
    assert count_votes([read, unread, unread], "majority").status == Status.TRUNCATED
    assert count_votes([read, unread, unread], "union").labels == ("Edema",)
    assert count_votes([read, read, unread, unread], "majority").labels == ()


def test_denied_labels_are_dropped():
    def answer(prompt):
        if "one word, yes or no" in prompt.instruction:
            return "No." if "Edema" in prompt.instruction and prompt.report_id != "r1" else "Yes, it does."
        return "['Edema', 'Pneumonia']\nEdema: \"edema of the lung\"\nPneumonia: \"consolidation\""

    rows, _ = ask(answer, verified=True, evidence=True)
    assert [row["labels"] for row in rows] == [["Pneumonia"], ["Edema", "Pneumonia"], *[["Pneumonia"]] * 3]
    assert [row["denied"] for row in rows] == [["Edema"], [], *[["Edema"]] * 3]
    assert [one["label"] for one in rows[0]["evidence"]] == ["Pneumonia"]
    assert rows[1]["unsupported"] == ["Pneumonia"]
    start, end = rows[1]["evidence"][0]["start"], rows[1]["evidence"][0]["end"]
    assert REPORTS[1].text[start:end] == "edema of the lung"


@pytest.mark.parametrize(
    ("response", "denied"),
    [
        *((text, True) for text in ("no", "No, it is clear.", "**No**", " no", "['Normal']", "['Pneumonia']")),
        *((text, False) for text in ("yes", "", "None", "Not sure", "['edema', 'Pneumonia']", "Yes [sic]", "['Pneu")),
    ],
)
def test_only_a_no_or_a_list_without_the_label_denies(response, denied):
    answer = TASKS["multiple_choice"].decode(response, finished=response != "['Pneu")
    assert denies(answer, response, "Edema") == denied


def test_labels_that_could_not_be_verified_are_asked_about_again():
    def answer(prompt):
        verifying = "one word, yes or no" in prompt.instruction
        return Response("", False, error="timeout") if verifying and prompt.report_id == "r1" else "['Edema']"

    rows, _ = ask(answer, verified=True)
    assert [row["status"] for row in rows] == ["ok", "failed", "ok", "ok", "ok"]
    assert (rows[1]["labels"], rows[1]["denied"], rows[1]["error"]) == ([], [], "timeout")


def test_verified_rows_come_as_their_last_label_is_answered():
    reports = [report_from_sections(f"r{n}", None, "Edema.", "", "made") for n in range(3_000)]
    labels = {report.report_id: list(FINDINGS[: n % 4]) for n, report in enumerate(reports)}
    answered = []

    def answer(prompt):
        answered.append(prompt.report_id)
        return "Yes" if "Edema" not in prompt.instruction else "No"

    task = TASKS["multiple_choice"]
    asking = Asking(task, task.prompt(), "llama3_chat", Sampling(0.5, 50))
    engine = Scripted(answer)
    given = [(report, {"labels": labels[report.report_id], "status": "ok"}) for report in reports]
    rows = {}
    for report, row in verify(given, asking, engine):
        rows[report.report_id] = row
        # No report waits for the labels of others.
        assert labels[report.report_id] == [] or answered[-1] == report.report_id
    assert all(len(prompts) <= 4_096 for prompts, _ in engine.requests)
    assert len(engine.requests) > 1
    for report in reports:
        found = labels[report.report_id]
        assert rows[report.report_id]["labels"] == [label for label in found if label != "Edema"]
        assert rows[report.report_id]["denied"] == [label for label in found if label == "Edema"]


def test_a_report_without_text_is_not_asked_about():
    reports = [*REPORTS[:2], report_from_sections("blank", None, " ", "", "made")]
    rows, engine = ask(lambda prompt: "['Edema']", reports, verified=True)
    assert [row["labels"] for row in rows] == [["Edema"], ["Edema"], []]
    assert (rows[2]["status"], rows[2]["error"]) == ("failed", EMPTY_REPORT)
    assert all(prompt.report_id != "blank" for prompts, _ in engine.requests for prompt in prompts)


def test_calls_without_an_answer_have_a_status():
    responses = {
        "r0": Response("", False, error="timeout"),
        "r1": Response("", True, refused=True),
        "r2": Response("['Edema", False),
        "r3": Response("['Edema']", True, cut_words=7),
        "r4": Response("['Edema']", True, scores=(0.5,) * 13),
    }
    rows, _ = ask(lambda prompt: responses[prompt.report_id])
    assert [row["status"] for row in rows] == ["failed", "refused", "truncated", "ok", "ok"]
    assert rows[0]["error"] == "timeout"
    assert rows[3]["cut_words"] == 7
    assert rows[4]["scores"]["Support Devices"] == 0.5
