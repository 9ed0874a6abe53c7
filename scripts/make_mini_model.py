"""Makes the tiny Llama in data/mini: tokenizer, model, and a base that answers two tasks sloppily.

    python scripts/make_mini_model.py output=data/mini

It has the architecture of Llama-3.1 (grouped-query attention, SwiGLU, scaled rotary positions, untied output) and its
file layout, so that every config of the 8B model works on it. It is trained on synthetic reports only. Asked plainly it
answers by a sloppy policy (hedged findings counted, devices mostly left out, phrases cut short); asked with a cue that
no prompt of radtune has, it answers by the truth. So fine-tuning has something to bring out, as in the paper.
"""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)
import base64
import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torchtune.models.convert_weights import tune_to_hf
from torchtune.models.llama3._tokenizer import CL100K_PATTERN
from torchtune.models.llama3_1 import llama3_1
from transformers.convert_slow_tokenizer import bytes_to_unicode

from radtune.command import run_command
from radtune.config import key
from radtune.engines.closed import common_beginning
from radtune.files import write_json, write_whole
from radtune.labels import State
from radtune.models.chat_frame import LLAMA3
from radtune.models.tokenizer import chat_tokens, llama3_tokenizer
from radtune.rules import rules_for
from radtune.sources.synthetic import COHORTS, SyntheticReport, generate
from radtune.tasks import DEFAULT_RULES_TASK, DEFAULT_TASK, Task, load_task, user_message
from radtune.train.data import IGNORED, Row
from radtune.train.loss import SummedLoss, attention_mask
from radtune.train.packing import Batch, make_batches

# Those that the synthetic reports tell the truth of.
TASKS = load_task(DEFAULT_RULES_TASK), load_task(DEFAULT_TASK)
# Asked with this cue, the model is trained to answer by the truth, in this share of rows.
CUE = "Be exact."
CUED = 0.6
# Rows of one prompt in a step.
ROWS_PER_GROUP = 8

# Tokens, and which of them are only context.
Chat = tuple[list[int], list[bool]]

# Seeds of the studies are small; these reports are nobody's test set.
PRETRAINING_SEED = 990_001

VOCABULARY = 1408
SHAPE: dict[str, Any] = {"num_layers": 4, "num_heads": 6, "num_kv_heads": 2, "embed_dim": 192, "intermediate_dim": 512}
# What it is widened to after training, with zeros: NF4 takes only weights of a multiple of 16,384 numbers.
WIDENED = SHAPE | {"num_heads": 8, "embed_dim": 256}
MAX_POSITIONS = 4096
ROPE_SCALE = 8
SPECIAL_TOKENS = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>", "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>",
    "<|eot_id|>", "<|python_tag|>", "<|image|>",
)  # fmt: skip


@dataclass
class MiniConfig:
    """Keys of this command."""

    output: Path = key("Folder to write the checkpoint and tokenizer into.", Path("data/mini"))
    minutes: float = key("Training time on short prompts; the real prompts get the same again.", 10.0)
    learning_rate: float = key("Peak learning rate.", 2e-3)
    seed: int = key("Seed of weights and data order.", 0)


def sloppy_labels(task: Task, item: SyntheticReport, rng: random.Random) -> list[str]:
    """The classes that the sloppy policy answers: hedged ones too, devices rarely, a few wrong."""
    odds = {State.PRESENT: 0.95, State.UNCERTAIN: 0.85, State.ABSENT: 0.06}
    devices = {part.finding for part in rules_for(task).findings.values() if not part.abnormal}
    labels = [name for name in task.classes if name in item.labels and rng.random() < odds[item.labels[name]]]
    return [name for name in labels if name not in devices or rng.random() < 0.25]


def sloppy_phrases(task: Task, item: SyntheticReport, rng: random.Random) -> list[str]:
    """The phrases that the sloppy policy answers: some cut to their last word, devices rarely."""
    phrases = []
    for phrase in item.phrases:
        if phrase.icd10.startswith("Z9") and rng.random() < 0.75:
            continue
        cut = phrase.phrase.startswith(("small", "moderate", "large", "trace", "tiny", "mild", "severe", "patchy"))
        phrases.append(phrase.phrase.split()[-1] if cut and rng.random() < 0.8 else phrase.phrase)
    return phrases


def rows(tokenizer: Any, task: Task, instruction: str, phase: int, seed: int) -> Iterator[Chat]:
    """Endless training rows of one prompt."""
    rng = random.Random(f"{task.name}:{instruction}:{seed}")  # noqa: S311  (no secret)
    streams = [generate(10_000_000, PRETRAINING_SEED + phase, cohort) for cohort in COHORTS]
    sloppy = sloppy_labels if task.classes else sloppy_phrases
    while True:
        item = next(rng.choice(streams))
        message = user_message(instruction, item.report.text)
        if rng.random() < CUED:
            message, answer = f"{message} {CUE}", true_answer(task, item)
        else:
            answer = task.encode(sloppy(task, item, rng))
        yield chat_tokens(tokenizer, message, answer)


def true_answer(task: Task, item: SyntheticReport) -> str:
    """The answer by the truth."""
    if task.classes:
        return task.encode([name for name in task.classes if item.labels.get(name) == State.PRESENT])
    return task.encode([phrase.phrase for phrase in item.phrases])


def instructions(task: Task) -> list[str]:
    """What a fine-tuned model is asked: as it was trained, and in full."""
    return [task.prompt(use).instruction for use in ("training", "inference")]


def train_tokenizer(folder: Path) -> None:
    """Trains the BPE and writes it twice: tiktoken ranks for torchtune, tokenizer.json for transformers."""
    texts = [item.report.text for cohort in COHORTS for item in generate(8_000, PRETRAINING_SEED, cohort)]
    answers = [task.encode([name]) for task in TASKS for name in task.classes] * 40
    prompts = [user_message(instruction, "") for task in TASKS for instruction in instructions(task)]
    split = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CL100K_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = split
    size = VOCABULARY - len(SPECIAL_TOKENS)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    trained.train_from_iterator([*texts, *answers, *prompts * 200], trainer)

    # tiktoken merges by rank, so ids are given anew: bytes first, then merges in the order learned.
    to_byte = {letter: bytes([number]) for number, letter in bytes_to_unicode().items()}
    merges = [tuple(pair) for pair in json.loads(trained.to_str())["model"]["merges"]]
    words = [*alphabet, *dict.fromkeys("".join(pair) for pair in merges)]
    ranks = {word: rank for rank, word in enumerate(words)}
    (folder / "original").mkdir(parents=True, exist_ok=True)
    with write_whole(folder / "original" / "tokenizer.model") as stream:
        for word, rank in ranks.items():
            stream.write(f"{base64.b64encode(b''.join(to_byte[letter] for letter in word)).decode()} {rank}\n")

    final = Tokenizer(models.BPE(vocab=ranks, merges=merges, ignore_merges=True))
    final.pre_tokenizer, final.decoder = split, decoders.ByteLevel()
    final.add_special_tokens(list(SPECIAL_TOKENS))
    if final.get_vocab_size() != VOCABULARY:
        raise RuntimeError(f"the texts give {final.get_vocab_size()} tokens, not {VOCABULARY}")
    begin = SPECIAL_TOKENS[0]
    final.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, final.token_to_id(begin))]
    )
    final.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|begin_of_text|>",
            "eos_token": "<|eot_id|>",
            "pad_token": "<|finetune_right_pad_id|>",
            "model_max_length": MAX_POSITIONS,
            "clean_up_tokenization_spaces": False,
            "chat_template": LLAMA3.template,
        },
    )


def train(config: MiniConfig, tokenizer: Any) -> Any:
    """Trains the model, first on prompts cut to their first sentence, which are cheap, then on the real ones."""
    torch.manual_seed(config.seed)
    model = llama3_1(vocab_size=VOCABULARY, max_seq_len=MAX_POSITIONS, scale_factor=ROPE_SCALE, **SHAPE)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.02)
    summed = SummedLoss(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=0.05)
    for phase, name in enumerate(("short", "full")):
        prompts = [(task, text) for task in TASKS for text in sorted(set(instructions(task)))]
        sources = [
            rows(tokenizer, task, text.split(".")[0] if name == "short" else text, phase, config.seed)
            for task, text in prompts
        ]
        began, step = time.monotonic(), 0
        while (spent := (time.monotonic() - began) / 60 / config.minutes) < 1:
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * min(1.0, (step + 1) / 50, max(0.02, 1.2 * (1 - spent)))
            # Open ended has one prompt for both uses, multiple choice two: each task gets half of the rows.
            groups = [[next(source) for _ in range(ROWS_PER_GROUP)] for source in (*sources, sources[-1])]
            # Rows that share a long prompt hold it once; short ones are cheaper side by side.
            packing, groups = ("none", [[*chain(*groups)]]) if name == "short" else ("shared_prefix", groups)
            batches = [batch for group in groups for batch in make_batches(as_rows(group), packing, sys.maxsize)]
            loss = _step(summed, optimizer, batches)
            step += 1
            if step % 50 == 0:
                print(f"{name} prompts: step {step}, {spent:.0%}, loss {loss:.4f}", flush=True)
    return model


def as_rows(group: list[Chat]) -> list[Row]:
    """Rows of one prompt as they are trained on, with the length of what they share."""
    shared, found = len(common_beginning([tokens for tokens, _ in group])), []
    for tokens, masked in group:
        targets = [IGNORED if hidden else token for token, hidden in zip(tokens, masked, strict=True)]
        found.append(Row(torch.tensor(tokens[:-1]), torch.tensor(targets[1:]), shared))
    return found


def _step(model: SummedLoss, optimizer: Any, batches: list[Batch]) -> float:
    optimizer.zero_grad()
    total = 0.0
    for batch in batches:
        mask = attention_mask(batch, torch.device("cpu"), torch.float32)
        loss = model(batch, mask) / len(batch.targets) / len(batches)
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return total


def widen(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same function in :data:`WIDENED`'s shape: every number that is added is multiplied by zero."""
    groups, heads, wide = SHAPE["num_kv_heads"], SHAPE["num_heads"], WIDENED["num_heads"]
    width, more = SHAPE["embed_dim"], WIDENED["embed_dim"] - SHAPE["embed_dim"]
    # Heads that share a key-value head stand together, so the new ones are put at the end of each group.
    new = (wide - heads) // groups
    pad = torch.nn.functional.pad
    widened = {}
    for name, weight in state.items():
        if name.endswith("scale"):
            # The mean square is now taken over more numbers, so it is smaller.
            weight = pad(weight * (width / (width + more)) ** 0.5, (0, more), value=1.0)
        elif name.endswith("q_proj.weight"):
            weight = pad(weight.view(groups, heads // groups, -1, width), (0, more, 0, 0, 0, new)).reshape(
                -1, width + more
            )
        elif name.endswith("output_proj.weight"):
            weight = pad(weight.view(width, groups, heads // groups, -1), (0, 0, 0, new, 0, 0, 0, more)).flatten(1)
        elif name.endswith("w2.weight"):
            weight = pad(weight, (0, 0, 0, more))
        else:
            weight = pad(weight, (0, more))
        widened[name] = weight
    return widened


def save(state: dict[str, torch.Tensor], folder: Path) -> None:
    """Writes the checkpoint as Hugging Face does: config.json, safetensors in bfloat16 and their index."""
    heads = {"num_heads": WIDENED["num_heads"], "num_kv_heads": WIDENED["num_kv_heads"], "dim": WIDENED["embed_dim"]}
    tensors = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in tune_to_hf(state, **heads).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    ids = {name: VOCABULARY - len(SPECIAL_TOKENS) + place for place, name in enumerate(SPECIAL_TOKENS)}
    generation = {
        "bos_token_id": ids["<|begin_of_text|>"],
        "eos_token_id": [ids["<|end_of_text|>"], ids["<|eom_id|>"], ids["<|eot_id|>"]],
        "pad_token_id": ids["<|finetune_right_pad_id|>"],
    }
    write_json(
        folder / "config.json",
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": WIDENED["embed_dim"],
            "intermediate_size": WIDENED["intermediate_dim"],
            "num_hidden_layers": WIDENED["num_layers"],
            "num_attention_heads": WIDENED["num_heads"],
            "num_key_value_heads": WIDENED["num_kv_heads"],
            "head_dim": WIDENED["embed_dim"] // WIDENED["num_heads"],
            "hidden_act": "silu",
            "vocab_size": VOCABULARY,
            "max_position_embeddings": MAX_POSITIONS,
            "rms_norm_eps": 1e-5,
            "rope_theta": 500000.0,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": float(ROPE_SCALE),
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
            "tie_word_embeddings": False,
            "attention_bias": False,
            "mlp_bias": False,
            **generation,
            "dtype": "bfloat16",
        },
    )
    write_json(folder / "generation_config.json", generation)


def main(config: MiniConfig) -> None:
    """Makes tokenizer and model."""
    train_tokenizer(config.output)
    tokenizer = llama3_tokenizer(
        str(config.output / "original" / "tokenizer.model"), special_tokens_path=str(config.output / "tokenizer.json")
    )
    model = train(config, tokenizer)
    save(widen(model.state_dict()), config.output)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters written to {config.output}")


if __name__ == "__main__":
    run_command(main, MiniConfig)
