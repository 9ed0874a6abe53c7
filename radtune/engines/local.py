"""Our own engine: batched generation on torchtune's modules.

What all prompts begin with (instruction and examples) goes through the model once. The rest is sorted by length; a row
that has finished leaves the batch at once and waiting ones take its place. Forced tokens of closed answers are not
decoded one by one, and what the rule labeler finds is their draft: the model reads it along with the report, so where
it agrees, its answer takes no pass of its own. Greedy answers depend neither on the batch nor on the order, and
sampling on each prompt's seed; in fp32, that is: in bf16 sums are rounded so coarsely that near ties fall either way.
"""

import random
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile

from radtune.config import InputError
from radtune.engines.closed import AnswerTree, answer_tree, closed_answers
from radtune.engines.decoding import Batch, Row, start_row
from radtune.engines.kv_cache import make_cache
from radtune.engines.memory import OUT_OF_MEMORY, is_out_of_memory, rows_for_decoder
from radtune.engines.prompt import Prompt, Request, Response, fit_prompt
from radtune.findings import FINDINGS, POSITIVE
from radtune.models.checkpoint import Checkpoint
from radtune.models.tokenizer import prompt_tokens
from radtune.rules import label_report
from radtune.rules.lexicon import default_rules

# Columns kept free for weighing classes: the longest decision's tokens among any tokenizer's.
_DECISION_COLUMNS = 64


class TorchtuneEngine:
    """Answers prompts with a checkpoint in this process."""

    def __init__(self, checkpoint: Checkpoint, batch_size: int | None = None) -> None:
        """Takes a loaded checkpoint.

        Args:
            checkpoint: The model.
            batch_size: Prompts decoded at once; None for as many as free memory allows.
        """
        self._checkpoint = checkpoint
        self._batch_size = batch_size
        self._trees: dict[str, AnswerTree] = {}

    def generate(self, prompts: Sequence[Prompt], request: Request) -> Iterator[tuple[int, Response]]:
        """Yields the index of each prompt with its response, as they come.

        Raises:
            InputError: A prompt has no room even without its report, or the token limit would cut closed answers.
        """
        checkpoint = self._checkpoint
        fitted = [
            fit_prompt(
                prompt,
                lambda prompt: prompt_tokens(checkpoint.tokenizer, prompt.message),
                checkpoint.max_positions - (_DECISION_COLUMNS if request.scores else 0),
                request.max_new_tokens,
            )
            for prompt in prompts
        ]
        answering = generate(
            checkpoint,
            [tokens for tokens, _ in fitted],
            [prompt.seed for prompt in prompts],
            self._batch_size,
            request.max_new_tokens,
            request.temperature,
            tree=self._tree(request),
            # For one report, reading the rules would take longer than it spares.
            expect=(lambda index: _expected(prompts[index])) if len(prompts) > 1 else lambda index: (),
            go_on=request.go_on,
            scores=request.scores,
        )
        for index, response in answering:
            yield index, replace(response, cut_words=fitted[index][1])

    def _tree(self, request: Request) -> AnswerTree | None:
        if request.task is None:
            return None
        if request.task not in self._trees:
            tokenizer = self._checkpoint.tokenizer
            self._trees[request.task] = answer_tree(
                closed_answers(request.task),
                lambda text: tokenizer.encode(text, add_bos=False, add_eos=False),
                lambda tokens: tokenizer.decode(tokens, truncate_at_eos=False),
            )
        return self._trees[request.task]


def generate(
    checkpoint: Checkpoint,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[str],
    batch_size: int | None,
    max_new_tokens: int,
    temperature: float,
    *,
    tree: AnswerTree | None = None,
    expect: Callable[[int], Collection[str]] = lambda index: (),
    go_on: bool = False,
    scores: bool = False,
    share_prefix: bool = True,
) -> Iterator[tuple[int, Response]]:
    """Generates one response for each prompt.

    Args:
        checkpoint: The model.
        prompts: Token ids of each prompt.
        seeds: One per prompt; sampling draws from it alone, whatever else is in the batch.
        batch_size: Prompts decoded at once, halved as often as memory runs out; None for as many as free memory allows.
        max_new_tokens: Where a response is cut off.
        temperature: 0 takes the likeliest token.
        tree: The closed answers, where no others may be given.
        expect: The classes that the closed answer to a prompt will likely name, by the prompt's index. What the model
            answers does not depend on it, only in how many passes.
        go_on: Whether the model writes on after a closed answer.
        scores: Whether each class gets a probability; the tree must be that of multiple choice.
        share_prefix: Whether what all prompts begin with goes through the model once.

    Yields:
        Index of a prompt and its response, as they finish, the longest prompts first.

    Raises:
        InputError: ``max_new_tokens`` would cut a closed answer, there is no memory for a single prompt, or the model's
            logits are no numbers.
    """
    if tree is not None and max_new_tokens < tree.longest:
        raise InputError(f"max_new_tokens={max_new_tokens} would cut closed answers, which take up to {tree.longest}")
    beginning = _common_beginning(prompts) if share_prefix else []
    waiting = deque(sorted(range(len(prompts)), key=lambda index: -len(prompts[index])))
    while waiting:
        # The first prompt is the longest.
        columns = len(prompts[waiting[0]]) + max_new_tokens + (_DECISION_COLUMNS if scores else 0)
        batch_size = batch_size or rows_for_decoder(checkpoint.model, columns)
        rows: list[Row] = []
        # After memory has run out: the old cache has to go before a smaller one finds room.
        cache = batch = None
        try:
            cache = make_cache(checkpoint.model, min(batch_size, len(waiting)), columns, beginning)
            batch = Batch(checkpoint, cache, rows, max_new_tokens, temperature, go_on)
            while waiting or rows:
                entering = batch.room(waiting, prompts)
                for _ in range(entering):
                    index = waiting.popleft()
                    own = prompts[index][len(beginning) :]
                    draw = random.Random(seeds[index])  # noqa: S311  (no secret)
                    expected = expect(index) if tree and not scores else ()
                    rows.append(start_row(index, own, len(beginning), draw, tree, expected, scores))
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


def _expected(prompt: Prompt) -> list[str]:
    """What the rule labeler finds: in less than a pass's time, what a model that learned from it will mostly answer."""
    labels = label_report(prompt.report_text, default_rules()).labels
    return [name for name in FINDINGS if labels.get(name) == POSITIVE]


def _common_beginning(prompts: Sequence[Sequence[int]]) -> list[int]:
    """The tokens that all prompts begin with; every prompt keeps one of its own, or there would be nothing to ask."""
    if len(prompts) < 2:
        return []
    lists = [list(prompt) for prompt in prompts]
    # Whatever the first and the last in order have in common, all in between have, too.
    pairs = zip(min(lists), max(lists), strict=False)
    common = [token for token, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
    return common[: min(map(len, lists)) - 1]
