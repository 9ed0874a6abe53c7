"""Hugging Face's transformers: any causal language model, with a PEFT adapter, in 8 or 4 bits with bitsandbytes."""

import functools
import random
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from radtune.config import InputError
from radtune.engines.closed import AnswerTree, Place
from radtune.engines.decoding import choose, keep_allowed, less_of_ends
from radtune.engines.kv_cache import OUT_OF_MEMORY, fitting_rows, is_out_of_memory
from radtune.engines.prompt import Prompt, Response, Sampling, fit_prompt, limits_of
from radtune.models.chat_frame import frame_of_tokenizer


class TransformersEngine:
    """Answers prompts with a Hugging Face model in this process."""

    def __init__(self, model: Any, tokenizer: Any, batch_size: int | None = None) -> None:
        """Takes a causal language model, and how many prompts it decodes at once; None for as many as memory allows.

        Raises:
            InputError: Neither the model nor its tokenizer says which token ends an answer, its chat template fails, or
                the model names no number of positions.
        """
        from transformers import GenerationConfig

        self._model = model.eval()
        self._tokenizer = tokenizer
        self._frame = frame_of_tokenizer(tokenizer)
        special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        first, self._before, self._after, last = self._frame.split(special)
        self._first, self._last = (tokenizer.encode(text, add_special_tokens=False) for text in (first, last))
        # A model for images, too, has the sizes of its texts in a part of its config.
        self._config = model.config.get_text_config(decoder=True)
        if not hasattr(self._config, "max_position_embeddings"):
            raise InputError(f"{tokenizer.name_or_path}: no max_position_embeddings: such models are not run here")
        # Prompts are held to the model's positions here; the tokenizer would warn of every long report.
        tokenizer.model_max_length = self._config.max_position_embeddings * 1_000
        self._batch_size = batch_size
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._ends = _ends(base, tokenizer)
        # What a checkpoint's own says besides, a penalty on repetition or tokens to leave out, would go into every
        # setting that is not given, and change answers.
        base.generation_config = GenerationConfig()
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(self._ends)
        # What was worked out of closed answers is kept.
        self._tree = functools.cache(partial(AnswerTree, encode=self._encode))

    def generate(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[tuple[int, Response]]:
        """Yields the index of each prompt with its response, batch by batch, the longest prompts first.

        Raises:
            InputError: Scores are asked for, a prompt has no room even without its report or does not fit into memory,
                the token limit would cut closed answers, or the model computes no numbers.
        """
        if sampling.scores:
            raise InputError("scores=true needs engine=torchtune")
        _, max_new_tokens = limits_of(sampling)
        tree = self._tree(sampling.grammar) if sampling.grammar else None
        if tree:
            tree.check_limit(max_new_tokens)
        prompts, positions = list(prompts), self._config.max_position_embeddings
        fitted = [fit_prompt(prompt, self._tokens, positions, max_new_tokens) for prompt in prompts]
        lengths = [len(tokens) for tokens, _ in fitted]
        order = sorted(range(len(prompts)), key=lambda index: -lengths[index])
        while order:
            longest = lengths[order[0]]
            size = self._batch_size or self._fitting_rows(longest + max_new_tokens)
            # More of a row half as long as the longest would be padding.
            batch = [index for index in order[:size] if 2 * lengths[index] >= longest]
            tokens, seeds = [fitted[index][0] for index in batch], [prompts[index].seed for index in batch]
            try:
                rows = self._generate(tokens, seeds, sampling, tree)
            except OUT_OF_MEMORY as error:
                if not is_out_of_memory(error):
                    raise
                if len(batch) == 1:
                    what = f"report {prompts[batch[0]].report_id!r}: one prompt of {longest:,} tokens"
                    raise InputError(f"{what} does not fit into memory") from None
                self._batch_size = len(batch) // 2
                continue
            order = order[len(batch) :]
            for index, row in zip(batch, rows, strict=True):
                end = next((place for place, token in enumerate(row) if token in self._ends), len(row))
                text = self._tokenizer.decode(row[:end], skip_special_tokens=True).removeprefix(self._frame.lead)
                reason = tree.finish_reason(row, max_new_tokens) if tree else None
                yield index, Response(text, end < len(row), cut_words=fitted[index][1], finish_reason=reason)

    def _fitting_rows(self, columns: int) -> int:
        config = self._config
        heads = config.num_attention_heads
        kv_heads = getattr(config, "num_key_value_heads", None) or heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
        shape = config.num_hidden_layers, kv_heads, head_dim, columns
        return fitting_rows(*shape, self._model.dtype, self._model.device)

    @torch.inference_mode()
    def _generate(
        self, prompts: Sequence[list[int]], seeds: Sequence[str], sampling: Sampling, tree: AnswerTree | None
    ) -> list[list[int]]:
        from transformers import GenerationConfig

        max_new_tokens = limits_of(sampling)[1]
        end = None if sampling.go_on else min(self._ends)
        width = max(map(len, prompts))
        tokens = torch.tensor([[self._pad] * (width - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        draws = [random.Random(seed) for seed in seeds]  # noqa: S311  (no secret)
        written = self._model.generate(
            input_ids=tokens.to(self._model.device),
            attention_mask=mask.to(self._model.device),
            # A closed answer may take up the limit; what ends it comes on top. Sampling is the logits processor's.
            generation_config=GenerationConfig(
                max_new_tokens=max_new_tokens + (tree is not None and end is not None),
                do_sample=False,
                use_cache=True,
                eos_token_id=sorted(self._ends),
                pad_token_id=self._pad,
            ),
            logits_processor=[_Chooser(draws, sampling, tree, max_new_tokens, end)],
        )
        return written[:, width:].tolist()

    def _tokens(self, prompt: Prompt) -> list[int]:
        # Special tokens are those of the frame; what looks like one in a report is text.
        text = f"{self._before}{prompt.message.strip()}{self._after}"
        asked = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        return [*self._first, *asked, *self._last]

    def _encode(self, texts: list[str]) -> list[list[int]]:
        texts = [f"{self._frame.lead}{text}" for text in texts]
        return self._tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []


def _ends(model: Any, tokenizer: Any) -> set[int]:
    ends = model.generation_config.eos_token_id
    ends = tokenizer.eos_token_id if ends is None else ends
    if ends is None:
        raise InputError(f"{tokenizer.name_or_path}: no eos_token_id, in generation_config.json or the tokenizer")
    ends = set(ends) if isinstance(ends, list) else {ends}
    if odd := ends.difference(range(model.get_input_embeddings().num_embeddings)):
        raise InputError(f"{tokenizer.name_or_path}: eos_token_id: {min(odd)} is no token of the model")
    return ends


class _Chooser:
    """A logits processor that keeps each row to closed answers and draws its samples, and leaves no other token."""

    def __init__(
        self, draws: Sequence[random.Random], sampling: Sampling, tree: AnswerTree | None, limit: int, end: int | None
    ) -> None:
        """Begins a batch; a closed answer takes up to ``limit`` tokens and is ended by ``end`` (None: written on)."""
        self._places: list[Place | None] = [tree.root if tree else None for _ in draws]
        self._draws = draws
        self._temperature, self._end_bias = limits_of(sampling)[0], sampling.end_bias
        self._left = self._limit = limit
        self._end = end

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        # The first call comes before any token is written.
        if self._left < self._limit:
            for row, token in enumerate(input_ids[:, -1].tolist()):
                if place := self._places[row]:
                    self._places[row] = place.children.get(token, place)
        # Closed answers would come out all the same. A model may well rule out tokens, with minus infinity.
        if not scores.amax(-1).isfinite().all():
            raise InputError("the model computes no numbers: its weights are damaged, or its training diverged")
        if self._end is None:
            # A list that has ended is written on.
            self._places = [place if place and place.children else None for place in self._places]
        if closed := {row: place for row, place in enumerate(self._places) if place}:
            allowed = [place.allowed(self._left) or [self._end] for place in closed.values()]
            scores[list(closed)] = keep_allowed(scores[list(closed)], allowed)
            less_of_ends(scores, closed, self._end_bias)
        self._left -= 1
        chosen = choose(scores, self._temperature, self._draws)[:, None]
        return torch.full_like(scores, -torch.inf).scatter(1, chosen, 0.0)
