import dataclasses
from pathlib import Path

import pytest

from radtune.config import InputError
from radtune.study.plan import Study, study_from_mapping
from radtune.study.training_config import read_training_config

GOOD = "batch_size: 2\ngradient_accumulation_steps: 4\nepochs: 3\ndevice: cuda\n"


@pytest.fixture
def study(few_values: dict, tmp_path: Path) -> Study:
    (tmp_path / "recipe.yaml").write_text(GOOD)
    return study_from_mapping(few_values | {"config": str(tmp_path / "recipe.yaml")})


def test_the_yaml_and_the_overrides_are_read(study: Study) -> None:
    config = read_training_config(study)
    assert (config.epochs, config.on_gpu) == (3, True)
    config = read_training_config(dataclasses.replace(study, overrides=["epochs=1", "device=cpu"]))
    assert (config.epochs, config.on_gpu) == (1, False)


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (None, [], "recipe.yaml: no such file"),
        ("a: [1\n", [], "recipe.yaml: not valid YAML"),
        ("- 1\n", [], "recipe.yaml: expected a mapping"),
        ("a: ${b\n", [], "recipe.yaml: not valid YAML"),
        ("epochs: 1\n", [], "batch_size is None, expected a whole number above 0"),
        (GOOD, ["batch_size"], "batch_size is None"),
        (GOOD, ["epochs=many"], "epochs is 'many'"),
        (GOOD, ["epochs=0"], "epochs is 0"),
        (GOOD, ["batch_size=true"], "batch_size is True"),
        (GOOD, ["gradient_accumulation_steps=100"], "mix_100_50: 150 rows do not fill one optimizer step of 200"),
    ],
)
def test_what_cannot_be_trained_is_told_before(
    study: Study, text: str | None, overrides: list[str], message: str
) -> None:
    if text is None:
        study.config.unlink()
    else:
        study.config.write_text(text)
    with pytest.raises(InputError) as caught:
        read_training_config(dataclasses.replace(study, overrides=overrides))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
