"""Our own engine: batched generation on torchtune's modules.

What all prompts begin with (instruction and examples) goes through the model once. The rest is sorted by length; a row
that has finished leaves the batch at once and waiting ones take its place. Forced tokens of closed answers are not
decoded one by one, and a prompt's draft of its answer is read along with the report (speculative decoding: Leviathan
et al. 2023). In fp32, greedy answers depend neither on batch nor on order, and samples on each prompt's seed alone; in
bf16 sums are rounded so coarsely that near ties fall either way.
"""

import random
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from radtune.config import InputError
from radtune.engines.class_scores import decide
from radtune.engines.closed import AnswerTree, common_beginning
from radtune.engines.decoding import Batch, Row, start_row
from radtune.engines.kv_cache import OUT_OF_MEMORY, is_out_of_memory, make_cache, rows_for_decoder
from radtune.engines.prompt import Prompt, Response, Sampling, fit_prompt, limits_of
from radtune.models.checkpoint import Checkpoint
from radtune.models.tokenizer import prompt_tokens
from radtune.tasks.lists import ClosedList

# Columns kept free for weighing classes, besides those that the first name's decision takes: a later one has a
# comma and quotes before it. Where it needs more, the cache grows.
_COMMA_COLUMNS = 8


class TorchtuneEngine:
    """Answers prompts with a checkpoint in this process."""

    def __init__(self, checkpoint: Checkpoint, batch_size: int | None = None) -> None:
        """Takes a loaded checkpoint, and how many prompts it decodes at once; None for as many as memory allows."""
        self._checkpoint = checkpoint
        self._batch_size = batch_size
        self._trees: dict[ClosedList, AnswerTree] = {}

    def generate(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[tuple[int, Response]]:
        """Yields the index of each prompt with its response, as they come, the longest prompts first.

        Raises:
            InputError: A prompt has no room even without its report, or the token limit would cut closed answers.
        """
        checkpoint, prompts = self._checkpoint, list(prompts)
        tree = self.answer_tree(sampling.grammar) if sampling.grammar else None
        _, max_new_tokens = limits_of(sampling)
        # Branches of a decision stand behind the row, and have the positions that they would have in its answer.
        deepest = decide(tree, tree.root).depth + _COMMA_COLUMNS if tree and sampling.scores else 0
        fitted = [
            fit_prompt(
                prompt,
                lambda prompt: prompt_tokens(checkpoint.tokenizer, prompt.message),
                checkpoint.max_positions - deepest,
                max_new_tokens,
            )
            for prompt in prompts
        ]
        answering = generate(
            checkpoint,
            [tokens for tokens, _ in fitted],
            [prompt.seed for prompt in prompts],
            self._batch_size,
            sampling,
            tree=tree,
            drafts=[prompt.draft for prompt in prompts],
        )
        yield from ((index, replace(response, cut_words=fitted[index][1])) for index, response in answering)

    def answer_tree(self, grammar: ClosedList) -> AnswerTree:
        """The closed answers of a grammar; what was worked out of them is kept."""
        if grammar not in self._trees:
            encode = self._checkpoint.tokenizer.encode
            self._trees[grammar] = AnswerTree(
                grammar, lambda texts: [encode(text, add_bos=False, add_eos=False) for text in texts]
            )
        return self._trees[grammar]


def generate(
    checkpoint: Checkpoint,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[str],
    batch_size: int | None,
    sampling: Sampling,
    *,
    tree: AnswerTree | None = None,
    drafts: Sequence[Sequence[str]] = (),
) -> Iterator[tuple[int, Response]]:
    """Yields the index of each prompt (token ids) and its response, as they finish, the longest prompts first.

    Args:
        checkpoint: The model.
        prompts: Token ids of each prompt.
        seeds: One per prompt; sampling draws from it alone.
        batch_size: Prompts decoded at once, halved as often as memory runs out; None for as many as free memory allows.
        sampling: How to answer; temperature and token limit are needed, the grammar is the tree's.
        tree: The closed answers, where no others may be given.
        drafts: The classes that the closed answer to each prompt will likely name; empty for none at all.

    Raises:
        InputError: The token limit would cut a closed answer, there is no memory for a single prompt, or the model's
            logits are no numbers.
    """
    temperature, max_new_tokens = limits_of(sampling)
    if tree is not None:
        tree.check_limit(max_new_tokens)
    spare = len(decide(tree, tree.root).tokens) + _COMMA_COLUMNS if tree and sampling.scores else 0
    # Every prompt keeps a token of its own, or there would be nothing to ask.
    beginning = common_beginning(prompts)[: min(map(len, prompts)) - 1] if len(prompts) > 1 else []
    waiting = deque(sorted(range(len(prompts)), key=lambda index: -len(prompts[index])))
    while waiting:
        # The first prompt is the longest.
        columns = len(prompts[waiting[0]]) + max_new_tokens + spare
        batch_size = batch_size or rows_for_decoder(checkpoint.model, columns)
        rows: list[Row] = []
        # After memory has run out: the old cache has to go before a smaller one finds room.
        cache = batch = None
        try:
            cache = make_cache(checkpoint.model, min(batch_size, len(waiting)), columns, beginning)
            batch = Batch(checkpoint, cache, rows, max_new_tokens, temperature, sampling.go_on)
            while waiting or rows:
                entering = batch.room(waiting, prompts)
                for _ in range(entering):
                    index = waiting.popleft()
                    own = prompts[index][len(beginning) :]
                    draw = random.Random(seeds[index])  # noqa: S311  (no secret)
                    draft, scores = drafts[index] if drafts else (), sampling.scores
                    rows.append(start_row(index, own, len(beginning), draw, max_new_tokens, tree, draft, scores))
                # Those that enter catch up with the others before all go on together.
                batch.step(len(rows) - entering if entering else 0)
                yield from batch.leave()
        except OUT_OF_MEMORY as error:
            if not is_out_of_memory(error):
                raise
            if batch_size == 1:
                raise InputError(f"not enough memory for a single prompt and its answer, {columns:,} tokens") from None
            batch_size = max(1, batch_size // 2)
            # What had not finished begins anew; its answers come out the same.
            waiting.extendleft(sorted((row.index for row in rows), key=lambda index: len(prompts[index])))
