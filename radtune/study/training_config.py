"""What the graph must know of a study's training before anything runs: the recipe's YAML with the study's overrides."""

from dataclasses import dataclass
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from radtune.config import InputError
from radtune.study.plan import Study, cells


@dataclass(frozen=True)
class TrainingConfig:
    """Of the recipe's keys, those that files and resources of a job depend on."""

    epochs: int
    on_gpu: bool


def read_training_config(study: Study) -> TrainingConfig:
    """Reads the recipe's YAML.

    Raises:
        InputError: It is absent or no YAML mapping, an override is not of its form, one of the keys needed is missing
            or is no whole number above 0, or a cell has fewer rows than one optimizer step takes.
    """
    where = study.config
    try:
        loaded = OmegaConf.load(where)
        if not isinstance(loaded, DictConfig):
            raise InputError(f"config: {where}: expected a mapping of keys to values")
        values = OmegaConf.merge(loaded, OmegaConf.from_dotlist(study.overrides))
        batch, accumulated, epochs = (
            _whole(study, name, values.get(name)) for name in ("batch_size", "gradient_accumulation_steps", "epochs")
        )
        on_gpu = values.get("device") == "cuda"
    except OSError as error:
        # OmegaConf's own has no strerror.
        raise InputError(f"config: {where}: {(error.strerror or 'cannot be read').lower()}") from None
    except (OmegaConfBaseException, UnicodeDecodeError, yaml.YAMLError):
        raise InputError(f"config: {where}: not valid YAML, or an override is not key=value") from None
    for cell in cells(study):
        if 0 < cell.total < batch * accumulated:
            raise InputError(
                f"{cell.name}: {cell.total} rows do not fill one optimizer step of {batch * accumulated} ({where})"
            )
    return TrainingConfig(epochs, on_gpu)


def _whole(study: Study, name: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise InputError(f"config: {study.config}: {name} is {value!r}, expected a whole number above 0")
    return value
