"""The dataset builder: the same tokens as inference, a loss on answers alone, one-line errors."""

import shutil

import pytest
from training_rounds import synthetic_rows

from radtune.files import write_jsonl
from radtune.models.tokenizer import prompt_tokens
from radtune.tasks import load_task
from radtune.tasks.rendering import PROMPT_FORMATS, user_message
from radtune.train import instruction_dataset, llama3_tokenizer
from radtune.train.data import IGNORED


def tokenizer(max_seq_len=None):
    return llama3_tokenizer("data/mini/original/tokenizer.model", "data/mini/tokenizer.json", max_seq_len)


@pytest.fixture(scope="module")
def rows():
    return synthetic_rows(12, 1, {"multiple_choice": 6, "open_ended": 6}).train


@pytest.fixture(scope="module")
def path(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "instructions.jsonl"
    write_jsonl(path, rows)
    return path


@pytest.mark.parametrize("prompt_format", PROMPT_FORMATS)
def test_training_sees_the_tokens_of_inference_and_learns_the_answer_alone(rows, path, prompt_format):
    tok = tokenizer()
    dataset = instruction_dataset(tok, str(path), prompt_format)
    assert len(dataset) == len(rows)
    for row, sample in zip(rows, (dataset[i] for i in range(len(dataset))), strict=True):
        prompt = prompt_tokens(
            tok, user_message(load_task(row.task).prompt("training").instruction, row.input, prompt_format)
        )
        assert sample["tokens"][: len(prompt)] == prompt
        answer = sample["tokens"][len(prompt) :]
        assert tok.decode(answer, truncate_at_eos=False) == row.output
        assert answer[-2:] == [tok.eot_id, tok.eos_id]
        learned = [token for token in sample["labels"] if token != IGNORED]
        assert tok.decode(learned, truncate_at_eos=False) == row.output


def trained(dataset):
    return [sum(int(label != IGNORED) for label in dataset[i]["labels"]) for i in range(len(dataset))]


@pytest.mark.parametrize("packed", [False, True])
def test_rows_are_cut_and_those_without_an_answer_left_out(rows, path, caplog, capsys, packed):
    """A batch of nothing to learn would have a mean loss of 0 / 0, and all weights with it."""
    lengths = sorted(len(row["tokens"]) for row in instruction_dataset(tokenizer(), str(path)))
    limit = lengths[0] + 1
    dataset = instruction_dataset(tokenizer(limit), str(path), packed=packed)
    assert 0 < len(dataset) < len(rows)
    assert all(trained(dataset))
    assert max(len(dataset[i]["tokens"]) for i in range(len(dataset))) == limit
    assert f"of {len(rows)} rows reach tokenizer.max_seq_len={limit}: their answers are cut" in caplog.text
    assert "rows have no answer left to train on, and are left out" in caplog.text
    with pytest.raises(SystemExit) as ended:
        instruction_dataset(tokenizer(20), str(path), packed=packed)
    assert ended.value.code == 2
    assert "tokenizer.max_seq_len=20 cuts the answer off every row" in capsys.readouterr().err


def test_packed_rows_keep_every_trained_token(path):
    plain = instruction_dataset(tokenizer(2048), str(path))
    packed = instruction_dataset(tokenizer(2048), str(path), packed=True)
    assert len(packed) < len(plain)
    assert sum(trained(packed)) == sum(trained(plain))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no rows"),
        ('{"instruction": "a"}\n', ":1: 'input' is missing"),
        ('{"instruction": \n', ":1: not valid JSON"),
    ],
)
def test_broken_files_end_with_one_line_and_code_2(tmp_path, capsys, content, message):
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(SystemExit) as ended:
        instruction_dataset(None, str(path))
    assert ended.value.code == 2
    line = capsys.readouterr().err.removesuffix("\n")
    assert "\n" not in line
    assert str(path) in line
    assert message in line


def test_tokenizer_of_a_changed_file_is_read_afresh(tmp_path):
    path = tmp_path / "tokenizer.model"
    shutil.copy("data/mini/original/tokenizer.model", path)
    text = "Small left pleural effusion."
    before = llama3_tokenizer(str(path), "data/mini/tokenizer.json").encode(text, add_bos=False, add_eos=False)
    single_bytes = path.read_text().splitlines()[:256]
    path.write_text("\n".join(single_bytes) + "\n")
    after = llama3_tokenizer(str(path), "data/mini/tokenizer.json").encode(text, add_bos=False, add_eos=False)
    assert len(before) < len(after) == len(text)
