"""Closed answers: nothing else comes out of any model, and the scores are the probabilities that they claim to be."""

import random
import re
from dataclasses import replace
from functools import lru_cache
from itertools import compress, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from radtune.config import InputError
from radtune.engines import class_scores
from radtune.engines.class_scores import ClassScores, decide
from radtune.engines.closed import CLOSED_EARLY, NONE, AnswerTree
from radtune.engines.local import TorchtuneEngine
from radtune.engines.prompt import Sampling
from radtune.models.tokenizer import prompt_tokens
from radtune.tasks import load_task
from radtune.tasks.lists import ClosedList, read_list

TASK = "multiple_choice"
LISTS = load_task(TASK).grammar()
FINDINGS = LISTS.names
# Names that are prefixes of one another, share their beginnings, and hold what lists are written with.
WORDS = (
    "Lung", "Lung Opacity", "Kerley's", 'so-called "mass"', "[old]", "A", "AB", "x', 'y", "Œdème", "'", "(left)",
    "Edema", "Pleural", "Pleural Effusion", "a, b", "No", "none", "normal",
)  # fmt: skip
_LONGER = [f"{a} {b}" for a, b in product(WORDS, ("of", "Effusion", "mass", "x,", "’", "2", "]", "'", "b"))]
MANY = ClosedList(tuple(dict.fromkeys([*WORDS, *_LONGER]))[:150], "Normal")
# Trees of as many take long to lay out whole.
SOME = ClosedList(tuple(dict.fromkeys([*WORDS, *MANY.names[::3]]))[:60], "Normal")
GRAMMARS = {13: LISTS, 60: SOME, 150: MANY}


def in_pairs(text):
    return re.findall("..?", text, re.DOTALL)


def greedily(text):
    """The longest pieces first, among some that run over quotes and commas, and into names."""
    return re.findall(r"', 'P|ema', '|\['|'\]|\", |', |Lung O|Pleural E|[a-z]{1,3}|.", text, re.DOTALL)


# By what they split at: bytes, single characters, pairs of them (so that all hangs on the length of what comes before),
# words, and longest matches.
TOKENIZERS = {
    "bytes": lambda text: list(text.encode()),
    "characters": list,
    "pairs": in_pairs,
    "words": lambda text: re.findall(r"\s?\w+|\s?[^\w\s]+", text),
    "greedy": greedily,
}


def lay_out(grammar, tokenizer):
    """A tree of answers whose tokens are the tokenizer's pieces."""
    return AnswerTree(grammar, lambda texts: [tokenizer(text) for text in texts])


@pytest.fixture(scope="module")
def mini_tokenizer(mini):
    return lambda text: mini.tokenizer.encode(text, add_bos=False, add_eos=False)


@pytest.fixture(scope="module")
def trees(mini_tokenizer):
    """Of some number of names and a tokenizer: the tree, the tokenizer and the names; made once."""

    @lru_cache
    def trees(size, tokenizer):
        encode, grammar = (TOKENIZERS | {"mini": mini_tokenizer})[tokenizer], GRAMMARS[size]
        return lay_out(grammar, encode), encode, grammar

    return trees


@pytest.fixture(scope="module")
def numbered():
    """Of a tokenizer: a tree of many names whose tokens are numbers, and those by piece; made once."""

    @lru_cache
    def numbered(tokenizer):
        pieces = {}
        tree = AnswerTree(SOME, lambda texts: [
            [pieces.setdefault(piece, len(pieces)) for piece in TOKENIZERS[tokenizer](text)] for text in texts
        ])  # fmt: skip
        return tree, pieces

    return numbered


some_names = st.sampled_from([0.01, 0.1, 0.5, 1.0]).flatmap(
    lambda share: st.randoms(use_true_random=False).map(
        lambda chance: lambda names: tuple(name for name in names if chance.random() < share)
    )
)
every_tree = pytest.mark.parametrize("tokenizer", [*TOKENIZERS, "mini"])
sizes = pytest.mark.parametrize("size", [13, 60])


def follow(tree, tokens):
    """The places that tokens lead through."""
    places = [tree.root]
    for token in tokens:
        places.append(places[-1].children[token])
    return places


@sizes
@every_tree
@settings(max_examples=15)
@given(choose=some_names)
def test_every_list_is_written_with_the_tokens_of_training(trees, size, tokenizer, choose):
    tree, encode, grammar = trees(size, tokenizer)
    assert not follow(tree, encode(grammar.encode(choose(grammar.names))))[-1].children


@sizes
@every_tree
@settings(max_examples=15)
@given(chance=st.randoms(use_true_random=False), limit=st.integers(1, 300))
def test_whatever_is_written_is_a_list_with_the_tokens_of_training(trees, size, tokenizer, chance, limit):
    tree, encode, grammar = trees(size, tokenizer)
    try:
        tree.check_limit(limit)
    except InputError:
        limit = 10_000
    place, written = tree.root, []
    while place.children:
        written.append(chance.choice(place.allowed(limit - len(written))))
        place = place.children[written[-1]]
    assert len(written) <= limit
    if tokenizer == "bytes":
        text = bytes(written).decode()
    elif tokenizer == "mini":
        return
    else:
        text = "".join(written)
    assert encode(text) == written
    assert text == grammar.encode([name for name in grammar.names if name in names_in(text)])


def names_in(text):
    return read_list(text).labels


def test_all_lists_of_few_names_and_no_others_can_be_written(mini_tokenizer):
    grammar = ClosedList(("A", "AB", "B's", "C", "C d"), "Normal")
    # Even where a list is a single token.
    for encode in (mini_tokenizer, *TOKENIZERS.values(), lambda text: [text]):
        expected = {
            tuple(encode(grammar.encode(list(compress(grammar.names, some))))) for some in product((0, 1), repeat=5)
        }
        written, open_places = set(), [((), lay_out(grammar, encode).root)]
        while open_places:
            tokens, place = open_places.pop()
            open_places += [((*tokens, token), child) for token, child in place.children.items()]
            written |= set() if place.children else {tokens}
        assert written == expected


def test_a_tokenizer_that_looks_too_far_ahead_is_refused():
    # In pairs from the end: each token hangs on the length of all that follows.
    with pytest.raises(InputError, match="runs names together"):
        tree = lay_out(MANY, lambda text: [piece[::-1] for piece in in_pairs(text[::-1])][::-1])
        for place in follow(tree, []):
            assert place.forced()


def test_limits_leave_room_for_all_of_few_names_and_for_one_of_many(trees, mini_tokenizer):
    few, many = trees(13, "mini")[0], trees(150, "mini")[0]
    longest = max(len(mini_tokenizer(LISTS.encode(list(compress(FINDINGS, some))))) for some in all_subsets())
    few.check_limit(longest)
    with pytest.raises(InputError, match=f"={longest - 1} would cut closed answers, which take up to {longest}$"):
        few.check_limit(longest - 1)
    longest = max(len(mini_tokenizer(MANY.encode([name]))) for name in MANY.names)
    many.check_limit(longest)
    with pytest.raises(InputError, match=f"would cut closed answers of a single class, which take up to {longest}$"):
        many.check_limit(longest - 1)


def test_a_list_that_the_limit_kept_short_is_told_from_one_that_ended(trees, mini_tokenizer):
    many = trees(150, "mini")[0]
    for names in (MANY.names[:1], MANY.names[:9], MANY.names):
        tokens = mini_tokenizer(MANY.encode(names))
        assert many.finish_reason(tokens, len(tokens)) == (CLOSED_EARLY if names != MANY.names else None)
        # What comes behind the list, as evidence does, is no part of it.
        assert many.finish_reason([*tokens, *tokens], 2 * len(tokens) + 2_000) is None


def all_subsets():
    return product((0, 1), repeat=len(FINDINGS))


@pytest.mark.parametrize("temperature", [0.0, 1.0, 50.0])
def test_a_random_model_gives_valid_answers_alone(random_model, make_prompts, respond, temperature):
    engine = TorchtuneEngine(random_model, 16)
    for grammar, limit in ((LISTS, 70), (MANY, 25)):
        prompts = make_prompts(TASK, 20)
        responses = respond(engine, prompts, grammar=grammar, temperature=temperature, max_new_tokens=limit)
        assert all(response.finished for response in responses)
        # A model that draws names at random would write more of them than there is room for.
        early = [response.finish_reason == CLOSED_EARLY for response in responses]
        assert any(early) == (grammar is MANY and temperature > 0)
        for response in responses:
            assert response.text == grammar.encode(names_in(response.text))
        if temperature > 1:
            assert len({response.text for response in responses}) > 10


def test_the_model_goes_on_where_evidence_is_wanted(random_model, make_prompts, respond):
    responses = respond(TorchtuneEngine(random_model, 4), make_prompts(TASK, 6), task=TASK, go_on=True)
    for response in responses:
        assert response.text.partition("]")[0] + "]" == LISTS.encode(names_in(response.text))
    assert any(response.text.partition("]")[2] for response in responses)


@sizes
@every_tree
@settings(max_examples=15)
@given(answer=some_names, expected=some_names, left=st.integers(1, 400))
def test_a_draft_stops_at_choices_and_names_what_is_expected(trees, size, tokenizer, answer, expected, left):
    tree, encode, grammar = trees(size, tokenizer)
    expected = tree.numbers(expected(grammar.names))
    tokens = encode(grammar.encode(answer(grammar.names)))
    places = follow(tree, tokens)
    for place in places[:: len(places) // 8 or 1]:
        if len(place.children) > 1:
            draft, choices = place.draft(expected, left)
            assert choices[0] == 0 and sorted(set(choices)) == choices and choices[-1] == len(draft) < left
            for position, following in enumerate([*draft, None]):
                assert (len(place.children) > 1) == (position in choices)
                place = place.children.get(following)
    draft, choices = tree.root.forced()[1].draft(expected, 10_000)
    whole = encode(grammar.encode([grammar.names[number] for number in expected]))
    likely = whole[len(tree.root.forced()[0]) :]
    if len(choices) > 1:
        # But for the comma at the end, in case that the list goes on.
        assert draft[: choices[-2]] == likely[: choices[-2]]


@pytest.mark.parametrize(("model", "temperature"), [("mini", 1.0), ("random_model", 0.0)])
def test_drafts_change_no_answer(request, make_prompts, model, temperature):
    checkpoint = request.getfixturevalue(model)
    prompts = [replace(prompt, seed=str(number)) for number, prompt in enumerate(make_prompts(TASK, 4))]

    def texts(drafts, batch_size=3, go_on=False):
        asked = [replace(prompt, draft=tuple(draft)) for prompt, draft in zip(prompts, drafts, strict=True)]
        sampling = Sampling(temperature, 60, LISTS, go_on=go_on)
        answers = dict(TorchtuneEngine(checkpoint, batch_size).generate(asked, sampling))
        return [answers[index].text for index in range(len(prompts))]

    none = texts([()] * 4)
    own = [names_in(text) for text in none]
    chance = random.Random(0)  # noqa: S311  (no secret)
    some = [chance.sample(FINDINGS, chance.randrange(14)) for _ in prompts]
    assert texts(own) == texts(some) == texts(some, batch_size=1) == texts([FINDINGS] * 4) == none
    # With evidence, what the model goes on with does not depend on it either.
    assert texts(own, go_on=True) == texts([()] * 4, go_on=True)


def test_an_answer_that_was_drafted_takes_no_pass(mini, make_prompts):
    prompts, passes = make_prompts(TASK, 16), []
    hook = mini.model.tok_embeddings.register_forward_hook(lambda *_: passes.append(1))

    def answer(drafts):
        passes.clear()
        asked = [replace(prompt, draft=tuple(draft)) for prompt, draft in zip(prompts, drafts, strict=True)]
        answers = dict(TorchtuneEngine(mini, 16).generate(asked, Sampling(0.0, 100, LISTS)))
        return [load_task(TASK).read(answers[index].text).labels for index in range(16)], len(passes)

    try:
        own, undrafted = answer([()] * 16)
        drafted, passes_drafted = answer(own)
    finally:
        hook.remove()
    assert drafted == own
    assert max(map(len, own)) > 1
    # What all prompts begin with, and the rest of all of them with their drafts.
    assert passes_drafted == 2 < undrafted


@pytest.mark.parametrize(("model", "grammar"), [("mini", LISTS), ("random_model", LISTS), ("random_model", MANY)])
def test_scores_go_with_the_answers(request, make_prompts, respond, model, grammar):
    checkpoint = request.getfixturevalue(model)
    engine, prompts = TorchtuneEngine(checkpoint, 8), make_prompts(TASK, 3 if grammar is MANY else 20)
    # Room for all that a random model may want to list: scores do not know of a limit.
    limit = {"grammar": grammar, "max_new_tokens": 400}
    plain = respond(engine, prompts, **limit)
    passes = []
    hook = checkpoint.model.tok_embeddings.register_forward_hook(lambda *_: passes.append(1))
    scored = respond(engine, prompts, scores=True, **limit)
    hook.remove()
    assert [response.text for response in scored] == [response.text for response in plain]
    assert len(passes) < 3 * sum(len(names_in(response.text)) + 1 for response in plain)
    for response in scored:
        labels = names_in(response.text)
        assert len(response.scores) == len(grammar.names)
        for name, score in zip(grammar.names, response.scores, strict=True):
            assert 0 <= score <= 1
            assert name in labels or score <= 0.5
    engine = TorchtuneEngine(checkpoint, 1)
    for prompt, theirs in zip(prompts[:4], scored, strict=False):
        (alone,) = respond(engine, [prompt], scores=True, **limit)
        assert alone.scores == pytest.approx(theirs.scores, abs=1e-4)


def test_a_bias_against_the_end_makes_lists_longer(mini, random_model, make_prompts, respond):
    engine, prompts = TorchtuneEngine(mini, 8), make_prompts(TASK, 12)
    counts = [
        sum(len(names_in(response.text)) for response in respond(engine, prompts, grammar=LISTS, end_bias=bias))
        for bias in (-3.0, 0.0, 3.0, 6.0)
    ]
    assert counts == sorted(counts) and counts[0] < counts[1] < counts[3]
    engine, limit = TorchtuneEngine(random_model, 8), {"grammar": LISTS, "max_new_tokens": 400}
    for bias, last in ((1e4, LISTS.names[-1]), (-1e4, LISTS.none)):
        assert all(names_in(r.text)[-1] == last for r in respond(engine, prompts[:2], end_bias=bias, **limit))


@pytest.mark.parametrize("tokenizer", ["characters", "words", "greedy"])
@settings(max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from([0.3, 1.0, 3.0]))
def test_names_that_are_not_weighed_share_the_chance_of_their_beginning(numbered, tokenizer, seed, spread):
    tree, pieces = numbered(tokenizer)
    place, draw = tree.root.forced()[1], torch.Generator().manual_seed(seed)
    decision = decide(place, begins=True)
    logits = spread * torch.randn(1 + len(decision.tokens), len(pieces), generator=draw)

    def weighed(most):
        scores = ClassScores(tree.size)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(class_scores, "MOST_BRANCHES", most)
            patch.setattr(class_scores, "NEGLIGIBLE", 0.0)
            scores.note(place, 0, logits[0], {})
        (kept,) = [weighing.kept for weighing in scores.waiting]
        scores.weigh(scores.waiting[0], logits[[1 + number for number in kept]])
        return len(kept), torch.tensor(scores.mass[NONE, NONE], dtype=torch.float64)

    (count, some), (every, exact) = weighed(10), weighed(10**6)
    assert (count, every) == (10, len(decision.tokens))
    assert some.sum().item() == pytest.approx(exact.sum().item()) == pytest.approx(1)
    first = decision.chances(logits[:1], [0])[0]
    told = sum(chance for chance, (_, symbols) in zip(first, decision.branches[0], strict=False) if symbols)
    # What is off cannot be more than what is shared, and what one token tells is exact.
    assert (some - exact).abs().sum().item() <= 2 * (1 - told) + 1e-9
    for chance, (_, symbols) in zip(first, decision.branches[0], strict=False):
        if symbols:
            assert some[symbols[NONE]].item() >= chance - 1e-9


# What is told by one token along with the end of a name is weighed as well.
PREFIXES = ClosedList(("Lung", "Lung Opacity", "Edema (left)", "Edema (left) old", "Mass"), "Normal")


@pytest.mark.parametrize("grammar", [PREFIXES, ClosedList(FINDINGS[:5], "Normal")], ids=["prefixes", "classes"])
def test_scores_are_the_probabilities_they_claim_to_be(random_model, make_prompts, respond, grammar):
    # Short ones: each list is read behind each prompt.
    prompts = [replace(p, instruction="List.", report_text=p.report_text[:25]) for p in make_prompts(TASK, 5)]
    engine = TorchtuneEngine(random_model, 5)
    responses = respond(engine, prompts, grammar=grammar, scores=True, temperature=50.0)
    assert len({response.text for response in responses}) > 3
    for prompt, response in zip(prompts, responses, strict=True):
        chances = list_chances(random_model, prompt, grammar)
        before = ()
        for number, (name, score) in enumerate(zip(grammar.names, response.scores, strict=True)):
            alike = {names: c for names, c in chances.items() if known(names, grammar.names[:number]) == before}
            naming = sum(chance for names, chance in alike.items() if name in names)
            assert score == pytest.approx(naming / sum(alike.values()), abs=1e-4)
            before += (name,) if name in names_in(response.text) else ()


# Longer names before shorter ones, which an answer may name behind them; and one whose last sign is one token with the
# comma behind it, but begins a longer one, too.
IN_ANY_ORDER = ("Mass and edema", "Mass", "Edema (left)", 'Edema (left) "old"', "Edema")


@pytest.mark.parametrize("pieces_of", [TOKENIZERS["words"], lambda text: re.findall(r"\)',|\s?\w+|.", text)])
@pytest.mark.parametrize("seed", range(6))
def test_scores_are_those_of_names_that_begin_with_others_in_any_order(monkeypatch, pieces_of, seed):
    monkeypatch.setattr(class_scores, "MOST_BRANCHES", 10**6)
    monkeypatch.setattr(class_scores, "NEGLIGIBLE", 0.0)
    names = random.Random(seed).sample(IN_ANY_ORDER, 5)  # noqa: S311  (no secret)
    grammar, pieces = ClosedList(tuple(names), "Normal"), {}

    def encode(text):
        return tuple(pieces.setdefault(piece, len(pieces)) for piece in pieces_of(text))

    subsets = [tuple(compress(names, some)) for some in product((0, 1), repeat=5)]
    lists = {encode(grammar.encode(some)): some for some in subsets}
    tree = AnswerTree(grammar, lambda texts: [list(encode(text)) for text in texts])

    @lru_cache
    def logits(written):
        """Those of a model that is asked for the token behind some others."""
        return 2 * torch.randn(len(pieces), generator=torch.Generator().manual_seed(hash(written) % 2**32))

    chances = {some: chance_of(tokens, lists, logits) for tokens, some in lists.items()}
    assert sum(chances.values()) == pytest.approx(1)
    for tokens, some in lists.items():
        scores, decisions = ClassScores(5), {}
        for at, place in enumerate(follow(tree, tokens)):
            if len(place.children) > 1:
                scores.note(place, at, logits(tokens[:at]), decisions)
        for weighing in scores.waiting:
            ways = {-1: tokens[: weighing.columns]}
            for number, (token, parent) in enumerate(
                zip(weighing.decision.tokens, weighing.decision.parents, strict=True)
            ):
                ways[number] = (*ways[parent], token)
            scores.weigh(weighing, torch.stack([logits(ways[number]) for number in weighing.kept]))
        for number, score in enumerate(scores.values(tree.numbers(some))):
            alike = {
                other: c for other, c in chances.items() if known(other, names[:number]) == known(some, names[:number])
            }
            naming = sum(chance for other, chance in alike.items() if names[number] in other)
            assert score == pytest.approx(naming / sum(alike.values()), abs=1e-6), (names, some, number)


def chance_of(tokens, lists, logits):
    """The probability of a list, token by token among all that lists allow."""
    chance = 1.0
    for place, token in enumerate(tokens):
        allowed = sorted({other[place] for other in lists if other[:place] == tokens[:place] and len(other) > place})
        chance *= torch.softmax(logits(tokens[:place])[allowed].double(), 0)[allowed.index(token)].item()
    return chance


def known(names, some):
    return tuple(name for name in names if name in some)


def list_chances(checkpoint, prompt, grammar):
    """The probability of each list, token by token among all that lists allow, by plain passes without a cache."""
    tokenizer = checkpoint.tokenizer
    lists = [tuple(compress(grammar.names, some)) for some in product((0, 1), repeat=len(grammar.names))]
    tokens = [tokenizer.encode(grammar.encode(names), add_bos=False, add_eos=False) for names in lists]
    begun = prompt_tokens(tokenizer, prompt.message)
    with torch.inference_mode():
        logits = [checkpoint.model(torch.tensor([[*begun, *written]]))[0, len(begun) - 1 :] for written in tokens]
    chances = {}
    for names, written, of_list in zip(lists, tokens, logits, strict=True):
        chances[names] = 1.0
        for place, token in enumerate(written):
            allowed = sorted({other[place] for other in tokens if other[:place] == written[:place]})
            chances[names] *= torch.softmax(of_list[place, allowed].double(), 0)[allowed.index(token)].item()
    return chances
