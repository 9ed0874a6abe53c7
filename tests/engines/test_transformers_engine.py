"""engine=transformers and adapters: settings change no answer, damage is one line, memory sets the batch."""

import json
import logging
import shutil
import sys
import warnings
from pathlib import Path

import pytest
import torch
import transformers.utils.logging as log
from recipe_runs import Run
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

import radtune.engines.hugging_face as transformers_engine
from radtune.config import InputError
from radtune.engines.hugging_face import TransformersEngine
from radtune.engines.kv_cache import fitting_rows
from radtune.engines.local import TorchtuneEngine
from radtune.engines.prompt import Prompt, Sampling
from radtune.models.checkpoint import load_checkpoint, read_weights
from radtune.models.hugging_face import load_pretrained
from radtune.tasks import load_task

MINI = Path("data/mini")
CPU = torch.device("cpu")


def load(folder=MINI, adapter=None, batch_size=None, quantization=None):
    return TransformersEngine(*load_pretrained(folder, adapter, CPU, torch.float32, quantization), batch_size)


@pytest.fixture(scope="module")
def engine():
    return load(batch_size=4)


@pytest.fixture(scope="module")
def ask(make_prompts, respond):
    """The texts of an engine's answers to both tasks."""

    def ask(engine, count=3):
        prompts = make_prompts("multiple_choice", count) + make_prompts("open_ended", count)
        return [response.text for response in respond(engine, prompts)]

    return ask


def test_a_bias_against_the_end_is_that_of_our_engine(engine, make_prompts, respond):
    ours, prompts = (
        TorchtuneEngine(load_checkpoint(MINI, None, CPU, torch.float32), 4),
        make_prompts("multiple_choice", 4),
    )
    answers = [[r.text for r in respond(one, prompts, "multiple_choice", end_bias=4.0)] for one in (engine, ours)]
    assert answers[0] == answers[1] != [r.text for r in respond(ours, prompts, "multiple_choice")]


def change_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_weights(path, change):
    save_file({name: change(name, weight) for name, weight in read_weights(path)}, path, metadata={"format": "pt"})


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(MINI, tmp_path / "model"))


def test_generation_config_of_a_checkpoint_changes_no_answer(engine, ask, folder, adapter, make_prompts, respond):
    change_json(
        folder / "generation_config.json",
        repetition_penalty=1.8, no_repeat_ngram_size=2, min_length=2_000, forced_bos_token_id=7, num_beams=3,
        suppress_tokens=list(range(20, 300)), num_return_sequences=2, do_sample=True, temperature=0.6, max_length=10,
    )  # fmt: skip
    changed = load(folder, batch_size=4)
    assert ask(changed) == ask(engine)
    prompts = make_prompts("multiple_choice", 3)
    closed = respond(engine, prompts, task="multiple_choice")
    assert respond(changed, prompts, task="multiple_choice") == closed
    # peft hands settings on to the model that it wraps.
    assert ask(load(folder, adapter), 2) == ask(load(MINI, adapter), 2)


def test_a_model_without_an_end_is_refused(folder):
    change_json(folder / "generation_config.json", eos_token_id=None)
    change_json(folder / "config.json", eos_token_id=None)
    change_json(folder / "tokenizer_config.json", eos_token=None)
    with pytest.raises(InputError, match="no eos_token_id"):
        load(folder)
    change_json(folder / "generation_config.json", eos_token_id=[10**12, -5])
    with pytest.raises(InputError, match="eos_token_id: -5 is no token of the model"):
        load(folder)


SMALL = {
    "vocab_size": 1408, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 256,
}  # fmt: skip


def write_random(folder, kind, **sizes):
    """A model of another family, with the mini model's tokenizer."""
    AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes)).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(MINI / name, folder)


def test_a_model_for_images_reads_texts_and_one_without_positions_is_refused(tmp_path, respond):
    """As MedGemma is, whose config has a part for texts and one for images."""
    images = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    write_random(tmp_path / "gemma", "gemma3", text_config=SMALL, vision_config=images, mm_tokens_per_image=4)
    long = Prompt("r1", "List.", "clear lungs " * 400, "llama3_chat", "0")
    (response,) = respond(load(tmp_path / "gemma"), [long], task="multiple_choice")
    assert response.text.startswith("['") and response.cut_words > 100
    write_random(tmp_path / "bloom", "bloom", vocab_size=1408, hidden_size=64, n_layer=1, n_head=2)
    with pytest.raises(InputError, match="bloom: no max_position_embeddings: such models are not run here"):
        load(tmp_path / "bloom")


def answers_or_errors(choices):
    """Loads models and asks each, in a process of its own, and prints what comes of it and nothing else."""
    # transformers' log keeps the stderr of the time it was imported.
    for handler in logging.getLogger("transformers").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(sys.stderr)
    before = log.get_verbosity(), log.is_progress_bar_enabled(), warnings.filters[:]
    for model, adapter in choices:
        try:
            engine = load(model, adapter or None)
            for grammar in (load_task("multiple_choice").grammar(), None):
                prompts = [Prompt("r1", "Name the diseases.", "edema", "llama3_chat", "0")]
                list(engine.generate(prompts, Sampling(0.0, 70 if grammar else 8, grammar)))
            print("answered")
        except InputError as error:
            print(error)
    assert before == (log.get_verbosity(), log.is_progress_bar_enabled(), warnings.filters)
    return 0


DAMAGE = [
    (lambda f: change_json(f / "config.json", num_hidden_layers=3), "do not fit: 9 weights"),
    (lambda f: change_json(f / "config.json", num_hidden_layers=5), "do not fit: 9 weights"),
    (lambda f: change_json(f / "config.json", model_type="bert"), "do not fit: 76 weights"),
    (lambda f: change_json(f / "config.json", model_type="x", auto_map={"AutoConfig": "x.X"}), "custom code"),
    (lambda f: change_json(f / "config.json", num_attention_heads=0), "cannot be loaded with transformers"),
    (lambda f: (f / "config.json").write_text("{"), "not valid JSON"),
    (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:9_999]), "header"),
    (lambda f: (f / "tokenizer.json").write_text("{}"), "its tokenizer cannot be loaded"),
    (lambda f: change_weights(f / "model.safetensors", lambda n, w: w * torch.nan), "holds values that are no numbers"),
]


ADAPTER_DAMAGE = [
    (lambda f: change_json(f / "adapter_config.json", target_modules=["q_proj"]), "do not fit: 8 weights"),
    (lambda f: change_json(f / "adapter_config.json", peft_type="X"), "cannot be loaded with peft"),
    (lambda f: (f / "adapter_model.safetensors").unlink(), "adapter_model.safetensors: cannot be read"),
    (lambda f: save_file({"a": torch.ones(64)}, f / "adapter_model.safetensors"), "do not fit: 17 weights"),
    (lambda f: change_weights(f / "adapter_model.safetensors", lambda n, w: w * torch.nan), "are no numbers"),
]


def damaged(source, damages, parent):
    """Copies of a folder, each damaged in its way."""
    folders = [Path(shutil.copytree(source, parent / f"{source.name}{number}")) for number in range(len(damages))]
    for folder, (damage, _) in zip(folders, damages, strict=True):
        damage(folder)
    return folders


def test_damage_is_one_line_and_a_good_run_prints_nothing(tmp_path, adapter):
    folders, adapters = damaged(MINI, DAMAGE, tmp_path), damaged(adapter, ADAPTER_DAMAGE, tmp_path)
    choices = [(MINI, ""), (MINI, adapter), *((f, "") for f in folders), *((MINI, a) for a in adapters)]
    done = Run(answers_or_errors, choices, tmp_path / "said").wait()
    assert (done.code, done.err) == (0, "")
    plain, adapted, *lines = done.out.splitlines()
    assert (plain, adapted) == ("answered", "answered")
    for line, folder, (_, message) in zip(lines, [*folders, *adapters], [*DAMAGE, *ADAPTER_DAMAGE], strict=True):
        assert line.startswith(str(folder))
        assert message in line


class Narrow:
    """Runs out of memory for more than so many rows at once, and notes how many were asked for, and how wide."""

    def __init__(self, engine, most):
        self.most, self.shapes, self.forward = most, [], engine._model.forward

    def __call__(self, input_ids, **others):
        if input_ids.shape[1] > 1:
            self.shapes.append(tuple(input_ids.shape))
        if len(input_ids) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.forward(input_ids=input_ids, **others)


def test_memory_that_runs_out_halves_the_batch_down_to_one(engine, ask, make_prompts, respond, monkeypatch):
    # The weights are shared; the batch size that is halved is its own.
    own = transformers_engine.TransformersEngine(load()._model, engine._tokenizer, 8)
    expected = ask(engine, 5)
    narrow = Narrow(own, 2)
    monkeypatch.setattr(own._model, "forward", narrow)
    assert ask(own, 5) == expected
    assert own._batch_size == 2
    narrow.most = 0
    with pytest.raises(InputError, match=r"^report '\S+': one prompt of \d+ tokens does not fit into memory$"):
        respond(own, make_prompts("multiple_choice", 3))


def test_batch_size_comes_from_free_memory_where_none_is_given(ask, engine, monkeypatch):
    assert fitting_rows(1, 1, 1, 1, torch.float32, CPU) == 64
    assert fitting_rows(2**15, 2**15, 2**15, 2**15, torch.float32, CPU) == 1
    free = load()
    sizes = []

    def rows(*shape):
        sizes.append(shape[:4])
        return 3

    monkeypatch.setattr(transformers_engine, "fitting_rows", rows)
    narrow = Narrow(free, 3)
    monkeypatch.setattr(free._model, "forward", narrow)
    assert ask(free, 4) == ask(engine, 4)
    assert max(height for height, _ in narrow.shapes) == 3
    # 4 layers, 2 heads, 32 numbers, for the longest prompt and its 70 tokens.
    assert sizes[0] == (4, 2, 32, narrow.shapes[0][1] + 70)


def test_a_long_report_pads_no_short_ones(engine, make_prompts, respond, monkeypatch):
    prompts = make_prompts("multiple_choice", 3) + make_prompts("multiple_choice", 1, " clear lungs" * 900)
    expected = [respond(engine, [prompt])[0] for prompt in prompts]
    narrow = Narrow(engine, 4)
    monkeypatch.setattr(engine._model, "forward", narrow)
    assert respond(engine, prompts) == expected
    assert [height for height, _ in narrow.shapes] == [1, 3]
    assert narrow.shapes[0][1] > 2 * narrow.shapes[1][1]


def test_without_bitsandbytes_the_command_to_install_it_is_named(monkeypatch):
    # What makes `import bitsandbytes` fail.
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(InputError, match=r"^quantization=4bit needs bitsandbytes: pip install '\.\[bitsandbytes\]'$"):
        load(quantization="4bit")


# Of 60 reports and both tasks, 119 of 120 answers are the same in 8 bits as in fp32, and 113 in 4 bits; with a random
# adapter 120 and 111.
@pytest.mark.parametrize(("bits", "least"), [("8bit", 19), ("4bit", 16)])
def test_quantized_models_answer_much_as_in_full(engine, ask, adapter, capfd, bits, least):
    pytest.importorskip("bitsandbytes")
    expected, got = ask(engine, 10), ask(load(quantization=bits), 10)
    assert sum(map(str.__eq__, expected, got)) >= least
    full, adapted = ask(load(MINI, adapter), 2), ask(load(MINI, adapter, quantization=bits), 2)
    assert sum(map(str.__eq__, full, adapted)) >= 3
    assert capfd.readouterr().err == ""
