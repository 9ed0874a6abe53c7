"""The strict config: each key known to somebody, mistakes told in one line with the nearest name."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radtune.config import InputError
from radtune.train.settings import build, component, data_files, read_settings

MINI = "configs/mini/lora_fast.yaml"


def test_yaml_and_overrides():
    read = read_settings(
        [
            "--config",
            MINI,
            "output_dir=runs/x",
            "model.lora_rank=16",
            "validation.patience=2",
            "validation.data_files=held_out.jsonl",
        ]
    )
    assert read.model["lora_rank"] == 16
    assert read.metric_logger["log_dir"] == "runs/x/logs"
    assert read.validation.patience == 2
    assert read.optimizer["lr"] == pytest.approx(5e-3)
    assert read.dataset.prompt_format == "llama3_chat"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rows_per_stepp=4", "unknown key 'rows_per_stepp'; did you mean 'rows_per_step'?"),
        ("validation.pacience=4", "unknown key 'validation.pacience'; did you mean 'patience'?"),
        ("packing=share", "packing: 'share' is not one of none, rows, shared_prefix; did you mean 'shared_prefix'?"),
        ("dataset.prompt_format=chat", "dataset.prompt_format: 'chat' is not one of"),
        ("rows_per_step=many", "Value 'many' of type 'str' could not be converted to Integer"),
        ("rows_per_step=0", "rows_per_step must be 1 or more"),
        ("validation.patience=0", "validation.patience must be 1 or more"),
        ("seed=-1", "seed and validation.generate_rows must be 0 or more"),
        ("seed=99999999999999999999", "and seed less than 2**32"),
        ("tokenizer.max_seq_len=0", "tokenizer.max_seq_len must be 1 or more"),
        ("model.lora_rank=null", "model.lora_rank must be 1 or more"),
        ("model.lora_alpha=much", "model.lora_alpha must be 1 or more"),
        ("clip_grad_norm=nan", "clip_grad_norm must be more than 0"),
        ("validation.patience=2", "validation.patience and validation.choose_by need validation.data_files"),
        ("output_dir=null", "output_dir"),
        ("validation=3", "validation: expected keys below it"),
    ],
)
def test_mistakes_are_one_line(override, message):
    with pytest.raises(InputError) as caught:
        read_settings(["--config", MINI, override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=30, deadline=None)
@given(st.text(min_size=1, max_size=30))
def test_any_argument_is_read_or_refused_in_one_line(text):
    try:
        read_settings(["--config", MINI, text])
    except InputError as error:
        assert "\n" not in " ".join(str(error).split())


@pytest.mark.parametrize("content", ["a: [1", "- 1\n", "seed: ${nowhere}\n", "seed: 1\nseed: 2\n", "\xff"])
def test_broken_files(tmp_path, content):
    path = tmp_path / "x.yaml"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=r"x\.yaml"):
        read_settings(["--config", str(path)])


def test_absent_file_and_absent_option(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_settings(["--config", str(tmp_path / "absent.yaml")])
    with pytest.raises(InputError, match=r"--config FILE\.yaml is needed"):
        read_settings(["seed=1"])


def test_components_know_their_arguments():
    with pytest.raises(InputError, match=r"unknown key 'optimizer\.weight_decai'; did you mean 'weight_decay'"):
        component({"_component_": "torch.optim.AdamW", "weight_decai": 1}, "optimizer")
    with pytest.raises(InputError, match=r"unknown key 'logger\.kwargs'"):
        component({"_component_": "torchtune.training.metric_logging.DiskLogger", "kwargs": 1}, "logger")
    with pytest.raises(InputError, match=r"'torch\.optim\.Adamm' cannot be imported"):
        component({"_component_": "torch.optim.Adamm"}, "optimizer")
    with pytest.raises(InputError, match="_component_ is missing"):
        component({"lr": 1}, "optimizer")
    with pytest.raises(InputError, match="Invalid learning rate"):
        build({"_component_": "torch.optim.AdamW", "lr": -1.0}, "optimizer", [])


def test_data_files_are_names():
    assert [str(path) for path in data_files(["a", "b"], "x")] == ["a", "b"]
    for wrong in (None, [], 3, [""], {"a": 1}):
        with pytest.raises(InputError, match="expected a file name"):
            data_files(wrong, "x")
