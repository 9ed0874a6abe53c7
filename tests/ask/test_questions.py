"""What is asked: prompts, examples, votes, and the hash that a question is known by."""

import dataclasses

from radtune.ask.questions import Labelling, asked_again, message, questions_for
from radtune.ask.teacher_calls import Sampling
from radtune.tasks import open_ended
from radtune.tasks.legacy import TASKS
from radtune.tasks.rendering import prompt_sha256

OPEN = Labelling("open_ended", "labelling", 7, Sampling("some-model", 0.0, 64))
CHOICE = dataclasses.replace(OPEN, task="multiple_choice")


def question_for(report, labelling):
    (question,) = questions_for(report, labelling)
    return question


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
        dataclasses.replace(OPEN, response_format="json_schema"),
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


def test_every_vote_has_examples_and_an_answer_of_its_own(reports):
    one = question_for(reports[0], OPEN)
    three = list(questions_for(reports[0], dataclasses.replace(OPEN, votes=3)))
    # So that asking for more votes later asks for no answer again.
    assert three[0] == one
    assert len({question.key_sha256 for question in three}) == len({q.seed_example_ids for q in three}) == 3
    choice = list(questions_for(reports[0], dataclasses.replace(CHOICE, votes=2)))
    assert choice[0].instruction == choice[1].instruction
    assert choice[0].key_sha256 != choice[1].key_sha256


def test_a_question_asked_again_tells_why_and_is_another_one(reports):
    question = question_for(reports[0], OPEN)
    again = asked_again(question, "There was no list.")
    assert message(again) == f"{message(question)}\n\nThere was no list."
    assert len({question.key_sha256, again.key_sha256, asked_again(question, "Too long.").key_sha256}) == 3
