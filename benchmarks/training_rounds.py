"""What benchmarks/bench_training.py runs in processes of their own: one kind of training, timed.

python benchmarks/training_rounds.py '{"kind": "stock", ...}'
"""

import dataclasses
import importlib.util
import json
import math
import resource
import runpy
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from radtune.config import parse_config
from radtune.instructions import LabelledReport, Split
from radtune.instructions import build as build_rows
from radtune.models.checkpoint import choose_dtype, fresh_adapter, open_model
from radtune.models.export import FineTuned, peft_weights
from radtune.sources.synthetic import SyntheticReport, generate
from radtune.tasks import Task, load_task
from radtune.train.data import IGNORED, make_rows, read_rows
from radtune.train.distributed import start_world
from radtune.train.packing import make_batches
from radtune.train.plan import step_rows
from radtune.train.settings import TrainingSettings, build

MINI = Path("data/mini")
# Steps in which kernels are compiled and buffers made; the steady rate leaves them out.
WARM_UP = 2
# Our YAML for each base model that comes with the benchmark.
SETTINGS = {"data/mini": Path("configs/mini/lora_fast.yaml"), "random_8b": Path("configs/llama3_1/8B_lora_fast.yaml")}
# The shape of Llama-3.1-8B, its config.json.
SHAPE_8B = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128_256, "max_position_embeddings": 131_072,
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A way of training.

    Attributes:
        run: Trains; returns losses, seconds, CPU seconds and computed tokens without padding.
        overrides: Of our own config.
        on_cpu: Whether it is measured on a CPU, too.
    """

    run: Callable[[dict[str, Any], list[str]], dict[str, Any]]
    overrides: tuple[str, ...] = ()
    on_cpu: bool = True


@dataclass
class Recorder:
    """Each step's loss and end; stands in for stock's logger."""

    losses: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

    def log_dict(self, payload: dict[str, float], step: int) -> None:
        """Keeps a step's loss."""
        self.losses.append(float(payload["loss"]))
        self.ends.append(time.perf_counter())

    def figures(self) -> dict[str, list[float]]:
        """Losses and ends, to be written as JSON."""
        return {"losses": self.losses, "ends": self.ends}

    def close(self) -> None:
        """Nothing to close."""


def run_stock(job: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Stock ``lora_finetune_single_device`` with the repository's config for it: the paper's settings."""
    # Its package raises on import, so the file is loaded by its path.
    import torchtune

    path = Path(torchtune.__file__).parents[1] / "recipes" / "lora_finetune_single_device.py"
    spec = importlib.util.spec_from_file_location("stock_recipe", path)
    stock = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stock)
    base = Path(job["base"])
    weights = sorted(path.name for path in base.glob("*.safetensors"))
    tokenizer = {"path": f"{base}/original/tokenizer.model", "special_tokens_path": f"{base}/tokenizer.json"}
    config = OmegaConf.merge(
        OmegaConf.load(job["settings"].replace("_fast", "_single_device")),
        {
            "output_dir": job["folder"],
            "checkpointer": {"checkpoint_dir": str(base), "checkpoint_files": weights},
            "tokenizer": tokenizer,
            "dataset": {"data_files": job["rows"]},
            "gradient_accumulation_steps": job["rows_per_step"] // 2,
            "device": job["device"],
        },
        OmegaConf.from_dotlist(overrides),
    )  # fmt: skip
    recipe = stock.LoRAFinetuneRecipeSingleDevice(cfg=config)
    recipe.setup(cfg=config)
    recipe._model.load_state_dict(fresh_adapter(recipe._model, 0), strict=False)
    recipe._metric_logger = Recorder()
    recipe.save_checkpoint = lambda epoch: None
    dataset = recipe._dataloader.dataset
    tokens = sum(len(dataset[i]["tokens"]) for i in range(len(dataset)))
    timing = timed(recipe.train)
    return {**recipe._metric_logger.figures(), "tokens": tokens, **timing}


def settings_of(job: dict[str, Any], overrides: list[str]) -> TrainingSettings:
    """The settings of a run of ours."""
    return parse_config(TrainingSettings, [
        "--config", job["settings"], f"output_dir={job['folder']}", f"checkpoint_dir={job['base']}",
        f"dataset.data_files={job['rows']}", f"rows_per_step={job['rows_per_step']}", f"device={job['device']}",
        "checkpoint_every_n_steps=1000000", "log_every_n_steps=1", *overrides,
    ])  # fmt: skip


def run_ours(job: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Our recipe; the checkpoint at its end is in its time."""
    settings = settings_of(job, overrides)
    recipe = runpy.run_path("recipes/lora_finetune.py")["LoRAFinetune"](settings, start_world(settings.device))
    recipe.setup()
    tokens = 0
    for step in step_rows(len(recipe.rows), settings.rows_per_step, 0, 0):
        batches = make_batches([recipe.rows[i] for i in step], settings.packing, settings.tokens_per_batch)
        tokens += sum(batch.tokens.numel() - batch.padding for batch in batches)
    recipe.logger = Recorder()
    timing = timed(recipe.train)
    return {**recipe.logger.figures(), "tokens": tokens, **timing}


def run_peft(job: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Transformers with peft and our settings: pairs of padded rows, accumulated, with their mean loss."""
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    from transformers import AutoModelForCausalLM

    settings, cuda = settings_of(job, overrides), job["device"] == "cuda"
    base, device, lora = open_model(Path(job["base"])), torch.device(job["device"]), dataclasses.asdict(settings.model)
    rows, _ = make_rows(base.tokenizer(settings.tokenizer.max_seq_len), read_rows([Path(job["rows"])]), "llama3_chat")
    dtype = choose_dtype(settings.dtype, cuda)
    model = AutoModelForCausalLM.from_pretrained(base.path, dtype=dtype).to(device)
    if cuda:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    with torch.device("meta"):
        shape = base.decoder(lora)
    start = FineTuned(base, fresh_adapter(shape, settings.seed), lora, dtype).adapter()
    targets = sorted({name.removesuffix(".weight").rpartition(".")[2] for name in start.pairs})
    rank, alpha = settings.model.lora_rank, settings.model.lora_alpha
    model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets))
    set_peft_model_state_dict(model, peft_weights(start))
    steps = list(step_rows(len(rows), job["rows_per_step"], 0, 0))
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = build(settings.optimizer, "optimizer", trainable)
    scheduler = build(settings.lr_scheduler, "lr_scheduler", optimizer, num_training_steps=len(steps))
    recorder = Recorder()

    def pad(parts: list[torch.Tensor], value: int) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=value).to(device)

    def train() -> None:
        model.train()
        for step in steps:
            trained, summed = sum(rows[index].trained for index in step), 0.0
            for pair in (step[i : i + 2] for i in range(0, len(step), 2)):
                tokens, targets = pad([rows[i].tokens for i in pair], 0), pad([rows[i].targets for i in pair], IGNORED)
                logits = model(input_ids=tokens).logits.flatten(0, 1).float()
                loss = torch.nn.functional.cross_entropy(logits, targets.flatten(), reduction="sum") / trained
                loss.backward()
                summed += loss.item()
            if settings.clip_grad_norm is not None:
                torch.nn.utils.clip_grad_norm_(trainable, settings.clip_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            scheduler.step()
            recorder.log_dict({"loss": summed}, 0)

    timing = timed(train)
    return {**recorder.figures(), **timing, "tokens": sum(len(row.tokens) for row in rows)}


KINDS = {
    "stock": Kind(run_stock),
    "ours": Kind(run_ours, ("packing=none",)),
    "ours_packed": Kind(run_ours, ("packing=rows",)),
    "ours_shared_prefix": Kind(run_ours),
    "ours_qlora": Kind(run_ours, ("model.quantize_base=True",), on_cpu=False),
    "peft": Kind(run_peft),
}


def synthetic_rows(reports: int, seed: int, counts: dict[str, int], validation_rows: int = 0) -> Split:
    """Instruction rows of tasks, by their own labels of synthetic reports; the same each time."""
    items = list(generate(reports, seed))

    def labels(task: Task, item: SyntheticReport) -> Sequence[str]:
        return task.labels_of(item.labels) if task.classes else [phrase.phrase for phrase in item.phrases]

    tasks = {name: load_task(name) for name in counts}
    sources = {
        name: [LabelledReport(item.report, labels(task, item)) for item in items] for name, task in tasks.items()
    }
    return build_rows(sources, counts, validation_rows, 0)


def timed(train: Callable[[], object]) -> dict[str, float]:
    """Seconds of a call, the device's work included, and seconds of all CPU cores together."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    began, cpu = time.perf_counter(), time.process_time()
    train()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}


def matrix_rate(device: str) -> float:
    """Measured FLOPs a second of bfloat16 matrix products of 8192 x 8192, the best of ten."""
    left, right = (torch.randn(8192, 8192, device=device, dtype=torch.bfloat16) for _ in range(2))
    timed(lambda: left @ right)
    return 2 * 8192**3 / min(timed(lambda: left @ right)["seconds"] for _ in range(10))


def flops_per_token(config: dict[str, Any]) -> float:
    """Of forward and backward through the layers' matrices; frozen weights take no gradient, so 4 a weight, not 6."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    key_width = width * config["num_key_value_heads"] // config["num_attention_heads"]
    return 4.0 * config["num_hidden_layers"] * (2 * width * width + 2 * width * key_width + 3 * width * inner)


def write_random_8b(folder: Path, device: str) -> None:
    """Writes an 8B Llama-3.1 of random weights, with the mini model's tokenizer stretched to its vocabulary."""
    if (folder / "config.json").is_file():
        return
    (folder / "original").mkdir(parents=True, exist_ok=True)
    (folder / "original/tokenizer.model").write_bytes((MINI / "original/tokenizer.model").read_bytes())
    tokenizer = json.loads((MINI / "tokenizer.json").read_text(encoding="utf-8"))
    last = {**tokenizer["added_tokens"][-1], "id": SHAPE_8B["vocab_size"] - 1, "content": "<|last|>"}
    tokenizer["added_tokens"].append(last)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    width, inner, vocabulary = (SHAPE_8B[name] for name in ("hidden_size", "intermediate_size", "vocab_size"))
    key_width = SHAPE_8B["head_dim"] * SHAPE_8B["num_key_value_heads"]
    in_layer = {
        "self_attn.q_proj": (width, width), "self_attn.k_proj": (key_width, width), "mlp.gate_proj": (inner, width),
        "self_attn.v_proj": (key_width, width), "self_attn.o_proj": (width, width), "mlp.up_proj": (inner, width),
        "mlp.down_proj": (width, inner), "input_layernorm": (width,), "post_attention_layernorm": (width,),
    }  # fmt: skip
    parts = [
        {f"model.layers.{number}.{name}.weight": shape for name, shape in in_layer.items()}
        for number in range(SHAPE_8B["num_hidden_layers"])
    ]
    outside = {"model.embed_tokens.weight": (vocabulary, width), "lm_head.weight": (vocabulary, width)}
    files = [outside | {"model.norm.weight": (width,)}, *parts]
    weight_map = {}
    for number, shapes in enumerate(files, start=1):
        name = f"model-{number:05d}-of-{len(files):05d}.safetensors"
        tensors = {
            key: (torch.randn(shape, device=device, dtype=torch.bfloat16) / math.sqrt(width)).cpu()
            if len(shape) > 1
            else torch.ones(shape, dtype=torch.bfloat16)
            for key, shape in shapes.items()
        }
        save_file(tensors, folder / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, name)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    config = json.loads((MINI / "config.json").read_text(encoding="utf-8")) | SHAPE_8B
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def main(job: dict[str, Any]) -> None:
    """Runs one kind and prints its figures as JSON on the last line."""
    kind = KINDS[job["kind"]]
    with tempfile.TemporaryDirectory() as folder:
        result = kind.run({**job, "folder": folder}, list(kind.overrides))
    count = len(result["losses"]) * job["rows_per_step"]
    result["rows_per_second"] = count / result["seconds"]
    result["rows_per_cpu_second"] = count / result["cpu_seconds"]
    result["tokens_per_second"] = result["tokens"] / result["seconds"]
    if len(ends := result.pop("ends")) > WARM_UP:
        steady = (len(ends) - WARM_UP) * job["rows_per_step"] / (ends[-1] - ends[WARM_UP - 1])
        result["steady_rows_per_second"] = steady
    # On a CPU the process's, with what loading took; Linux counts in KiB.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if job["device"] == "cuda":
        peak = torch.cuda.max_memory_allocated()
        needed = flops_per_token(open_model(Path(job["base"])).config)
        result["utilisation"] = needed * steady * result["tokens"] / count / matrix_rate("cuda")
    print("\n" + json.dumps({**result, "peak_memory_gib": peak / 2**30}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
