"""From reports to rows: what is asked, what a reply becomes, and what is asked again."""

import dataclasses
import json

import pytest
from chat_server import completion

from radtune.config import InputError
from radtune.tasks import TASKS, open_ended
from radtune.tasks.rendering import prompt_sha256
from radtune.teacher.annotations import Labelling, annotation_row, label_reports, message, question_for
from radtune.teacher.engine import Limits, Reply, Sampling, ask_all
from radtune.teacher.ledger import Ledger

SAMPLING = Sampling("some-model", 0.0, 64)
OPEN = Labelling("open_ended", "labelling", 7, SAMPLING)
CHOICE = Labelling("multiple_choice", "labelling", 7, SAMPLING)


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def label(reports, path, labelling, server):
    def ask(questions):
        return ask_all(server.endpoint, "key", labelling.sampling, Limits(4, 5.0, 0), questions, message)

    with Ledger(path) as ledger:
        return label_reports(reports, labelling, ledger, ask)


def test_labelling_shows_three_drawn_examples_and_inference_the_fixed_ones(reports):
    question = question_for(reports[0], OPEN)
    drawn = open_ended.drawn_examples(7, "r0")
    assert question.instruction == open_ended.labelling_prompt(drawn)
    assert question.seed_example_ids == tuple(example.example_id for example in drawn)
    assert question.prompt_sha256 == prompt_sha256(question.instruction)
    assert message(question).endswith(f"Report to Analyze:\n{reports[0].text}\n\nOutput:")
    inference = question_for(reports[0], dataclasses.replace(OPEN, prompt="inference"))
    assert inference.instruction == open_ended.prompt()
    assert inference.seed_example_ids == tuple(example.example_id for example in open_ended.fixed_examples())
    assert question_for(reports[0], CHOICE).instruction == TASKS["multiple_choice"].prompt()


def test_the_key_depends_on_all_that_may_change_the_answer(reports):
    variants = [
        OPEN,
        CHOICE,
        dataclasses.replace(OPEN, prompt="inference"),
        dataclasses.replace(OPEN, seed=8),
        *(
            dataclasses.replace(OPEN, sampling=sampling)
            for sampling in (Sampling("m", 0.0, 64), Sampling("some-model", None, 64), Sampling("some-model", 0.0, 65))
        ),
    ]
    keys = [question_for(reports[0], variant).key_sha256 for variant in variants]
    keys.append(question_for(dataclasses.replace(reports[0], text="Clear."), OPEN).key_sha256)
    assert len(set(keys)) == len(keys)
    assert question_for(reports[0], OPEN).key_sha256 == keys[0]
    # Multiple choice has one prompt and no examples, so nothing is asked twice for these.
    assert question_for(reports[0], dataclasses.replace(CHOICE, prompt="inference", seed=8)).key_sha256 == keys[1]


@pytest.mark.parametrize(
    ("reply", "status", "labels"),
    [
        (Reply("Output: ['zebra effusion', 'cyst']\n- zebra effusion: J90"), "ok", ["zebra effusion", "cyst"]),
        (Reply("Output: []"), "ok", []),
        (Reply("['zebra", finished=False), "truncated", []),
        (Reply("['zebra effusion', 'cyst'] because", finished=False), "ok", ["zebra effusion", "cyst"]),
        (Reply("There is an effusion."), "unparsed", []),
        (Reply("['zebra effusion']", refused=True), "refused", []),
        (Reply(error="timeout"), "failed", []),
    ],
)
def test_a_reply_becomes_a_row(reports, reply, status, labels):
    row = annotation_row(question_for(reports[3], OPEN), OPEN, reply)
    assert next(iter(row)) == "report_id"
    assert (row["report_id"], row["task"], row["status"], row["labels"]) == ("r3", "open_ended", status, labels)
    assert (row["response"], row["error"], row["usage"]) == (reply.text, reply.error, reply.usage)
    assert [phrase["phrase"] for phrase in row["phrases"]] == labels
    if labels:
        text = reports[3].text
        assert row["phrases"][0] == {
            "phrase": "zebra effusion",
            "icd10": row["phrases"][0]["icd10"],
            "start": 10,
            "end": 24,
        }
        assert text[10:24] == "Zebra effusion"
        assert row["phrases"][1] == {"phrase": "cyst", "icd10": None, "start": None, "end": None}


def test_multiple_choice_rows_have_classes_and_no_phrases(reports):
    row = annotation_row(question_for(reports[0], CHOICE), CHOICE, Reply("['pleural effusion', 'Normal', 'Cyst']"))
    assert (row["labels"], row["phrases"], row["seed_example_ids"]) == (["Pleural Effusion", "Cyst"], [], ())


def test_a_run_ends_with_one_row_a_report_in_their_order(serve, reports, tmp_path):
    server = serve(lambda body, number: completion("['effusion']"))
    path = tmp_path / "annotations.jsonl"
    assert label(reports, path, OPEN, server) == 10
    assert [row["report_id"] for row in read(path)] == [f"r{i}" for i in range(10)]
    content = path.read_bytes()
    assert label(reports, path, OPEN, server) == 0
    assert (path.read_bytes(), len(server.requests)) == (content, 10)


def test_only_what_changed_is_asked_again_and_takes_the_old_rows_place(serve, reports, tmp_path):
    server = serve(lambda body, number: completion(f"['answer {number}']"))
    path = tmp_path / "annotations.jsonl"
    label(reports, path, OPEN, server)
    before = read(path)
    changed = [dataclasses.replace(reports[0], text="Another text."), *reports[1:]]
    assert label(changed, path, OPEN, server) == 1
    assert read(path)[1:] == before[1:] and read(path)[0]["labels"] == ["answer 11"]
    hotter = dataclasses.replace(OPEN, sampling=Sampling("some-model", 1.0, 64))
    assert label(changed, path, hotter, server) == 10
    assert len(read(path)) == 10 and not {row["key_sha256"] for row in read(path)} & {
        row["key_sha256"] for row in before
    }


def test_reports_that_failed_are_kept_and_asked_again(serve, reports, tmp_path):
    from starlette.responses import Response

    server = serve(lambda body, number: completion("[]") if number % 2 or number > 10 else Response("", 500))
    path = tmp_path / "annotations.jsonl"
    label(reports, path, OPEN, server)
    failed = [row for row in read(path) if row["status"] == "failed"]
    assert len(read(path)) == 10 and {row["error"] for row in failed} == {"500"}
    assert label(reports, path, OPEN, server) == len(failed) == 5
    assert {row["status"] for row in read(path)} == {"ok"}


def test_a_run_that_stops_at_once_leaves_earlier_answers_alone(serve, reports, tmp_path):
    from starlette.responses import Response

    path = tmp_path / "annotations.jsonl"
    label(reports, path, OPEN, serve(lambda body, number: completion("[]")))
    content = path.read_bytes()
    with pytest.raises(InputError, match="401"):
        label(reports, path, CHOICE, serve(lambda body, number: Response("", 401)))
    assert path.read_bytes() == content


def test_a_ledger_of_more_reports_than_are_given_is_not_cut_down(serve, reports, tmp_path):
    server = serve(lambda body, number: completion("[]"))
    path = tmp_path / "annotations.jsonl"
    label(reports, path, OPEN, server)
    content = path.read_bytes()
    with pytest.raises(InputError, match=r"annotations\.jsonl: holds 3 rows .*'r7'.*output="):
        label(reports[:7], path, OPEN, server)
    assert path.read_bytes() == content
