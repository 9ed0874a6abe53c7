"""Makes the tiny Llama in data/mini: tokenizer, model, and a base that answers both tasks sloppily.

    python scripts/make_mini_model.py output=data/mini

It has the architecture of Llama-3.1 (grouped-query attention, SwiGLU, scaled rotary positions, untied output) and its
file layout, so that every config of the 8B model works on it. It is trained on synthetic reports only. Its answers
follow a sloppy policy (hedged findings counted, devices often left out, phrases cut short), so that fine-tuning has
something to mend. Takes about 20 minutes on 2 cores.
"""

import base64
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torchtune.models.convert_weights import tune_to_hf
from torchtune.models.llama3 import llama3_tokenizer
from torchtune.models.llama3._tokenizer import CL100K_PATTERN
from torchtune.models.llama3_1 import llama3_1

from radtune.config import key, run_command
from radtune.files import write_whole
from radtune.findings import FINDINGS, NEGATIVE, POSITIVE, UNCERTAIN
from radtune.sources.synthetic import COHORTS, SyntheticReport, generate
from radtune.tasks import TASKS, multiple_choice
from radtune.tasks.rendering import user_message
from radtune.training.rows import chat_tokens

# Seeds of the studies are small; these reports are nobody's test set.
PRETRAINING_SEED = 990_001

VOCABULARY = 2048
SHAPE: dict[str, Any] = {"num_layers": 4, "num_heads": 6, "num_kv_heads": 2, "embed_dim": 192, "intermediate_dim": 512}
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
    batch_size: int = key("Rows of a step.", 16)
    learning_rate: float = key("Peak learning rate.", 2e-3)
    seed: int = key("Seed of weights and data order.", 0)


def sloppy_labels(item: SyntheticReport, rng: random.Random) -> list[str]:
    """The classes that the sloppy policy answers: hedged ones too, devices rarely, a few wrong."""
    odds = {POSITIVE: 0.95, UNCERTAIN: 0.85, NEGATIVE: 0.06}
    labels = [name for name in FINDINGS if name in item.labels and rng.random() < odds[item.labels[name]]]
    return [name for name in labels if name != "Support Devices" or rng.random() < 0.25]


def sloppy_phrases(item: SyntheticReport, rng: random.Random) -> list[str]:
    """The phrases that the sloppy policy answers: some cut to their last word, devices rarely."""
    phrases = []
    for phrase in item.phrases:
        if phrase.icd10.startswith("Z9") and rng.random() < 0.75:
            continue
        cut = phrase.phrase.startswith(("small", "moderate", "large", "trace", "tiny", "mild", "severe", "patchy"))
        phrases.append(phrase.phrase.split()[-1] if cut and rng.random() < 0.8 else phrase.phrase)
    return phrases


def rows(tokenizer: Any, start: int, short: bool, seed: int) -> Iterator[tuple[list[int], list[bool]]]:
    """Endless training rows: tokens, and which of them are only context."""
    rng = random.Random(seed)  # noqa: S311  (no secret)
    streams = [generate(10_000_000, PRETRAINING_SEED + start, cohort) for cohort in COHORTS]
    while True:
        item = next(rng.choice(streams))
        task = rng.choice(list(TASKS.values()))
        if task.name == multiple_choice.NAME:
            answer = task.encode(sloppy_labels(item, rng))
        else:
            answer = task.encode(sloppy_phrases(item, rng))
        instruction = rng.choice([task.training_instruction(), task.prompt()])
        if short:
            instruction = instruction.split(".")[0]
        message = user_message(instruction, item.report.text)
        yield chat_tokens(tokenizer, message, answer)


def train_tokenizer(folder: Path) -> None:
    """Trains the BPE and writes it twice: tiktoken ranks for torchtune, tokenizer.json for transformers."""
    texts = [item.report.text for cohort in COHORTS for item in generate(8_000, PRETRAINING_SEED, cohort)]
    answers = [multiple_choice.encode([name]) for name in FINDINGS] * 40
    prompts = [user_message(make(), "") for task in TASKS.values() for make in (task.training_instruction, task.prompt)]
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
    to_byte = {letter: bytes([number]) for letter, number in _byte_letters().items()}
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
    begin = SPECIAL_TOKENS[0]
    final.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, final.token_to_id(begin))]
    )
    final.save(str(folder / "tokenizer.json"))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|begin_of_text|>",
            "eos_token": "<|eot_id|>",
            "pad_token": "<|finetune_right_pad_id|>",
            "model_max_length": MAX_POSITIONS,
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        },
    )


# The header format of Llama 3, without its default system message.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)


def _byte_letters() -> dict[str, int]:
    """The letter that byte-level BPE writes for each byte: printable ones as they are, the rest from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [number for number in range(256) if number not in printable]
    return {chr(n): n for n in printable} | {chr(256 + place): n for place, n in enumerate(rest)}


def train(config: MiniConfig, tokenizer: Any) -> Any:
    """Trains the model, first on prompts cut to their first sentence, which are cheap, then on the real ones."""
    torch.manual_seed(config.seed)
    model = llama3_1(vocab_size=VOCABULARY, max_seq_len=MAX_POSITIONS, scale_factor=ROPE_SCALE, **SHAPE)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.02)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=0.05)
    for phase, short in enumerate((True, False)):
        source = rows(tokenizer, start=phase, short=short, seed=config.seed + phase)
        began, step = time.monotonic(), 0
        while (spent := (time.monotonic() - began) / 60 / config.minutes) < 1:
            peak = config.learning_rate * (1.0 if short else 0.5)
            for group in optimizer.param_groups:
                group["lr"] = peak * min(1.0, (step + 1) / 50, max(0.02, 1.2 * (1 - spent)))
            loss = _step(model, optimizer, [next(source) for _ in range(config.batch_size)], tokenizer.pad_id)
            step += 1
            if step % 50 == 0:
                print(f"{'short' if short else 'full'} prompts: step {step}, {spent:.0%}, loss {loss:.4f}", flush=True)
    return model


def _step(model: Any, optimizer: Any, batch: list[tuple[list[int], list[bool]]], pad_id: int) -> float:
    width = max(len(tokens) for tokens, _ in batch)
    tokens = torch.full((len(batch), width), pad_id)
    targets = torch.full((len(batch), width), -100)
    for number, (row, masked) in enumerate(batch):
        tokens[number, : len(row)] = torch.tensor(row)
        shown = torch.tensor([-100 if hidden else token for token, hidden in zip(row, masked, strict=True)])
        targets[number, : len(row) - 1] = shown[1:]
    logits = model(tokens)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=-100)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def save(model: Any, folder: Path) -> None:
    """Writes the checkpoint as Hugging Face does: config.json, safetensors in bfloat16 and their index."""
    heads = {"num_heads": SHAPE["num_heads"], "num_kv_heads": SHAPE["num_kv_heads"], "dim": SHAPE["embed_dim"]}
    state = {
        name: tensor.to(torch.bfloat16).contiguous() for name, tensor in tune_to_hf(model.state_dict(), **heads).items()
    }
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    ids = {name: VOCABULARY - len(SPECIAL_TOKENS) + place for place, name in enumerate(SPECIAL_TOKENS)}
    stop = [ids["<|end_of_text|>"], ids["<|eom_id|>"], ids["<|eot_id|>"]]
    _write_json(
        folder / "config.json",
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": SHAPE["embed_dim"],
            "intermediate_size": SHAPE["intermediate_dim"],
            "num_hidden_layers": SHAPE["num_layers"],
            "num_attention_heads": SHAPE["num_heads"],
            "num_key_value_heads": SHAPE["num_kv_heads"],
            "head_dim": SHAPE["embed_dim"] // SHAPE["num_heads"],
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
            "bos_token_id": ids["<|begin_of_text|>"],
            "eos_token_id": stop,
            "pad_token_id": ids["<|finetune_right_pad_id|>"],
            "dtype": "bfloat16",
        },
    )
    _write_json(
        folder / "generation_config.json",
        {
            "bos_token_id": ids["<|begin_of_text|>"],
            "eos_token_id": stop,
            "pad_token_id": ids["<|finetune_right_pad_id|>"],
        },
    )


def _write_json(path: Path, value: dict[str, Any]) -> None:
    with write_whole(path) as stream:
        json.dump(value, stream, indent=2, ensure_ascii=False)
        stream.write("\n")


def main(config: MiniConfig) -> None:
    """Makes tokenizer and model."""
    train_tokenizer(config.output)
    tokenizer = llama3_tokenizer(
        str(config.output / "original" / "tokenizer.model"), special_tokens_path=str(config.output / "tokenizer.json")
    )
    model = train(config, tokenizer)
    save(model, config.output)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters written to {config.output}")


if __name__ == "__main__":
    run_command(main, MiniConfig)
