"""Measures inference on a GPU: our engine, Hugging Face's generate and its continuous batching, with one model.

    python benchmarks/bench_inference_gpu.py
    python benchmarks/bench_inference_gpu.py device=cpu reports=8 batch_sizes=[2,4]

The model is Llama-3.1-8B with random weights in bfloat16, and every answer is forced to 64 new tokens. On a CPU, to try
this out, it has the shape of data/mini and float32, in which all give the same answers; in bfloat16 near ties fall
either way.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig, LlamaConfig

from radtune.command import run_command
from radtune.config import InputError, key
from radtune.engines.local import generate
from radtune.engines.prompt import Prompt, Sampling
from radtune.files import read_json
from radtune.models.checkpoint import Checkpoint, ModelFolder, build_decoder
from radtune.models.families import find_family

FORCED_TOKENS = 64
# Tokens of the GPU part's prompts, and those of them that are the report's own: the usual lengths.
GPU_PROMPT, GPU_REPORT = 850, 150
# Tokens of a page of the cache in continuous batching; transformers' default.
_PAGE = 256
# No token has this id, so none ends an answer.
_NO_TOKEN = 2**30
_LLAMA3_1_8B = {
    "vocab_size": 128_256,
    "hidden_size": 4_096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131_072,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 500_000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8_192,
    },
}


@dataclass
class GpuBenchConfig:
    """Keys of this command."""

    reports: int = key("Reports to answer.", 512)
    batch_sizes: list[int] = key("Reports decoded at once.", [32, 64, 128, 256])
    device: str = key("Where the model runs.", "cuda", choices=("cuda", "cpu"))


def main(config: GpuBenchConfig) -> None:
    """Prints what each engine does at each batch size.

    Reading the prompts is timed apart, by a run with one new token. What decoding then has to read at least are all
    weights (of the embeddings only a row a token) and each row's keys and values, once a step of a full batch; its
    share of what a plain copy moves in that time is the share of the memory-bandwidth roofline.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise InputError("device=cuda: no CUDA device here")
    if config.reports < 1 or min(config.batch_sizes, default=0) < 1:
        raise InputError("reports and batch_sizes must be 1 or more")
    device = torch.device(config.device)
    shape = _LLAMA3_1_8B if device.type == "cuda" else read_json(Path("data/mini/config.json"))
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    torch.manual_seed(0)
    with device:
        theirs = AutoModelForCausalLM.from_config(LlamaConfig(**shape), dtype=dtype).eval()
    base = ModelFolder(Path("random"), theirs.config.to_dict(), find_family(theirs.config.to_dict(), "random"))
    decoder = build_decoder(base, theirs.state_dict().items(), device, dtype)
    checkpoint = Checkpoint(decoder, _NoStops(), shape["max_position_embeddings"])
    vocabulary, count = shape["vocab_size"], config.reports
    shared = torch.randint(0, vocabulary, (GPU_PROMPT - GPU_REPORT,)).tolist()
    prompts = [shared + torch.randint(0, vocabulary, (GPU_REPORT,)).tolist() for _ in range(count)]
    read_weights = sum(weights.nbytes for weights in decoder.parameters()) - decoder.tok_embeddings.weight.nbytes
    column = (
        2 * shape["num_hidden_layers"] * shape["num_key_value_heads"] * decoder.layers[0].attn.head_dim * dtype.itemsize
    )
    read_cache = count * (GPU_PROMPT + FORCED_TOKENS / 2) * column
    bandwidth = copy_bandwidth(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    print(f"{name}, {count} prompts of {GPU_PROMPT} tokens, copies at {bandwidth / 1e9:.0f} GB/s")
    for batch_size in config.batch_sizes:
        kinds: dict[str, Callable[[Sequence[list[int]], int], list[list[int]]]] = {
            "torchtune engine": partial(_ours, checkpoint, batch_size),
            "transformers generate": partial(_theirs, theirs, batch_size),
            "transformers continuous": partial(_theirs_continuous, theirs, batch_size),
        }
        first: list[list[int]] = []
        for kind, answer in kinds.items():
            try:
                answer(prompts[:batch_size], 2)
                reading, _, _ = _timed(partial(answer, prompts, 1), device)
                seconds, peak, written = _timed(partial(answer, prompts, FORCED_TOKENS), device)
            except torch.OutOfMemoryError:
                print(json.dumps({"engine": kind, "batch_size": batch_size, "out_of_memory": True}))
                continue
            if [len(tokens) for tokens in written] != [FORCED_TOKENS] * count:
                raise InputError(f"{kind}: not all prompts have an answer of {FORCED_TOKENS} tokens")
            first = first or written
            steps, decoding = (FORCED_TOKENS - 1) * math.ceil(count / batch_size), seconds - reading
            moved = read_weights * steps + read_cache * (FORCED_TOKENS - 1)
            figures = {
                "engine": kind,
                "batch_size": batch_size,
                "answers_as_the_first": sum(map(list.__eq__, written, first)),
                "reports_per_s": round(count / seconds, 1),
                "output_tokens_per_s": round(count * FORCED_TOKENS / seconds),
                "peak_GiB": round(peak / 2**30, 1),
                "reading_s": round(reading, 2),
                "decoding_s": round(decoding, 2),
                "roofline_share": round(moved / decoding / bandwidth, 3),
            }
            print(json.dumps(figures), flush=True)


def copy_bandwidth(device: torch.device) -> float:
    """Bytes a second that a copy reads and writes, the best of ten."""
    source = torch.empty(2**30 if device.type == "cuda" else 2**27, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / min(_timed(partial(target.copy_, source), device)[0] for _ in range(10))


def _timed(work: Callable[[], Any], device: torch.device) -> tuple[float, int, Any]:
    """Seconds, the most bytes that were taken on a GPU meanwhile (its other models' weights included), what came."""
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    made = work()
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - began, torch.cuda.max_memory_allocated() if cuda else 0, made


def _ours(checkpoint: Checkpoint, batch_size: int, prompts: Sequence[list[int]], new_tokens: int) -> list[list[int]]:
    plain = Prompt("", "", "", "llama3_chat", seed="")
    written = generate(checkpoint, [plain] * len(prompts), prompts, batch_size, Sampling(0.0, new_tokens))
    return [[*map(int, response.text.split())] for _, response in sorted(written, key=lambda one: one[0])]


def _theirs(model: Any, batch_size: int, prompts: Sequence[list[int]], new_tokens: int) -> list[list[int]]:
    written = []
    for start in range(0, len(prompts), batch_size):
        tokens = torch.tensor(prompts[start : start + batch_size], device=model.device)
        made = model.generate(tokens, generation_config=_forced(new_tokens), attention_mask=torch.ones_like(tokens))
        written += made[:, tokens.shape[1] :].tolist()
    return written


def _theirs_continuous(model: Any, batch_size: int, prompts: Sequence[list[int]], new_tokens: int) -> list[list[int]]:
    # A batch and no more: by itself, it fills most of the free memory with its cache.
    blocks = batch_size * ((GPU_PROMPT + new_tokens) // _PAGE + 1)
    room = ContinuousBatchingConfig(page_size=_PAGE, num_blocks=blocks, max_requests_per_batch=batch_size)
    written = model.generate_batch(
        list(prompts), generation_config=_forced(new_tokens), continuous_batching_config=room, progress_bar=False
    )
    # By names that end in the numbers of the prompts.
    return [written[name].generated_tokens for name in sorted(written, key=lambda name: int(name.rpartition("_")[2]))]


def _forced(new_tokens: int) -> GenerationConfig:
    return GenerationConfig(max_new_tokens=new_tokens, do_sample=False, eos_token_id=_NO_TOKEN, pad_token_id=0)


class _NoStops:
    """A tokenizer for random weights: no token ends an answer, whose text are its tokens' ids."""

    stop_tokens: tuple[int, ...] = ()
    pad_id = 0

    def decode(self, tokens: Sequence[int], truncate_at_eos: bool) -> str:
        return " ".join(map(str, tokens))


if __name__ == "__main__":
    run_command(main, GpuBenchConfig)
