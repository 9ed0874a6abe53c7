"""Loading a Hugging Face checkpoint and a PEFT adapter, in 8 or 4 bits with bitsandbytes: quietly, or not at all."""

import importlib.util
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from radtune.config import InputError, as_input_error
from radtune.files import read_json
from radtune.models.checkpoint import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    PEFT_PREFIX,
    STARTS_AGAIN,
    check_base,
    check_finite,
    check_sizes,
    read_weights,
)


def load_pretrained(
    folder: Path, adapter: Path | None, device: torch.device, dtype: torch.dtype, quantization: str | None
) -> tuple[Any, Any]:
    """A model and its tokenizer from a folder as ``save_pretrained`` writes it, with a PEFT adapter if one is given.

    Nothing is downloaded, and no code of the checkpoint is run. ``quantization`` is ``8bit``, ``4bit`` or None. An
    InputError says what a folder lacks, or that bitsandbytes is not installed.
    """
    from transformers import AutoTokenizer

    check_sizes(read_json(folder / "config.json"), folder)
    if adapter is not None:
        # peft would look for what is absent on the Hub.
        check_base(adapter, folder)
        if quantization and (start := read_json(adapter / ADAPTER_CONFIG).get("init_lora_weights")) in STARTS_AGAIN:
            # PEFT would take it off weights of fewer bits than it was taken off in training.
            raise InputError(f"{adapter}: its start, {start}, is a part of its base model: leave quantization= out")
    with _quietly():
        model = _base_model(folder, device, dtype, quantization)
        with as_input_error(f"{folder}: its tokenizer cannot be loaded with transformers"):
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return (model if adapter is None else _with_adapter(model, adapter)), tokenizer


def _base_model(folder: Path, device: torch.device, dtype: torch.dtype, quantization: str | None) -> Any:
    from transformers import AutoModelForCausalLM

    # Code that a checkpoint brings is not run: left open, transformers asks for leave on a terminal.
    options = {"dtype": dtype, "local_files_only": True, "trust_remote_code": False, "device_map": str(device)}
    # It tells weights of another shape only in a report on stderr, unless it is to go on with random ones.
    options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
    # torchtune's recipe leaves an adapter beside the merged weights, which would be put on them once more.
    options |= {"adapter_kwargs": {"subfolder": "none"}}
    bits = None if quantization is None else _bits(quantization, dtype)
    with as_input_error(f"{folder}: cannot be loaded with transformers"):
        model, loaded = AutoModelForCausalLM.from_pretrained(folder, quantization_config=bits, **options)
    # transformers warns of these and goes on, with random weights in their places.
    mismatched = {name for name, *_ in loaded["mismatched_keys"]}
    strange = sorted(loaded["missing_keys"] or loaded["unexpected_keys"] or mismatched)
    if strange:
        raise InputError(f"{folder}: weights and config.json do not fit: {len(strange)} weights, e.g. {strange[0]}")
    # What is held in 8 or 4 bits shows in its logits.
    check_finite(model.named_parameters(), folder)
    return model


def _bits(quantization: str, dtype: torch.dtype) -> Any:
    from transformers import BitsAndBytesConfig

    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(f"quantization={quantization} needs bitsandbytes: pip install '.[bitsandbytes]'")
    # It says at every product that inputs are cast to float16.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def _with_adapter(model: Any, folder: Path) -> Any:
    from peft import PeftConfig, PeftModel, get_peft_model_state_dict

    weights, config = dict(read_weights(folder / ADAPTER_WEIGHTS)), read_json(folder / ADAPTER_CONFIG)
    with as_input_error(f"{folder}: cannot be loaded with peft"):
        # Regular expressions of a stranger, which may take forever; or a module of this Python, to be imported.
        plain = [
            *(config.get("rank_pattern") or ()),
            *(config.get("alpha_pattern") or ()),
            config.get("layers_pattern"),
        ]
        if config.get("megatron_config") or not all(re.fullmatch(r"[\w.]*", str(name)) for name in plain):
            raise ValueError("patterns, or megatron_config, that are not run here")
        ranks = [config.get("r"), *(config.get("rank_pattern") or {}).values()]
        most = max((size for weight in weights.values() for size in weight.shape), default=1)
        if any(type(rank) is int and rank > most for rank in ranks):
            raise ValueError("a rank is more than any of its weights has")
        settings = PeftConfig.from_pretrained(str(folder))
        if newer := [name for name, value in config.items() if value and not hasattr(settings, name)]:
            # It would be left out with a warning.
            raise ValueError(f"{ADAPTER_CONFIG}: this peft does not know {newer[0]}")
        if isinstance(config.get("target_modules"), str) or config.get("exclude_modules"):
            # One more regular expression: the weights say it without.
            targets = {name.removeprefix(PEFT_PREFIX).partition(".lora_")[0] for name in weights if ".lora_" in name}
            settings.target_modules, settings.exclude_modules = targets, None
        model = PeftModel.from_pretrained(model, str(folder), config=settings)
    # peft warns of these and goes on. An adapter on the output layer may or may not bring that layer itself.
    needed, known = (set(get_peft_model_state_dict(model, save_embedding_layers=whole)) for whole in (False, "auto"))
    if strange := sorted((needed - set(weights)) | (set(weights) - known)):
        raise InputError(f"{folder}: adapter and model do not fit: {len(strange)} weights, e.g. {strange[0]}")
    check_finite(weights.items(), folder)
    return model


@contextmanager
def _quietly() -> Iterator[None]:
    """Keeps all but errors in transformers' log, and bars where no terminal is, off stderr."""
    from transformers.utils import logging as log

    before, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    if bars and not sys.stderr.isatty():
        log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(before)
        if bars:
            log.enable_progress_bar()
