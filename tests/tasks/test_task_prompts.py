"""The prompts against the paper (arXiv:2409.16563): Figure 1a, Figure 1b and Table 2, quoted here as the standard."""

from radtune.tasks import multiple_choice, open_ended
from radtune.tasks.rendering import prompt_sha256, user_message

FIGURE_1A = """\
You are given a clinical report. Your task is to identify the diseases that the patient have and list them. \
The result list should be formatted exactly as [disease1, disease2, …] and be on a single line.
Only use diseases from this list:
(‘Atelectasis’, ‘Cardiomegaly’, ‘Consolidation’, ‘Edema’, ‘Enlarged Cardiomediastinum’, ‘Fracture’, ‘Lung Lesion’, \
‘Lung Opacity’, ‘Pleural Effusion’, ‘Pleural Other’, ‘Pneumonia’, ‘Pneumothorax’, ‘Support Devices’)
Guidelines:
* Be careful about negation. E.g., do not include Pneumonia if the text says ”no Pneumonia”
* Only include diseases that are certain. Entities that are ’likely’, ’possibly’ should not be returned.
* After output the list, provide the evidence in the text for each disease."""

FIGURE_1B = """\
You are a radiologist. Your task is to do entity recognition, which will extract phrases in the report that represent \
a potential ICD-10 code. Your result should be a list, i.e., [phrase 1, phrase 2, …]. The phrase should fully contain \
the indication of an ICD-10 code, but also should be as short as possible."""

TABLE_2 = """\
You are a radiologist. Your tasks is to do disease detection, which will extract phrases in the report that represents \
a potential ICD-10 code. Your result should be a list, i.e. [phrase 1, phrase 2, …]. The phrase should fully contain \
the indication of a ICD-10 code, but also should be as short as possible."""

GUIDELINES = """
Guidelines:
* Extract phrases that directly correlate to an ICD-10 code.
* Keep the phrases as concise as possible while retaining their full meaning.
* Provide the reasoning behind each extracted phrase, including the corresponding ICD-10 code.
* Include only the conditions that the patient has. For example, if the report states ‘No pneumothorax,’ do not \
include pneumothorax.
* If there are no conditions or findings that correlate to an ICD-10 code, directly output ‘Output: []’
Example Reports and Outputs:
1. """


def test_multiple_choice_asks_as_figure_1a_and_trains_without_its_guidelines():
    assert multiple_choice.prompt() == FIGURE_1A
    assert multiple_choice.training_instruction() == FIGURE_1A.partition("\nGuidelines:")[0]


def test_open_ended_asks_as_figure_1b_with_three_examples():
    prompt = open_ended.prompt()
    assert prompt.startswith(FIGURE_1B + GUIDELINES)
    examples = prompt.removeprefix(FIGURE_1B + GUIDELINES)
    assert examples == "\n".join(
        f"{'' if number == 1 else f'{number}. '}{example.text}\n"
        f"Output: {open_ended.encode([phrase.phrase for phrase in example.phrases])}"
        for number, example in enumerate(open_ended.fixed_examples(), start=1)
    )
    assert open_ended.training_instruction() == prompt


def test_the_labelling_prompt_is_table_2_with_codes_in_its_examples():
    examples = open_ended.seed_examples()[4:7]
    prompt = open_ended.labelling_prompt(examples)
    assert prompt.startswith(TABLE_2 + GUIDELINES + examples[0].text)
    assert "\n- emphysema: J43.9\n- solitary left lung nodule: R91.1\n3. " in prompt


def test_the_report_comes_last_under_the_papers_heading():
    assert user_message("Say it.", "Clear.") == "Say it.\n\nReport to Analyze:\nClear.\n\nOutput:"


def test_a_prompts_hash_depends_on_its_words_and_its_frame():
    hashes = {prompt_sha256(p) for p in (FIGURE_1A, FIGURE_1B, TABLE_2)}
    assert len(hashes) == 3
    assert prompt_sha256(FIGURE_1A) in hashes
