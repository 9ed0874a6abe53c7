"""Packs: every row whole and alone but for its prefix, and the same losses and gradients however rows are arranged."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_mask
from torchtune.models.llama3_1 import lora_llama3_1
from torchtune.modules.peft import get_adapter_params, set_trainable_params
from training_rounds import synthetic_rows

from radtune.instructions import Instruction
from radtune.models.checkpoint import open_model
from radtune.train.data import IGNORED, Row, make_rows
from radtune.train.loss import CHUNK, SummedLoss, attention_mask, sees
from radtune.train.packing import Batch, make_batches
from radtune.train.settings import PACKINGS

ANSWERS = {"open_ended": "['small effusion', 'edema']", "multiple_choice": "['Edema']"}


def instructions(count):
    """So many rows of either task."""
    rows = synthetic_rows(12, 3, dict.fromkeys(ANSWERS, count)).train
    return [replace(row, output=ANSWERS[row.task]) for row in rows]


def tokenizer(max_seq_len):
    return open_model(Path("data/mini")).tokenizer(max_seq_len)


def dense_mask(groups, length):
    """The pattern of attention written out, boolean, shape (1, length, length)."""
    index = torch.arange(length)
    return sees(groups, length)(None, None, index[:, None], index[None])[None]


@pytest.fixture(scope="module")
def rows():
    return make_rows(tokenizer(1024), instructions(3), "llama3_chat")[0]


def make_decoder():
    """A small decoder whose adapter changes what it says."""
    torch.manual_seed(0)
    decoder = lora_llama3_1(
        lora_attn_modules=["q_proj", "v_proj"], vocab_size=1408, num_layers=2, num_heads=4, num_kv_heads=2,
        embed_dim=64, intermediate_dim=128, max_seq_len=1024, lora_rank=4, lora_alpha=8,
    )  # fmt: skip
    adapter = get_adapter_params(decoder)
    set_trainable_params(decoder, adapter)
    for parameter in adapter.values():
        torch.nn.init.normal_(parameter, std=0.1)
    return decoder


@pytest.fixture(scope="module")
def model():
    return SummedLoss(make_decoder())


def loss_and_gradients(model, batches, dense=False):
    """The mean loss of a step and its gradients, as the recipe computes them."""
    model.zero_grad()
    weight, summed = sum(batch.weight for batch in batches), 0.0
    for batch in batches:
        mask = attention_mask(batch, torch.device("cpu"), torch.float32)
        loss = model(batch, dense_mask(batch.groups, batch.tokens.shape[1]) if dense else mask) / weight
        loss.backward()
        summed += loss.item()
    return summed, [p.grad.clone() for p in model.parameters() if p.requires_grad]


def assert_same(got, wanted):
    assert got[0] == pytest.approx(wanted[0], rel=1e-5)
    for one, other in zip(got[1], wanted[1], strict=True):
        assert (one - other).norm() <= 1e-4 * other.norm()


def test_reference_is_torchtunes_own_loss(rows, model, one_by_one):
    """Row by row through the decoder's own forward: what all arrangements are held to."""
    summed = 0.0
    for row in rows:
        logits = model.decoder(row.tokens[None])[0]
        summed += torch.nn.functional.cross_entropy(logits, row.targets, ignore_index=IGNORED, reduction="sum").item()
    assert one_by_one[0] == pytest.approx(summed / sum(row.trained for row in rows), rel=1e-5)


@pytest.fixture(scope="module")
def one_by_one(rows, model):
    """Loss and gradients of rows that are each computed alone."""
    return loss_and_gradients(model, make_batches(rows, "none", 1))


@pytest.mark.parametrize("max_tokens", [512, 2048])
@pytest.mark.parametrize("packing", PACKINGS)
def test_arrangement_changes_neither_loss_nor_gradients(rows, model, one_by_one, packing, max_tokens):
    assert_same(loss_and_gradients(model, make_batches(rows, packing, max_tokens)), one_by_one)


def test_padded_packs_and_dense_masks_change_neither(rows, model, one_by_one):
    batches = make_batches(rows, "shared_prefix", 1024, multiple=256)
    assert sum(batch.padding for batch in batches) > 0
    assert_same(loss_and_gradients(model, batches, dense=True), one_by_one)


def test_shared_prefix_computes_fewer_tokens(rows):
    def computed(packing):
        return sum(batch.tokens.numel() for batch in make_batches(rows, packing, 4096))

    assert computed("shared_prefix") < computed("rows") / 2
    assert computed("rows") == sum(len(row.tokens) for row in rows)


def test_loss_in_chunks_is_the_same(model):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 1400, (3, 500), generator=generator)
    targets = torch.randint(1, 1400, (1500,), generator=generator)
    assert len(targets) > CHUNK
    got = model(Batch(tokens, None, None, torch.arange(1500), targets, 0), None)
    logits = model.decoder(tokens).flatten(0, 1)
    assert got.item() == pytest.approx(
        torch.nn.functional.cross_entropy(logits, targets, reduction="sum").item(), rel=1e-5
    )
    got.backward()


# Rows of any length, kind and prefix: token ids name row and place, so that they can be told apart.
made_rows = st.lists(st.tuples(st.integers(0, 2), st.integers(2, 30), st.integers(1, 29)), min_size=1, max_size=12)


def made_up(shapes):
    prefixes = [0, 5, 9]
    rows = []
    for number, (kind, own, trained) in enumerate(shapes):
        length = prefixes[kind] + own
        tokens = torch.cat([kind * 100 + torch.arange(prefixes[kind]), 1000 * (number + 1) + torch.arange(own)])
        targets = torch.full((length,), IGNORED)
        targets[-min(trained, own) :] = tokens[-min(trained, own) :] + 1
        rows.append(Row(tokens, targets, prefixes[kind], kind))
    return rows


@settings(max_examples=100, deadline=None)
@given(made_rows, st.sampled_from(PACKINGS), st.integers(40, 200), st.integers(1, 3), st.sampled_from([1, 64]))
def test_every_row_is_there_once_and_sees_itself_alone(shapes, packing, max_tokens, ways, multiple):
    rows, found = made_up(shapes), []
    for batch in make_batches(rows, packing, max_tokens, ways, multiple):
        if batch.groups is None:
            mask = torch.ones(batch.tokens.shape[1], batch.tokens.shape[1], dtype=torch.bool).tril()
            masks, positions = (
                [mask] * len(batch.tokens),
                torch.arange(batch.tokens.shape[1]).expand(batch.tokens.shape),
            )
        else:
            masks, positions = dense_mask(batch.groups, batch.tokens.shape[1]), batch.positions
            assert batch.tokens.shape[1] % multiple == 0
        if ways == 1:
            assert batch.tokens.numel() - batch.padding <= max_tokens
        targets = torch.full((batch.tokens.numel(),), IGNORED)
        targets[batch.places] = batch.targets
        for tokens, mask, places, aims in zip(
            batch.tokens, masks, positions, targets.view(batch.tokens.shape), strict=True
        ):
            for end in (aims != IGNORED).nonzero()[:, 0].tolist():
                # The last target of each row: what it sees is the row, in its order, and nothing more.
                seen = mask[end].nonzero()[:, 0]
                row = next(row for row in rows if row.tokens[-1] // 1000 == tokens[end] // 1000)
                assert tokens[seen].tolist() == row.tokens[: len(seen)].tolist()
                assert places[seen].tolist() == list(range(len(seen)))
                assert aims[end] == row.targets[len(seen) - 1]
                found.append((int(tokens[end]), int(aims[end])))
    wanted = [(int(t), int(a)) for row in rows for t, a in zip(row.tokens, row.targets, strict=True) if a != IGNORED]
    assert sorted(found) == sorted(wanted)


def test_flex_attention_gets_the_same_mask(rows):
    for batch in make_batches(rows, "shared_prefix", 1024, multiple=128):
        length = batch.tokens.shape[1]
        flex = create_mask(sees(batch.groups, length), 1, 1, length, length, device="cpu")
        assert torch.equal(flex[0].bool(), dense_mask(batch.groups, length))


def test_enough_batches_for_every_process(rows):
    for packing in PACKINGS:
        assert len(make_batches(rows, packing, 100_000)) == 1
        assert len(make_batches(rows, packing, 100_000, ways=2)) >= 2


def test_prefix_ends_before_any_target():
    same = Instruction("List findings.", "Clear lungs.", "[]", "open_ended", "a", "made")
    rows, _ = make_rows(tokenizer(1024), [same, same], "llama3_chat")
    first = next(i for i, target in enumerate(rows[0].targets) if target != IGNORED)
    assert 0 < rows[0].prefix <= first
    assert make_rows(tokenizer(1024), [same], "llama3_chat")[0][0].prefix == 0


def test_rows_cut_before_their_answer_change_nothing():
    rows, cut = make_rows(tokenizer(60), instructions(2), "llama3_chat")
    assert cut == len(rows) == 4
    lost = [row for row in rows if row.trained == 0]
    assert sum(len(batch.targets) for batch in make_batches(rows, "rows", 512)) == sum(row.trained for row in rows)
    assert all(len(row.tokens) == 59 for row in lost)
