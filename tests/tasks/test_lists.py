"""Lists in answers: written so that they read back, and read whatever a model wrote."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from radtune.labels import Status
from radtune.tasks import load_task, task_names
from radtune.tasks.lists import read_list, unique, write_list

# Letters that the codec gives a meaning to, more often than chance would draw them.
TRICKY = st.text(st.sampled_from("'\"‘’“”`[],\\ \n(){}:;a1é漢"), max_size=12)
LABELS = st.lists(st.one_of(TRICKY, st.text(max_size=12)), max_size=6)


@given(LABELS)
@example(["it's", 'a "b"', "Kerley’s, lines", "back\\slash", "x'] , 'y", "’ ]", '“, "', "\\'", "1", "[a]"])
@example(["</think>", "<think>"])
@example(["1"])
@example(["disease1", "disease2"])
def test_any_labels_read_back_as_written(labels):
    answer = read_list(write_list(labels))
    assert (answer.labels, answer.status) == (unique(labels), Status.OK)
    answer = read_list(f"The list is: {write_list(labels)}\n- and why", finished=False)
    assert (answer.labels, answer.status, answer.rest) == (unique(labels), Status.OK, "- and why")


@given(st.one_of(TRICKY, st.text(st.sampled_from("'\"‘’[],\\\n a<think>/")), st.text()), st.booleans())
def test_any_response_gives_labels_or_a_status(response, finished):
    for task in map(load_task, task_names()):
        answer = task.read(response, response, finished, as_json=finished)
        assert answer.status in (Status.OK, Status.UNPARSED, Status.TRUNCATED)
        assert answer.status == Status.OK or answer.labels == ()
        assert answer.status != Status.TRUNCATED or not finished
        assert all(label.strip() == label != "" for label in answer.labels)


@pytest.mark.parametrize(
    ("response", "labels"),
    [
        ("[]", ()),
        ("Output: []", ()),
        ("['small effusion', 'edema']", ("small effusion", "edema")),
        ("The diseases are: [‘Lung Opacity’, ‘Pleural Effusion’]", ("Lung Opacity", "Pleural Effusion")),
        ("[‘Lung Opacity', 'Edema’]", ("Lung Opacity", "Edema")),
        ("[small effusion, Kerley's lines]", ("small effusion", "Kerley's lines")),
        ("['Kerley's lines', 'edema',]", ("Kerley's lines", "edema")),
        ("[opacity [left], edema]", ("opacity [left]", "edema")),
        ("```python\n[\n  'a b',\n  'c'\n]\n```", ("a b", "c")),
        ("[\n'a b'\n'c'\n]", ("a b", "c")),
        ("[['a b'], ['c']]", ("a b", "c")),
        ('{"phrases": ["a b", "c"]}', ("a b", "c")),
        ("['Edema', 'edema ', 'EDEMA']", ("Edema",)),
        ("As the report says [1], [2, 3]: ['a b']", ("a b",)),
        ("[phrase 1, phrase 2, …]\nOutput: ['a b']", ("a b",)),
        ("<think>perhaps ['draft']</think>\n['a b']", ("a b",)),
        ("perhaps ['draft'] </think>\n\n['a b']", ("a b",)),
        ("‘Stage 1 ulcer’, ‘Edema’", ("Stage 1 ulcer", "Edema")),
        ("‘Patchy opacities’, ‘Small effusions’", ("Patchy opacities", "Small effusions")),
        ("Output: 'a b', 'c'\nBecause.", ("a b", "c")),
        ("The list is ['a b', 'c'\nBecause.", ("a b", "c")),
        ("['a [b'] and [c, d]", ("a [b",)),
    ],
)
def test_sloppy_lists_are_read(response, labels):
    answer = read_list(response)
    assert (answer.labels, answer.status) == (labels, Status.OK)


NO_LISTS = (
    "", "The patient has edema.", "['edema", "['edema', effusion", "no list [here", "[1]", "<think>perhaps ['draft']",
    '[{"phrase": "edema", "codes": ["J81.0"]}]', "[('edema', 'J81.0'), ('effusion', 'J90')]",
    "He said 'edema', and left", "[x] edema\n[ ] effusion", "- [ ] edema\n- [x] effusion",
)  # fmt: skip


@pytest.mark.parametrize("response", NO_LISTS)
def test_what_is_no_list_of_phrases_is_not_guessed_at(response):
    assert read_list(response).status == Status.UNPARSED
    assert read_list(response, finished=False).status == Status.TRUNCATED


DRAFT, LIST = "Mentioned: ['pneumothorax', 'effusion']. There is no pneumothorax.", "['effusion']"


@pytest.mark.parametrize(
    ("opening", "ending"),
    [
        ("<think>", "</think>"),
        ("<think>", "</think>\n\n"),
        ("Sure.\n<THINK>", "</THINK>\n"),
        ("<thinking>", "</thinking>"),
        ('<reasoning effort="low">', "< / reasoning >"),
        ("<seed:think>", "</seed:think>"),
        ("<think>a <think>b ", "</think> c</think>Output: "),
        ("", "</thought>"),
        ("[THINK]", "[/THINK]"),
        ("◁think▷", "◁/think▷"),
        ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"),
        ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
        ("analysis", "assistantfinal"),
        ("analysis", "assistant\nfinal\n"),
        ("**Reasoning:** ", "\n**Final answer:** "),
        ("Thought process: ", "\nOutput: "),
        ("```json\n<think>", "</think>\n"),
        ("[thinking]", "[/thinking]"),
        ("<|think|>", "<|/think|>"),
        ("&lt;think&gt;", "&lt;/think&gt;"),
        ("<unused94>thought\n", "<unused95>"),
        ("<|channel>thought\n", "<channel|>"),
        ("<answer_reasoning>", "</answer_reasoning><answer>"),
        ("**Reasoning**\n", "\n**Answer**\n"),
        ("Step 1: ", "\nStep 2: it is denied.\nAnswer: "),
        ("### Stage 1\n", "\n### Final answer\n"),
        ("> thinking: ", "\n\nAnswer: "),
        ("(thinking) ", " (/thinking) "),
        ("{thinking}\n", "\n{/thinking}\n"),
        ("~thinking~ ", "\n(end of thinking)\n"),
        ("--- thinking ---\nSo: ", "\n--- answer ---\n"),
        ("Let's think step by step. ", "\nFinal answer: "),
        ("First, ", "\nAnswer: "),
        ("💭 ", "\n✅ "),
        ("🤔 ", "\n📝 Answer: "),
    ],
)
def test_what_a_model_thinks_aloud_is_no_answer(opening, ending):
    answer = read_list(f"{opening}{DRAFT}{ending}{LIST}\n- effusion: J90")
    assert (answer.labels, answer.status, answer.rest) == (("effusion",), Status.OK, "- effusion: J90")
    # Without its end, it may be all there is.
    for cut in (f"{opening}{DRAFT}", f"{opening}{DRAFT} {LIST}"):
        assert not opening or read_list(cut).status == Status.UNPARSED
    chest = load_task("multiple_choice")
    for said in (
        '{"labels": ["Edema"]}',
        '```json\n{"labels": ["Edema"]}\n```',
        'Here:\n```\n{"labels": ["Edema"]}```\nDone.',
    ):
        assert chest.read(f"{opening}{DRAFT}{ending}{said}", as_json=True).labels == ("Edema",)
        assert chest.read(said, as_json=True).labels == ("Edema",)
    draft = 'Perhaps {"labels": ["Pneumothorax"]}.'
    assert chest.read(f"{opening}{draft}{ending}{said}", as_json=True).labels in (("Edema",), ())
    assert chest.read(f"{draft} No: {said}", as_json=True).status == Status.UNPARSED


@pytest.mark.parametrize(
    ("draft", "labels"),
    [
        ("<cot>['Edema']</cot>So it is ['Fracture']", ("Fracture",)),
        ("<draft>['Edema']</draft><final>['Fracture']</final>", ("Fracture",)),
        ("Draft: ['Edema']\nFinal: ['Fracture']", ("Fracture",)),
        ("It could be ['Edema']. No.\n\n**My final answer:** ['Fracture']", ("Fracture",)),
        ("1. Candidates: ['Edema', 'Mass']\n2. Denied: ['Mass']\n\nAnswer: ['Edema']", ("Edema",)),
        ("*thinking* ['Edema'], or\n['Fracture']", ()),
        ("['Edema']\nWait, on reflection: ['Fracture']", ()),
        ("The answer is not ['Edema'] but ['Fracture']", ()),
        ("```thinking\n['Edema']\n```\n['Fracture']", ()),
        # Nor is the first list always what was asked for.
        ('{"absent": ["Edema"], "present": ["Fracture"]}', ()),
        ("Negative findings: ['Edema']", ()),
        ("**Ruled out:** ['Edema']\n**Diseases:** ['Fracture']", ()),
        ("Prior study: ['Edema']\nToday: ['Fracture']", ()),
        ('{"reasoning": ["It is wet."], "diseases": ["Edema"]}', ()),
        ("Evidence: ['wet']\nDiseases: ['Edema']", ()),
        ("1. ['Edema']\n2. ['Fracture']", ()),
        ("Possible diseases: ['Edema']", ("Edema",)),
        ("['Edema']\nNegative: ['Fracture']", ("Edema",)),
        # Nothing is taken back here.
        ("Answer: ['Edema']\n\nStep 1: I looked for ['Fracture'].\nAnswer: ['Fracture']", ("Edema",)),
        ("Draft: ['Edema']", ("Edema",)),
        ("['Edema']\n<evidence>wet lungs</evidence> [1]\n<Edema>not seen [before]</Edema>", ("Edema",)),
        ("['Edema']\nEdema: actually new", ("Edema",)),
        ("<b>['Edema']</b>\nFinal report: Edema [sic]", ("Edema",)),
        ("['Edema']\n\nReport: clear.\nOutput: ['Normal']", ("Edema",)),
    ],
)
def test_a_list_that_is_taken_back_is_no_answer(draft, labels):
    answer = load_task("multiple_choice").read(draft)
    assert (answer.labels, answer.status) == (labels, Status.OK if labels else Status.UNPARSED)


PIECES = (
    "[", "['", '["', "[a,", "['a',", "[a", "[[a],", "['a'],[", "[1]", "'", "'a',", "[\\", "['\\", "[' ", "['a'\n", "a",
    "b[c,", "[{", "\n'", "' ,", " '", "[ \n", "<", "< think", "Reasoning:\n", "```\n", "</a>[", "final", "wait]",
    "Step 1 ", "(think", "{{", "~", "💭",
)  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
def test_pathological_answers_are_read_in_no_time(piece):
    response = (piece * 20_000)[:20_000] + '"]'
    start = time.process_time()
    load_task("open_ended").read(response, "A report.", as_json=True)
    assert time.process_time() - start < 4


@pytest.mark.parametrize("line", ["x", "q77: J90", "- x: J90.1 q"])
def test_long_lists_with_long_reasons_are_read_in_no_time(line):
    labels = [f"q{number}" for number in range(2_000)]
    start = time.process_time()
    answer = load_task("open_ended").read(f"{write_list(labels)}\n" + f"{line}\n" * (30_000 // len(line)), "A report.")
    assert time.process_time() - start < 6
    assert answer.labels == tuple(labels)
