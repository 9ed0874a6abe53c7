"""The keys of a training YAML and the components that it names, each mistake told in one line."""

import pytest
from refusals import refused

from radtune.config import InputError, parse_config
from radtune.train.data import data_paths
from radtune.train.settings import TrainingSettings, build, component

MINI = "configs/mini/lora_fast.yaml"


def read(*overrides):
    return parse_config(TrainingSettings, ["--config", MINI, *overrides])


def test_yaml_and_overrides():
    settings = read("output_dir=runs/x", "model.lora_rank=16", "validation.patience=2", "validation.data_files=h.jsonl")
    assert settings.model.lora_rank == 16
    assert settings.metric_logger["log_dir"] == "runs/x/logs"
    assert settings.validation.patience == 2
    assert settings.optimizer["lr"] == pytest.approx(5e-3)
    assert settings.dataset.prompt_format == "llama3_chat"
    assert [str(path) for path in data_paths(settings.validation.data_files)] == ["h.jsonl"]
    assert [str(path) for path in data_paths(read("dataset.data_files=[a, b]").dataset.data_files)] == ["a", "b"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("validation.pacience=4", "command line: unknown key 'validation.pacience'; did you mean 'patience'?"),
        ("dataset.data_files={a:1}", "command line: dataset.data_files: expected str or list of str"),
        ("seed=4294967296", "command line: seed: expected 0 or more and at most 4,294,967,295"),
        ("tokenizer.max_seq_len=0", "command line: tokenizer.max_seq_len: expected 1 or more"),
        ("model.lora_alpha=much", "command line: model.lora_alpha: expected int"),
        # What the base model's folder says is not said again.
        ("model.rope_base=10000", "command line: unknown key 'model.rope_base'"),
        ("model._component_=torchtune.models.llama3_1.lora_llama3_1", "unknown key 'model._component_'"),
        ("model.use_dora=true", "unknown key 'model.use_dora'"),
        ("model.lora_attn_modules=[]", "model: lora_attn_modules names none"),
        ("model.lora_attn_modules=[q_proj,o_proj]", "expected one of q_proj, k_proj, v_proj, output_proj"),
        ("validation.patience=2", f"{MINI}: validation: patience and choose_by need data_files"),
        ("validation.generate_rows=0 validation.choose_by=micro_f1", "validation: choose_by an F1 needs generate_rows"),
    ],
)
def test_what_does_not_go_together_is_one_line(override, message):
    with refused(message):
        read(*override.split())


def test_components_know_their_arguments():
    with pytest.raises(InputError, match=r"unknown key 'optimizer\.weight_decai'; did you mean 'weight_decay'"):
        component({"_component_": "torch.optim.AdamW", "weight_decai": 1}, "optimizer")
    with pytest.raises(InputError, match=r"unknown key 'metric_logger\.kwargs'"):
        component({"_component_": "torchtune.training.metric_logging.DiskLogger", "kwargs": 1}, "metric_logger")
    with pytest.raises(InputError, match=r"'torch\.optim\.Adamm' cannot be imported"):
        component({"_component_": "torch.optim.Adamm"}, "optimizer")
    with pytest.raises(InputError, match="_component_ is missing"):
        component({"lr": 1}, "optimizer")
    with pytest.raises(InputError, match="Invalid learning rate"):
        build({"_component_": "torch.optim.AdamW", "lr": -1.0}, "optimizer", [])


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("metric_logger", "os.system"),
        ("metric_logger", "torch.hub.load"),
        ("optimizer", "my_package.Optimizer"),
        ("optimizer", "torch.optimizers.AdamW"),
        ("lr_scheduler", "torchtune.training.lr_schedulers.math.exp"),
        ("optimizer", "torch.optim.torch.load"),
        ("metric_logger", "torchtune.training.metric_logging.sys.exit"),
        ("metric_logger", "torchtune.training.metric_logging.log.info"),
    ],
)
def test_a_yaml_names_no_programs(name, path):
    with pytest.raises(InputError, match=rf"^{name}\._component_: "):
        component({"_component_": path}, name)
