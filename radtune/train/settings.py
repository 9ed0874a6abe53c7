"""The settings of a training run: the keys of its YAML, and the components that its sections name."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from radtune.config import InputError, as_input_error, key, nearest
from radtune.tasks.rendering import PROMPT_FORMATS

COMPONENT = "_component_"
# How rows become sequences: padded, packed, or packed behind the prefix that they share.
PACKINGS = ("none", "rows", "shared_prefix")
# Where the components of a section may come from. A YAML that names what it likes is a program, and its reader is not
# told; these packages' own optimizers, schedules and loggers are none.
COMPONENTS = {
    "optimizer": ("torch.optim.", "torchao.optim.", "bitsandbytes.optim."),
    "lr_scheduler": ("torchtune.training.lr_schedulers.",),
    "metric_logger": ("torchtune.training.metric_logging.",),
}


@dataclass
class ModelSettings:
    """The adapter; all else is the base model's."""

    lora_attn_modules: list[str] = key(
        "Projections of attention that it changes.", choices=("q_proj", "k_proj", "v_proj", "output_proj")
    )
    apply_lora_to_mlp: bool = key("Whether it changes the layers between them, too.", False)
    apply_lora_to_output: bool = key("Whether it changes the output layer, too.", False)
    lora_rank: int = key("Its rank.", ge=1)
    lora_alpha: int = key("Its products are scaled by alpha over rank.", ge=1)
    lora_dropout: float = key("Share of its inputs left out in training.", 0.0, ge=0, le=1)
    quantize_base: bool = key("Hold the base model in 4 bits (QLoRA).", False)

    def __post_init__(self) -> None:
        if not self.lora_attn_modules:
            raise InputError("lora_attn_modules names none")


@dataclass
class TokenizerSettings:
    """The tokenizer is the base model's."""

    max_seq_len: int | None = key("Where rows are cut; null for nowhere.", None, ge=1)


@dataclass
class DatasetSettings:
    """Training rows."""

    data_files: str | list[str] = key("One instructions.jsonl or a list of them.")
    prompt_format: str = key("How instruction and report are framed.", "llama3_chat", PROMPT_FORMATS)


@dataclass
class LossSettings:
    """What mistakes cost: all alike, or those of a model that names too little more."""

    item_weight: float = key("Weight of the tokens of a list's items; above 1, the model names more.", 1.0, gt=0)
    end_weight: float = key("Weight of what ends a list, or says that there is none; below 1, too.", 1.0, gt=0)
    tversky: float = key(
        "Weight of each row's Tversky loss, of the class probabilities of closed answers; counted as tokens.", 0.0, ge=0
    )
    tversky_recall: float = key(
        "What a class that is missed costs in it; one that is not there costs the rest of 1.", 0.7, ge=0, le=1
    )


@dataclass
class ValidationSettings:
    """Held-out rows."""

    data_files: str | list[str] | None = key("One instructions.jsonl or a list of them; null for no validation.", None)
    every_n_steps: int | None = key(
        "How often; null for the end of each epoch. The end of training always counts.", None, ge=1
    )
    generate_rows: int = key(
        "Rows of each task that are answered and scored by micro-F1; 0 for the loss alone.", 32, ge=0
    )
    batch_size: int = key("Rows answered at once.", 16, ge=1)
    max_new_tokens: int = key("Where an answer is cut off.", 150, ge=1)
    choose_by: str = key(
        "What the best adapter is chosen by: validation_loss, micro_f1, or TASK_f1 of one task.", "validation_loss"
    )
    patience: int | None = key("Stop after so many validations without a better one; null for never.", None, ge=1)

    def __post_init__(self) -> None:
        if self.choose_by != "validation_loss" and self.generate_rows == 0:
            raise InputError("choose_by an F1 needs generate_rows")
        if self.data_files is None and (self.patience is not None or self.choose_by != "validation_loss"):
            raise InputError("patience and choose_by need data_files")


@dataclass
class TrainingSettings:
    """Keys of a training YAML."""

    output_dir: str = key("Folder for adapter/, merged/, checkpoints/, logs and the curve.")
    checkpoint_dir: str = key("Base model in Hugging Face's layout: config.json, *.safetensors, tokenizer.")
    model: ModelSettings = key("The adapter.", ModelSettings)
    tokenizer: TokenizerSettings = key("The base model's.", TokenizerSettings)
    optimizer: dict[str, Any] = key("Any optimizer of torch, torchao or bitsandbytes.")
    lr_scheduler: dict[str, Any] = key("torchtune's schedule; gets the number of steps.")
    metric_logger: dict[str, Any] = key("torchtune's disk, TensorBoard, W&B or screen logger.")
    dataset: DatasetSettings = key("Training rows.", DatasetSettings)
    validation: ValidationSettings = key("Held-out rows.", ValidationSettings)
    loss: LossSettings = key("What mistakes cost in training; validation counts all tokens alike.", LossSettings)
    tasks: list[str] = key("Task files of one's own among the rows; those in configs/tasks are found by name.", [])
    # What torch's and NumPy's generators both take.
    seed: int = key("Governs the adapter's start, the order of rows and dropout.", 0, ge=0, le=2**32 - 1)
    epochs: int = key("Passes over the rows.", 1, ge=1)
    max_steps: int | None = key("Stop after so many optimizer steps; null for all.", None, ge=1)
    rows_per_step: int = key("Rows of an optimizer step, over all processes: the effective batch.", 128, ge=1)
    packing: str = key("How rows of a step are put into sequences.", "shared_prefix", choices=PACKINGS)
    tokens_per_batch: int = key(
        "Most tokens computed at once in a process; more is faster and takes more memory.", 2048, ge=1
    )
    clip_grad_norm: float | None = key("Largest norm of the gradient; null for any.", None, gt=0)
    compile: bool = key("Compile the layers: faster steps after slow first ones.", False)
    activation_checkpointing: bool = key("Recompute activations: less memory, about a third more computing.", False)
    device: str = key("cpu or cuda.", "cpu", choices=("cpu", "cuda"))
    dtype: str = key(
        "What weights are held and computed in; auto is bf16 on cuda, else fp32.", "auto", ("auto", "fp32", "bf16")
    )
    checkpoint_every_n_steps: int = key("How often the state is saved, besides at SIGTERM and SIGINT.", 50, ge=1)
    keep_checkpoints: int = key("How many of them stay.", 2, ge=1)
    resume: str | None = key(
        "auto: go on from the newest whole checkpoint, if there is one; or a checkpoint file.", None
    )
    write_merged: bool = key("Write merged/, the whole fine-tuned model.", True)
    write_torchtune: bool = key("Write torchtune/, adapter and merged model in torchtune's own format.", False)
    log_every_n_steps: int = key("How often the metric logger gets figures.", 1, ge=1)


# What `*args` and `**kwargs` are: no names of arguments.
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def component(section: dict[str, Any], name: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The function or class that a section has as ``_component_``, and its arguments, which it must know."""
    path, arguments = section.get(COMPONENT), {key: value for key, value in section.items() if key != COMPONENT}
    if not isinstance(path, str):
        raise InputError(f"{name}.{COMPONENT} is missing")
    if not path.startswith(COMPONENTS[name]):
        raise InputError(f"{name}.{COMPONENT}: expected {' or '.join(f'{m}NAME' for m in COMPONENTS[name])}")
    from torchtune.config._utils import _get_component_from_path  # takes seconds, and torch

    with as_input_error(f"{name}.{COMPONENT}: {path!r} cannot be imported"):
        found = _get_component_from_path(path)
    # `torch.optim.sys.exit` begins with the right name, too.
    if not f"{getattr(found, '__module__', '')}.".startswith(COMPONENTS[name]) or not callable(found):
        raise InputError(f"{name}.{COMPONENT}: {path!r} is of another module")
    known = [name for name, parameter in inspect.signature(found).parameters.items() if parameter.kind not in _VARIADIC]
    for argument in arguments:
        if argument not in known:
            raise InputError(f"unknown key {f'{name}.{argument}'!r}{nearest(argument, known)}; {path} does not take it")
    return found, arguments


def build(section: dict[str, Any], name: str, *inputs: Any, **more: Any) -> Any:
    """Calls a :func:`component` with inputs, the section's arguments and more; an InputError where it refuses them."""
    found, arguments = component(section, name)
    with as_input_error(f"{name}: {section[COMPONENT]}"):
        return found(*inputs, **arguments, **more)
