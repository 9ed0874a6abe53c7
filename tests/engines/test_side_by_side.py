"""Several adapters asked in one run: each answers as by itself, and leaves what asking it by itself leaves."""

import json
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from recipe_runs import Run
from safetensors.torch import load_file, save_file

from radtune.ask.command import AskConfig, ask
from radtune.ask.ledger import Ledger
from radtune.config import InputError, parse_config
from radtune.engines.local import TorchtuneEngine
from radtune.files import write_jsonl
from radtune.models.checkpoint import load_checkpoint, load_side_by_side
from radtune.sources import synthetic

MINI, CPU = Path("data/mini"), torch.device("cpu")
TASK = "multiple_choice"


@pytest.fixture(scope="module")
def together(adapters):
    return load_side_by_side(MINI, adapters, CPU, torch.float32)


@pytest.fixture(scope="module")
def alone(adapters):
    return [load_checkpoint(MINI, adapter, CPU, torch.float32) for adapter in adapters]


@pytest.mark.parametrize(
    ("task", "sampling"),
    [
        (None, {"max_new_tokens": 9}),
        (None, {"max_new_tokens": 9, "temperature": 1.5}),
        (TASK, {"scores": True}),
        (TASK, {"scores": True, "end_bias": 3.0, "temperature": 0.7}),
    ],
    ids=["free", "sampled", "scores", "end_bias"],
)
def test_each_answers_as_by_itself(together, alone, make_prompts, respond, task, sampling):
    # Two of one report: what one was answered is the draft of the other.
    prompts = make_prompts(TASK, 4)
    prompts += [replace(prompts[0], seed="x"), replace(prompts[1], draft=("Edema", "Pneumonia"))]
    asked = [replace(prompt, adapter=number) for prompt in prompts for number in range(3)]
    expected = [respond(TorchtuneEngine(model, 4), prompts, task, **sampling) for model in alone]
    assert len({tuple(response.text for response in responses) for responses in expected}) > 1
    for batch_size in (4, None):
        responses = respond(TorchtuneEngine(together, batch_size), asked, task, **sampling)
        for number, theirs in enumerate(expected):
            ours = responses[number::3]
            assert [replace(one, scores=None) for one in ours] == [replace(one, scores=None) for one in theirs]
            for one, other in zip(ours, theirs, strict=True):
                assert (one.scores or ()) == pytest.approx(other.scores or (), abs=1e-5)
        asked.reverse()
        expected = [responses[::-1] for responses in expected[::-1]]
    # The second of three, by itself.
    (response,) = respond(TorchtuneEngine(together), [replace(prompts[2], adapter=1)], task, **sampling)
    assert response.text == respond(TorchtuneEngine(alone[1]), [prompts[2]], task, **sampling)[0].text


def test_another_base_and_layers_that_the_base_has_not_are_refused(adapters, tmp_path):
    for change, message in (
        (lambda tensors: {name.replace("layers.3", "layers.4"): t for name, t in tensors.items()}, "has no"),
        (lambda tensors: {name: t[:-1] if "lora_B" in name else t for name, t in tensors.items()}, "has no"),
    ):
        other = Path(shutil.copytree(adapters[0], tmp_path / "other", dirs_exist_ok=True))
        save_file(change(load_file(adapters[0] / "adapter_model.safetensors")), other / "adapter_model.safetensors")
        with pytest.raises(InputError, match=rf"other: the base model {message}"):
            load_side_by_side(MINI, [adapters[1], other], CPU, torch.float32)
    tensors = load_file(adapters[0] / "adapter_model.safetensors")
    save_file(tensors, other / "adapter_model.safetensors", metadata={"base_sha256": "0" * 64})
    with pytest.raises(InputError, match="other: not trained on the weights in data/mini"):
        load_side_by_side(MINI, [adapters[0], other], CPU, torch.float32)


@pytest.mark.parametrize(
    ("factor", "message"),
    [(torch.nan, "other: weight .* holds values that are no numbers"), (1e30, "other computes no numbers: its")],
)
def test_one_that_diverged_is_named(adapters, tmp_path, make_prompts, respond, factor, message):
    other = Path(shutil.copytree(adapters[1], tmp_path / "other"))
    tensors = {name: t * factor for name, t in load_file(other / "adapter_model.safetensors").items()}
    save_file(tensors, other / "adapter_model.safetensors")
    asked = [replace(prompt, adapter=number) for prompt in make_prompts(TASK, 2) for number in range(3)]
    with pytest.raises(InputError, match=message):
        together = load_side_by_side(MINI, [adapters[0], other, adapters[2]], CPU, torch.float32)
        respond(TorchtuneEngine(together, 4), asked, TASK)


KEYS = [f"task={TASK}", f"checkpoint_dir={MINI}", "constrain=true", "scores=true", "temperature=0.5"]


def words(reports, adapters, outputs):
    several = {"adapter_dir": adapters, "output": outputs}
    lists = {key: f"[{', '.join(map(str, of))}]" if isinstance(of, list) else of for key, of in several.items()}
    return [*KEYS, "batch_size=8", f"reports={reports}", *(f"{key}={text}" for key, text in lists.items())]


def answers(output):
    """By its key, what the ledger of an output has."""
    with closing(sqlite3.connect(f"{output}.ledger")) as db:
        return dict(db.execute("SELECT key_sha256, answer FROM answers"))


def rows(output):
    """Rows without what differs between any two runs; scores apart."""
    made = [json.loads(line) for line in output.read_text().splitlines()]
    scores = [row.pop("scores") for row in made]
    return [{name: value for name, value in row.items() if name != "created"} for row in made], scores


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    path = tmp_path_factory.mktemp("reports") / "reports.jsonl"
    write_jsonl(path, (made.report for made in synthetic.generate(20, 3)))
    return path


def kill_after(count):
    """Kills this process at the next answer that is kept."""
    left, append = iter(range(count)), Ledger.append

    def doomed(ledger, *answer):
        append(ledger, *answer)
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    Ledger.append = doomed


def test_a_run_leaves_what_asking_each_leaves_and_goes_on_either_way(adapters, reports, tmp_path, command):
    def run(*keys):
        code, out, errors = command("inference.py", *keys)
        assert code == 0, errors
        return out

    alone, outputs = ([tmp_path / f"{kind}_{number}.jsonl" for number in range(3)] for kind in ("alone", "together"))
    for adapter, output in zip(adapters, alone, strict=True):
        run(*words(reports, adapter, output))
    together = words(reports, adapters, outputs)
    killed = Run(lambda keys: ask(parse_config(AskConfig, keys)), together, tmp_path, before=lambda: kill_after(30))
    assert killed.wait().code == -signal.SIGKILL, killed.err
    kept = [answers(output) for output in outputs]
    assert sum(map(len, kept)) == 31 and all(kept[:2]) and not any(output.exists() for output in outputs)
    # One goes on by itself, and the rest together.
    run(*words(reports, adapters[2], outputs[2]))
    said = run(*together)
    for asked in (20 - len(kept[0]), 20 - len(kept[1]), 0):
        assert f"20 reports, {asked} answers in " in said
    assert ", 0 answers in" in run(*words(reports, adapters[1], outputs[1]))
    for output, by_itself, had in zip(outputs, alone, kept, strict=True):
        found = answers(output)
        assert found.keys() == answers(by_itself).keys() and len(found) == 20
        # What was there stays as it was.
        assert had.items() <= found.items()
        (ours, our_scores), (theirs, their_scores) = rows(output), rows(by_itself)
        assert ours == theirs
        for one, other in zip(our_scores, their_scores, strict=True):
            # Rows have four digits of them.
            assert one == pytest.approx(other, abs=1e-5, rel=2e-4)
        our, their = (json.loads(Path(f"{path}.manifest.json").read_text()) for path in (output, by_itself))
        assert our["config"] == their["config"] | {"output": str(output)} and our["inputs"] == their["inputs"]
        assert our["rows"] == 20 and our.keys() == their.keys()
