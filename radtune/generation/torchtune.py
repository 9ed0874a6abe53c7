"""Batched generation with a key-value cache on torchtune's modules."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from radtune.generation.checkpoint import Checkpoint


@dataclass(frozen=True)
class Response:
    """What a model wrote.

    Attributes:
        text: Without special tokens.
        finished: Whether it ended by itself, and not at the token limit.
    """

    text: str
    finished: bool


def generate(
    checkpoint: Checkpoint,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[str],
    batch_size: int,
    max_new_tokens: int,
    temperature: float,
) -> Iterator[tuple[int, Response]]:
    """Generates one response for each prompt.

    Prompts of like length share a batch, padded on the left, so that all rows write their next token at one position.

    Args:
        checkpoint: The model.
        prompts: Token ids of each prompt.
        seeds: One per prompt; sampling draws from it alone, whatever else is in the batch.
        batch_size: Prompts decoded at once.
        max_new_tokens: Where a response is cut off.
        temperature: 0 takes the likeliest token.

    Yields:
        Index of a prompt and its response, batch by batch, the longest prompts first.
    """
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        rows = [prompts[index] for index in batch]
        draws = [random.Random(seeds[index]) for index in batch]  # noqa: S311  (no secret)
        yield from zip(batch, _generate_batch(checkpoint, rows, draws, max_new_tokens, temperature), strict=True)


@torch.inference_mode()
def _generate_batch(
    checkpoint: Checkpoint,
    prompts: list[Sequence[int]],
    draws: list[random.Random],
    max_new_tokens: int,
    temperature: float,
) -> list[Response]:
    model, tokenizer = checkpoint.model, checkpoint.tokenizer
    parameter = next(model.parameters())
    device, width = parameter.device, max(map(len, prompts))
    length = width + max_new_tokens
    tokens = torch.full((len(prompts), width), tokenizer.pad_id)
    for row, prompt in enumerate(prompts):
        tokens[row, width - len(prompt) :] = torch.tensor(prompt)
    tokens = tokens.to(device)
    pads = torch.tensor([width - len(prompt) for prompt in prompts], device=device)
    columns = torch.arange(length, device=device)
    # A query at column q sees the columns up to q that are no padding; padding sees itself, or softmax has no input.
    seen = (columns[None, None, :] <= columns[None, :, None]) & (columns[None, None, :] >= pads[:, None, None])
    seen |= torch.eye(length, dtype=torch.bool, device=device)
    positions = (columns[None, :] - pads[:, None]).clamp(min=0)

    stop = torch.tensor(tokenizer.stop_tokens, device=device)
    written: list[torch.Tensor] = []
    done = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    with device:
        model.setup_caches(len(prompts), parameter.dtype, decoder_max_seq_len=length)
    try:
        start, end = 0, width
        while len(written) < max_new_tokens and not done.all():
            logits = _next_logits(model, tokens, seen[:, start:end], positions[:, start:end])
            chosen = _choose(logits, temperature, draws).masked_fill(done, tokenizer.pad_id)
            written.append(chosen)
            done |= torch.isin(chosen, stop)
            tokens, start, end = chosen[:, None], end, end + 1
    finally:
        _drop_caches(model)
    return [_response(tokenizer, row, stop.tolist()) for row in torch.stack(written, dim=1).tolist()]


def _next_logits(
    model: torch.nn.Module, tokens: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor
) -> torch.Tensor:
    """Logits after the last token, ``[rows, vocabulary]``; the decoder's own forward would make them for all."""
    hidden = model.tok_embeddings(tokens)
    for layer in model.layers:
        hidden = layer(hidden, mask=mask, input_pos=positions)
    return model.unembed(hidden[:, -1:])[:, 0].float()


def _choose(logits: torch.Tensor, temperature: float, draws: Sequence[random.Random]) -> torch.Tensor:
    if temperature == 0:
        return logits.argmax(dim=-1)
    # One number a row, so that a row's answer does not depend on its neighbours.
    points = torch.tensor([draw.random() for draw in draws], dtype=torch.float64, device=logits.device)
    cumulative = torch.softmax(logits.double() / temperature, dim=-1).cumsum(dim=-1)
    chosen = torch.searchsorted(cumulative, (points * cumulative[:, -1])[:, None], right=True)[:, 0]
    return chosen.clamp(max=logits.shape[-1] - 1)


def _response(tokenizer: object, row: list[int], stop: list[int]) -> Response:
    end = next((place for place, token in enumerate(row) if token in stop), None)
    return Response(tokenizer.decode(row if end is None else row[:end], truncate_at_eos=False), end is not None)


def _drop_caches(model: torch.nn.Module) -> None:
    for layer in model.layers:
        layer.attn.kv_cache = None
        layer.attn.cache_enabled = False
    model.decoder_max_cache_seq_len = None
