"""What a run will do, told before any weight is loaded: rows, tokens, steps, learning rates, memory."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from radtune.instructions import Instruction
from radtune.train.packing import Batch, Row

_GIB = 2**30


@dataclass(frozen=True)
class Plan:
    """The figures of a run.

    Attributes:
        rows: By task and source, how many rows.
        cut: Rows longer than ``tokenizer.max_seq_len``.
        untrained: Rows of which nothing is left to train on.
        row_tokens: Tokens of all rows, as each would be computed alone.
        computed_tokens: Tokens computed in an epoch, padding included.
        padding: Padding among them.
        trained_tokens: Tokens with a target.
        steps: Optimizer steps.
        warmup: Steps before the highest learning rate.
        peak: The highest learning rate reached.
        asked: The optimizer's learning rate.
        memory: Expected bytes in a process, by what for.
    """

    rows: dict[tuple[str, str], int]
    cut: int
    untrained: int
    row_tokens: int
    computed_tokens: int
    padding: int
    trained_tokens: int
    steps: int
    warmup: int
    peak: float
    asked: float
    memory: dict[str, float]

    def facts(self) -> dict[str, Any]:
        """The figures for a manifest and a model card."""
        return {
            "rows": {f"{task}/{source}": count for (task, source), count in sorted(self.rows.items())},
            "rows_cut": self.cut,
            "trained_tokens_per_epoch": self.trained_tokens,
            "optimizer_steps": self.steps,
            "peak_learning_rate": self.peak,
        }


def make_plan(
    instructions: Sequence[Instruction],
    rows: Sequence[Row],
    cut: int,
    batches: Iterable[Batch],
    rates: Sequence[float],
    asked: float,
    memory: dict[str, float],
) -> Plan:
    """Counts.

    Args:
        instructions: The training rows.
        rows: The same, tokenized.
        cut: How many of them were cut.
        batches: All batches of the first epoch.
        rates: The learning rate of each step.
        asked: The optimizer's learning rate.
        memory: Expected bytes, by what for.

    Returns:
        The plan.
    """
    computed = padding = 0
    for batch in batches:
        computed, padding = computed + batch.tokens.numel(), padding + batch.padding
    trained = [row.trained for row in rows]
    return Plan(
        rows=dict(Counter((row.task, row.source) for row in instructions)),
        cut=cut,
        untrained=trained.count(0),
        row_tokens=sum(len(row.tokens) for row in rows),
        computed_tokens=computed,
        padding=padding,
        trained_tokens=sum(trained),
        steps=len(rates),
        warmup=rates.index(max(rates)),
        peak=max(rates),
        asked=asked,
        memory=memory,
    )


def plan_lines(plan: Plan, max_seq_len: int | None) -> list[str]:
    """The plan as lines to print, warnings last."""
    lines = [f"{count:,} rows of {task} from {source}" for (task, source), count in sorted(plan.rows.items())]
    lines += [
        f"an epoch: {plan.row_tokens:,} tokens in rows, {plan.trained_tokens:,} of them trained on; "
        f"{plan.computed_tokens:,} computed, {plan.padding:,} of them padding",
        f"{plan.steps:,} optimizer steps, {plan.warmup:,} of them warm-up ({plan.warmup / plan.steps:.0%}); "
        f"highest learning rate {plan.peak:.3g}",
        "expected memory: "
        + ", ".join(f"{size / _GIB:.2f} GiB {what}" for what, size in plan.memory.items())
        + f"; {sum(plan.memory.values()) / _GIB:.2f} GiB in all, in each process",
    ]
    if plan.peak < 0.999 * plan.asked:
        lines.append(
            f"warning: the warm-up outlasts training: the learning rate reaches {plan.peak:.3g}, not {plan.asked:.3g}; "
            "lower lr_scheduler.num_warmup_steps or train on more rows"
        )
    if plan.cut:
        lines.append(f"warning: {plan.cut:,} rows reach tokenizer.max_seq_len={max_seq_len}: their answers are cut")
    if plan.untrained:
        lines.append(f"warning: {plan.untrained:,} rows have no answer left to train on, and change nothing")
    return lines


def adapter_parameters(model: dict[str, Any], config: dict[str, Any]) -> int:
    """How many numbers an adapter has: rank times inputs and outputs of each layer it is on.

    Args:
        model: The YAML's ``model``.
        config: The base model's ``config.json``.
    """
    width, inner = config["hidden_size"], config["intermediate_size"]
    key_width = width * config["num_key_value_heads"] // config["num_attention_heads"]
    sizes = {"q_proj": 2 * width, "output_proj": 2 * width, "k_proj": width + key_width, "v_proj": width + key_width}
    in_layer = sum(sizes.get(name, 0) for name in model.get("lora_attn_modules", []))
    in_layer += 3 * (width + inner) * bool(model.get("apply_lora_to_mlp"))
    outside = (width + config["vocab_size"]) * bool(model.get("apply_lora_to_output"))
    return model["lora_rank"] * (config["num_hidden_layers"] * in_layer + outside)


def expected_memory(
    config: dict[str, Any],
    *,
    quantized: bool,
    value_bytes: int,
    trainable: int,
    optimizer_bytes: float,
    tokens: int,
    trained: int,
    processes: int,
    recompute: bool,
) -> dict[str, float]:
    """Bytes that a process will need: our estimate, from what torchtune's layers keep for the backward pass.

    Args:
        config: The base model's ``config.json``.
        quantized: Whether its layers are held in 4 bits.
        value_bytes: Of a weight or activation.
        trainable: Parameters of the adapter.
        optimizer_bytes: What the optimizer keeps for each of them.
        tokens: Tokens of the largest batch.
        trained: Most targets of a batch.
        processes: Over how many processes the model is sharded.
        recompute: Whether layers keep their input alone.

    Returns:
        Bytes of weights, adapter with gradients and optimizer, activations, and logits.
    """
    width, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    key_width = width * config["num_key_value_heads"] // config["num_attention_heads"]
    in_layers = layers * (2 * width * width + 2 * width * key_width + 3 * width * inner)
    outside = 2 * config["vocab_size"] * width
    # NF4: half a byte a weight and a scale of about an eighth of a bit more (Dettmers et al. 2023, section 3).
    weights = in_layers * (0.516 if quantized else value_bytes) + outside * value_bytes
    # What is kept of a layer for each token: norms in float32; q, k, v (expanded to all heads) and the output of
    # attention; both halves of the feed-forward and their product's inputs.
    kept = 2 * 4 * width + value_bytes * (7 * width + 3 * inner)
    one_layer, of_inputs = tokens * kept, tokens * layers * width * value_bytes
    activations = of_inputs + one_layer if recompute else layers * one_layer
    # A sharded model is whole one layer at a time, besides embeddings and output.
    here = (
        weights
        if processes == 1
        else weights / processes + outside * value_bytes + 2 * in_layers / layers * value_bytes
    )
    return {
        "weights": here,
        "adapter": trainable * (2 * value_bytes + optimizer_bytes) / processes,
        "activations": activations,
        "logits": 3.0 * 4 * min(trained, 1024) * config["vocab_size"],
    }
