"""The settings of a training run: one YAML, ``key=value`` and ``section.key=value`` overrides, no unknown key."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torchtune.config._utils import _get_component_from_path

from radtune.config import InputError, key, nearest, one_line, split_arguments
from radtune.tasks.rendering import PROMPT_FORMATS
from radtune.train.packing import PACKINGS

COMPONENT = "_component_"
# What early stopping and the choice of the best adapter may go by; a loss is better the lower, an F1 the higher.
CHOOSE_BY = ("validation_loss", "micro_f1", "multiple_choice_f1", "open_ended_f1")


@dataclass
class DatasetSettings:
    """Training rows."""

    data_files: Any = key("One instructions.jsonl or a list of them.")
    prompt_format: str = key("How instruction and report are framed.", "llama3_chat", choices=PROMPT_FORMATS)


@dataclass
class ValidationSettings:
    """Held-out rows."""

    data_files: Any = key("One instructions.jsonl or a list of them; null for no validation.", None)
    every_n_steps: int | None = key(
        "How often; null for the end of each epoch. The end of training always counts.", None
    )
    generate_rows: int = key("Rows of each task that are answered and scored by micro-F1; 0 for the loss alone.", 32)
    batch_size: int = key("Rows answered at once.", 16)
    max_new_tokens: int = key("Where an answer is cut off.", 150)
    choose_by: str = key("What the best adapter is chosen by.", "validation_loss", choices=CHOOSE_BY)
    patience: int | None = key("Stop after so many validations without a better one; null for never.", None)


def _section(help: str, schema: type) -> Any:
    return dataclasses.field(default_factory=schema, metadata={"help": help, "choices": ()})


@dataclass
class TrainingSettings:
    """Keys of a training YAML."""

    output_dir: str = key("Folder for adapter/, merged/, checkpoints/, logs and the curve.")
    checkpoint_dir: str = key("Base model in Hugging Face's layout: config.json, *.safetensors, tokenizer.")
    model: dict[str, Any] = key("torchtune's builder of the model with LoRA.")
    tokenizer: dict[str, Any] = key("Builder of the tokenizer; its max_seq_len cuts rows.")
    optimizer: dict[str, Any] = key("Any optimizer of torch or bitsandbytes.")
    lr_scheduler: dict[str, Any] = key("torchtune's schedule; gets the number of steps.")
    metric_logger: dict[str, Any] = key("torchtune's disk, TensorBoard, W&B or screen logger.")
    dataset: DatasetSettings = _section("Training rows; its keys are below.", DatasetSettings)  # noqa: RUF009  (a field)
    validation: ValidationSettings = _section(  # noqa: RUF009  (a field)
        "Held-out rows; its keys are below.", ValidationSettings
    )
    seed: int = key("Governs the adapter's start, the order of rows and dropout.", 0)
    epochs: int = key("Passes over the rows.", 1)
    max_steps: int | None = key("Stop after so many optimizer steps; null for all.", None)
    rows_per_step: int = key("Rows of an optimizer step, over all processes: the effective batch.", 128)
    packing: str = key("How rows of a step are put into sequences.", "shared_prefix", choices=PACKINGS)
    tokens_per_batch: int = key(
        "Most tokens computed at once in a process; more is faster and takes more memory.", 2048
    )
    clip_grad_norm: float | None = key("Largest norm of the gradient; null for any.", None)
    compile: bool = key("Compile the layers: faster steps after slow first ones.", False)
    activation_checkpointing: str = key(
        "Recompute activations to save memory; auto: only where the estimate exceeds the device's memory.",
        "auto", choices=("auto", "always", "never"),
    )  # fmt: skip
    device: str = key("cpu or cuda.", "cpu", choices=("cpu", "cuda"))
    dtype: str = key("What weights are held and computed in.", "bf16", choices=("fp32", "bf16"))
    checkpoint_every_n_steps: int = key("How often the state is saved, besides at SIGTERM and SIGINT.", 50)
    keep_checkpoints: int = key("How many of them stay.", 2)
    resume: str | None = key(
        "auto: go on from the newest whole checkpoint, if there is one; or a checkpoint file.", None
    )
    write_merged: bool = key("Write merged/, the whole fine-tuned model.", True)
    write_torchtune: bool = key("Write torchtune/, adapter and merged model in torchtune's own format.", False)
    log_every_n_steps: int = key("How often the metric logger gets figures.", 1)


SECTIONS = {"dataset": DatasetSettings, "validation": ValidationSettings}


def read_settings(arguments: Sequence[str]) -> TrainingSettings:
    """Reads ``--config FILE.yaml key=value section.key=value ...``.

    Raises:
        InputError: A file that is absent or no YAML; an unknown key, with the nearest one; a value of a wrong type.
    """
    config_file, overrides = split_arguments(arguments)
    if config_file is None:
        raise InputError("--config FILE.yaml is needed")
    try:
        loaded = OmegaConf.merge(
            _load(config_file),
            *(_override(name, value) for name, value in overrides),
        )
        values = OmegaConf.to_container(loaded, resolve=True)
    except (OmegaConfBaseException, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{config_file}: {one_line(error)}") from None
    _check_keys(TrainingSettings, values, "")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(TrainingSettings), values)
        if missing := sorted(OmegaConf.missing_keys(merged)):
            raise InputError(f"{config_file}: missing required key: {', '.join(missing)}")
        settings = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise InputError(f"{config_file}: {one_line(error)}") from None
    _check_values(settings)
    return settings


def _load(path: Path) -> Any:
    # By OmegaConf, as torchtune does: plain YAML takes the `5e-3` of its configs for a text.
    try:
        loaded = OmegaConf.load(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        raise InputError(f"{path}{f':{mark.line + 1}' if mark else ''}: not valid YAML") from None
    if not OmegaConf.is_dict(loaded):
        raise InputError(f"{path}: expected a mapping of keys to values")
    return loaded


def _override(name: str, value: str) -> Any:
    try:
        return OmegaConf.from_dotlist([f"{name}={value}"])
    except (
        yaml.YAMLError,
        OmegaConfBaseException,
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
        RecursionError,
    ):
        # Which of them depends on whether the key, the value or a date in it cannot be read.
        raise InputError(f"command line: cannot read {f'{name}={value}'[:60]!r}") from None


def _check_keys(schema: type, values: dict[str, Any], section: str) -> None:
    known = {field.name: field for field in dataclasses.fields(schema)}
    for name, value in values.items():
        if name not in known:
            raise InputError(f"unknown key {f'{section}{name}'!r}{nearest(str(name), list(known))}")
        if dataclasses.is_dataclass(known[name].type):
            if not isinstance(value, dict):
                raise InputError(f"{section + name}: expected keys below it")
            _check_keys(known[name].type, value, f"{name}.")
        choices = known[name].metadata["choices"]
        if choices and value not in choices:
            raise InputError(
                f"{section + name}: {value!r} is not one of {', '.join(choices)}{nearest(str(value), choices)}"
            )


def _check_values(settings: TrainingSettings) -> None:
    at_least_one = {
        name: getattr(settings, name)
        for name in (
            "epochs", "max_steps", "rows_per_step", "tokens_per_batch", "checkpoint_every_n_steps",
            "keep_checkpoints", "log_every_n_steps",
        )
    }  # fmt: skip
    at_least_one |= {
        f"validation.{name}": getattr(settings.validation, name)
        for name in ("every_n_steps", "batch_size", "max_new_tokens", "patience")
    }
    at_least_one["tokenizer.max_seq_len"] = settings.tokenizer.get("max_seq_len")
    # The exported adapter's config and scale need both, whatever defaults the builder has.
    for name in ("lora_rank", "lora_alpha"):
        at_least_one[f"model.{name}"] = settings.model.get(name) or 0
    for name, value in at_least_one.items():
        if value is not None and not (isinstance(value, int | float) and value >= 1):
            raise InputError(f"{name} must be 1 or more")
    validation = settings.validation
    if not 0 <= settings.seed < 2**32 or validation.generate_rows < 0:
        raise InputError("seed and validation.generate_rows must be 0 or more, and seed less than 2**32")
    if settings.clip_grad_norm is not None and not settings.clip_grad_norm > 0:
        raise InputError("clip_grad_norm must be more than 0")
    if validation.choose_by != "validation_loss" and validation.generate_rows == 0:
        raise InputError(f"validation.choose_by={validation.choose_by} needs validation.generate_rows")
    if validation.data_files is None and (validation.patience is not None or validation.choose_by != "validation_loss"):
        raise InputError("validation.patience and validation.choose_by need validation.data_files")


def data_files(value: Any, name: str) -> list[Path]:
    """The files that a ``data_files`` key names.

    Raises:
        InputError: It is no file name and no list of them.
    """
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(item, str) and item for item in values):
        raise InputError(f"{name}: expected a file name or a list of them")
    return [Path(item) for item in values]


# What `*args` and `**kwargs` are: no names of arguments.
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def component(section: dict[str, Any], name: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """What a section with ``_component_`` names, and its arguments, each of which it must know.

    Args:
        section: The section.
        name: Its key, for messages.

    Returns:
        The function or class, and its keyword arguments.

    Raises:
        InputError: No such component, or an argument that it does not take, with the nearest it does.
    """
    path, arguments = section.get(COMPONENT), {key: value for key, value in section.items() if key != COMPONENT}
    if not isinstance(path, str):
        raise InputError(f"{name}.{COMPONENT} is missing")
    try:
        found = _get_component_from_path(path)
    except Exception as error:  # whatever an import may raise; the message is torchtune's own
        raise InputError(f"{name}.{COMPONENT}: {path!r} cannot be imported: {str(error)[:200]}") from None
    known = [name for name, parameter in inspect.signature(found).parameters.items() if parameter.kind not in _VARIADIC]
    for argument in arguments:
        if argument not in known:
            raise InputError(f"unknown key {f'{name}.{argument}'!r}{nearest(argument, known)}; {path} does not take it")
    return found, arguments


def build(section: dict[str, Any], name: str, *inputs: Any, **more: Any) -> Any:
    """Calls a component with positional inputs, the section's arguments and more.

    Raises:
        InputError: As :func:`component`; or it refuses its arguments.
    """
    found, arguments = component(section, name)
    try:
        return found(*inputs, **arguments, **more)
    except (
        AssertionError,
        AttributeError,
        ImportError,
        KeyError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise InputError(f"{name}: {section[COMPONENT]}: {' '.join(str(error).split())[:300]}") from None
