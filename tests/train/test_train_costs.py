"""What mistakes cost: weights, and the Tversky loss on the class probabilities of closed answers."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_packing import assert_same, instructions, loss_and_gradients, make_decoder

from radtune.config import InputError
from radtune.engines.closed import AnswerTree
from radtune.instructions import Instruction
from radtune.models.checkpoint import open_model
from radtune.tasks import load_task
from radtune.tasks.lists import ClosedList
from radtune.train.costs import choices_of, with_costs
from radtune.train.data import IGNORED, make_rows
from radtune.train.loss import SummedLoss, class_probabilities, tversky_loss
from radtune.train.packing import make_batches
from radtune.train.settings import PACKINGS, LossSettings

TASKS = {name: load_task(name) for name in ("multiple_choice", "open_ended")}
EAGER = LossSettings(item_weight=3.0, end_weight=0.25, tversky=2.0, tversky_recall=0.8)


@pytest.fixture(scope="module")
def tokenizer():
    return open_model(Path("data/mini")).tokenizer(1024)


@pytest.fixture(scope="module")
def made(tokenizer):
    answers = itertools.cycle(["['Edema']", "['Normal']", "['Lung Opacity', 'Pleural Effusion']"])
    rows = [replace(row, output=next(answers)) if row.task == "multiple_choice" else row for row in instructions(3)]
    return rows, make_rows(tokenizer, rows, "llama3_chat")[0]


@pytest.fixture(scope="module")
def eager():
    return SummedLoss(make_decoder(), EAGER.tversky, EAGER.tversky_recall)


def costs(tokenizer, made, loss: LossSettings):
    return with_costs(made[1], made[0], tokenizer, TASKS, loss)


def test_weights_are_of_items_and_of_what_ends_a_list_or_says_that_there_is_none(tokenizer, made) -> None:
    for instruction, row in zip(made[0], costs(tokenizer, made, EAGER), strict=True):
        trained = row.targets != IGNORED
        by_weight = {
            weight: tokenizer.decode(row.targets[trained & (row.weights == weight)].tolist()) for weight in (3, 0.25)
        }
        # What stands before the answer is trained on as ever.
        if "Normal" in instruction.output:
            assert by_weight[3] == "" and by_weight[0.25].startswith(instruction.output)
        else:
            assert by_weight[3] == instruction.output[:-2] and by_weight[0.25].startswith("']")
        assert set(row.weights[trained].tolist()) <= {1.0, 3.0, 0.25}


def test_weight_1_is_the_loss_without_weights_bit_for_bit(tokenizer, made) -> None:
    batches = make_batches(made[1], "shared_prefix", 2048)
    alike = make_batches(costs(tokenizer, made, LossSettings()), "shared_prefix", 2048)
    model = SummedLoss(make_decoder())
    (first, wanted), (second, got) = loss_and_gradients(model, batches), loss_and_gradients(model, alike)
    assert first == second and all(map(torch.equal, got, wanted))
    # And what weights of 1 would give by the weighted way is the same but for rounding.
    (batch,) = batches
    weighted = model._sum(torch.ones(len(batch.targets), 64), batch.targets, torch.ones(len(batch.targets)))
    assert weighted.item() == pytest.approx(model._sum(torch.ones(len(batch.targets), 64), batch.targets).item())


@pytest.mark.parametrize("packing", PACKINGS)
def test_packing_changes_neither_loss_nor_gradients(tokenizer, made, eager, packing) -> None:
    rows = costs(tokenizer, made, EAGER)
    alone = loss_and_gradients(eager, make_batches(rows, "none", 1))
    assert_same(loss_and_gradients(eager, make_batches(rows, packing, 2048)), alone)
    padded = make_batches(rows, packing, 1024, multiple=256)
    assert loss_and_gradients(eager, padded)[0] == pytest.approx(alone[0], rel=1e-5)


def test_gradients_equal_finite_differences(tokenizer, made, eager) -> None:
    task = TASKS["multiple_choice"]
    tree = AnswerTree(task.grammar(), lambda texts: [tokenizer.encode(t, add_bos=False, add_eos=False) for t in texts])
    answer = tokenizer.encode("['Lung Opacity', 'Pleural Effusion']", add_bos=False, add_eos=False)
    choices = choices_of(tree, tree.numbers(["Lung Opacity", "Pleural Effusion"]), answer)
    doubled = type(choices)(**{n: v.double() if v.is_floating_point() else v for n, v in vars(choices).items()})
    chance = torch.Generator().manual_seed(0)
    logits = torch.randn(len(choices.places), 1408, generator=chance, dtype=torch.float64, requires_grad=True)

    def loss(logits: torch.Tensor) -> torch.Tensor:
        return tversky_loss(class_probabilities(logits, doubled), doubled.there, 0.8)

    assert torch.autograd.gradcheck(loss, (logits,), fast_mode=True)
    # The whole loss of a step, along its gradient: logits are in single precision.
    batches = make_batches(costs(tokenizer, made, EAGER), "shared_prefix", 2048)
    slopes, parameters = loss_and_gradients(eager, batches)[1], [p for p in eager.parameters() if p.requires_grad]
    norm, around = torch.stack([slope.norm() for slope in slopes]).norm(), []
    for step in (1e-2, -2e-2):
        with torch.no_grad():
            for parameter, slope in zip(parameters, slopes, strict=True):
                parameter += step * slope / norm
        around.append(loss_and_gradients(eager, batches)[0])
    assert (around[0] - around[1]) / 2e-2 == pytest.approx(norm.item(), rel=1e-2)


@pytest.mark.parametrize(
    "named", list(itertools.chain.from_iterable(itertools.combinations("abc", n) for n in range(4)))
)
def test_probabilities_are_those_of_all_lists_that_begin_so(named: tuple[str, ...]) -> None:
    """Names of a letter each, a token for every letter: every chance can be written down."""
    grammar, letters = ClosedList(("a", "b", "c"), "n"), "abcn[]', "
    tree = AnswerTree(grammar, lambda texts: [[letters.index(letter) for letter in text] for text in texts])
    answer = [letters.index(letter) for letter in grammar.encode(named)]
    choices = choices_of(tree, tree.numbers(named), answer)
    logits = torch.randn(len(choices.places), len(letters), generator=torch.Generator().manual_seed(len(named)))
    found = dict(zip("abc", class_probabilities(logits, choices).tolist(), strict=True))
    assert choices.there.tolist() == [float(name in named) for name in "abc"]
    by_place = {int(place): row for place, row in zip(choices.places, logits.tolist(), strict=True)}

    def chances(place: int, among: str) -> dict[str, float]:
        exps = {letter: math.exp(by_place[place][letters.index(letter)]) for letter in among}
        return {letter: value / sum(exps.values()) for letter, value in exps.items()}

    # At the beginning: a, b, c or none. Behind a name: a comma and then a later one, or the end.
    mass, last = chances(2, "abcn"), -1
    for number, name in enumerate("abc"):
        later = "abc"[number:]
        behind = sum(mass[x] for x in later) + mass["n"]
        assert found[name] == pytest.approx(mass[name] / behind, rel=1e-5), name
        if name in named:
            place, last = 2 + 5 * named.index(name), number
            rest = "abc"[last + 1 :]
            if not rest:
                break
            here = chances(place + 2, ",]")
            if name != named[-1]:
                mass = {x: here[","] * chance for x, chance in chances(place + 5, rest).items()} if len(rest) > 1 else {
                    rest: here[","]
                }  # fmt: skip
            else:
                # Which of them, nobody has asked the model.
                mass = {x: here[","] / len(rest) for x in rest}
            mass["n"] = here["]"]


def test_a_missed_class_costs_what_it_is_said_to() -> None:
    there = torch.tensor([1.0, 0.0, 0.0])
    assert tversky_loss(there, there, 0.8).item() == 0
    missed, false = (tversky_loss(torch.tensor(p), there, 0.8).item() for p in ([0.0, 0.0, 0.0], [1.0, 1.0, 0.0]))
    assert missed == pytest.approx(1 - 1 / 1.8) and false == pytest.approx(1 - 2 / 2.2)


def test_tables_have_items_too_and_a_tversky_loss_needs_classes(tokenizer, tmp_path) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(f"extends: {Path('configs/tasks/radiograph.yaml').absolute()}\nname: table\nsections: [findings]\n")
    task = load_task(path)
    answers = [task.encode(labels) for labels in (["left effusion", "edema"], [])]
    rows = [Instruction("List.", "Report.", answer, "table", str(i), "x") for i, answer in enumerate(answers)]
    made = make_rows(tokenizer, rows, "llama3_chat")[0]
    some, none = with_costs(made, rows, tokenizer, {"table": task}, LossSettings(item_weight=3.0, end_weight=0.25))
    trained = some.targets != IGNORED
    said = {weight: tokenizer.decode(some.targets[trained & (some.weights == weight)].tolist()) for weight in (3, 0.25)}
    assert said[3] == answers[0] and "|" not in said[0.25]
    assert not (none.weights == 3).any()
    with pytest.raises(InputError, match=r"loss\.tversky: no row's answer is a list of classes"):
        with_costs(made, rows, tokenizer, {"table": task}, EAGER)
