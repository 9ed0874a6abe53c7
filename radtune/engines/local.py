"""Our own engine: batched generation on torchtune's modules.

What all prompts begin with (instruction and examples) goes through the model once. The rest is sorted by length; a row
that has finished leaves the batch at once and waiting ones take its place, of whichever of the model's adapters. Forced
tokens of closed answers are not decoded one by one, and a prompt's draft of its answer, or what another adapter has
answered to it, is read along with the report (speculative decoding: Leviathan et al. 2023). In fp32, greedy answers
depend neither on batch nor on order, and samples on each prompt's seed alone; in bf16 sums are rounded so coarsely that
near ties fall either way.
"""

import functools
import random
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from radtune.config import InputError
from radtune.engines.closed import AnswerTree, common_beginning
from radtune.engines.decoding import Batch, Row
from radtune.engines.kv_cache import OUT_OF_MEMORY, fitting_rows, is_out_of_memory, make_cache
from radtune.engines.prompt import Prompt, Response, Sampling, fit_prompt, limits_of
from radtune.models.checkpoint import Checkpoint
from radtune.models.tokenizer import prompt_tokens

# Positions for what stands between two names.
_COMMA = 8


class TorchtuneEngine:
    """Answers prompts with a checkpoint in this process."""

    def __init__(self, checkpoint: Checkpoint, batch_size: int | None = None) -> None:
        """Takes a loaded checkpoint, and how many prompts it decodes at once; None for as many as memory allows."""
        self._checkpoint = checkpoint
        self._batch_size = batch_size
        # The closed answers of a grammar; what was worked out of them is kept.
        self.answer_tree = functools.cache(partial(AnswerTree, encode=self._encode))

    def generate(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[tuple[int, Response]]:
        """Yields the index of each prompt with its response, as they come, the longest prompts first.

        Raises:
            InputError: A prompt has no room even without its report, or as :func:`generate` says.
        """
        checkpoint, prompts = self._checkpoint, list(prompts)
        tree = self.answer_tree(sampling.grammar) if sampling.grammar else None
        positions, max_new_tokens = checkpoint.max_positions, limits_of(sampling)[1]
        if tree and sampling.scores:
            # The names that are weighed have the positions that they would have in the answer, also behind its end.
            most = positions + tree.longest_name + _COMMA
            for rope in {layer.attn.pos_embeddings for layer in checkpoint.model.layers}:
                if len(rope.cache) < most:
                    rope.build_rope_cache(most)

        def tokens_of(prompt: Prompt) -> list[int]:
            return prompt_tokens(checkpoint.tokenizer, prompt.message)

        # Once for all adapters.
        fit = functools.cache(lambda prompt: fit_prompt(prompt, tokens_of, positions, max_new_tokens))
        fitted = [fit(replace(prompt, adapter=0)) for prompt in prompts]
        tokens = [tokens for tokens, _ in fitted]
        for index, response in generate(checkpoint, prompts, tokens, self._batch_size, sampling, tree):
            yield index, replace(response, cut_words=fitted[index][1])

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return [self._checkpoint.tokenizer.encode(text, add_bos=False, add_eos=False) for text in texts]


def generate(
    checkpoint: Checkpoint,
    prompts: Sequence[Prompt],
    tokens: Sequence[Sequence[int]],
    batch_size: int | None,
    sampling: Sampling,
    tree: AnswerTree | None = None,
) -> Iterator[tuple[int, Response]]:
    """Yields the index of each prompt, given with its token ids, and its response, as they finish, the longest first.

    Those of one adapter go before the next one's. So many are decoded at once, half as many as often as memory runs
    out; None for as many as free memory allows. The grammar is the tree's.

    Raises:
        InputError: The token limit would cut a closed answer, there is no memory for a single prompt, or the model's
            logits are no numbers.
    """
    max_new_tokens = limits_of(sampling)[1]
    if tree is not None:
        tree.check_limit(max_new_tokens)
    # Every prompt keeps a token of its own, or there would be nothing to ask.
    beginning = common_beginning(tokens)[: min(map(len, tokens)) - 1] if len(tokens) > 1 else []

    def turn(index: int) -> tuple[int, int]:
        return prompts[index].adapter, -len(tokens[index])

    waiting = deque(sorted(range(len(prompts)), key=turn))
    # By prompt's tokens, the numbers of the classes that were named where it was last asked.
    named: dict[tuple[int, ...], Sequence[int]] = {}
    while waiting:
        columns = max(len(tokens[index]) for index in waiting) + max_new_tokens
        batch_size = batch_size or _fitting_rows(checkpoint, columns)
        rows: list[Row] = []
        # After memory has run out: the old cache has to go before a smaller one finds room.
        cache = batch = None
        try:
            cache = make_cache(checkpoint, min(batch_size, len(waiting)), columns, beginning)
            batch = Batch(checkpoint, cache, rows, tree, sampling)
            while waiting or rows:
                entering = batch.room(waiting, tokens)
                for _ in range(entering):
                    index = waiting.popleft()
                    prompt, own = prompts[index], [*tokens[index][len(beginning) :]]
                    draw = random.Random(prompt.seed)  # noqa: S311  (no secret)
                    row = Row(index, draw, own, len(beginning), max_new_tokens, prompt.adapter)
                    if tree:
                        expected = named.get(tuple(tokens[index]), tree.numbers(prompt.draft))
                        row.hold_to(tree, expected, sampling.scores)
                    batch.enter(row)
                # Those that enter catch up with the others before all go on together.
                batch.step(len(rows) - entering if entering else 0)
                for row, response in batch.leave():
                    if row.named is not None:
                        named[tuple(tokens[row.index])] = row.named
                    yield row.index, response
        except OUT_OF_MEMORY as error:
            if not is_out_of_memory(error):
                raise
            if batch_size == 1:
                raise InputError(f"not enough memory for a single prompt and its answer, {columns:,} tokens") from None
            batch_size = max(1, batch_size // 2)
            # What had not finished begins anew; its answers come out the same.
            waiting.extendleft(sorted((row.index for row in rows), key=turn, reverse=True))


def _fitting_rows(checkpoint: Checkpoint, columns: int) -> int:
    layers, weights = checkpoint.model.layers, next(checkpoint.model.parameters())
    attention = layers[0].attn
    shape = len(layers), attention.num_kv_heads, attention.head_dim, columns
    return fitting_rows(*shape, weights.dtype, weights.device)
