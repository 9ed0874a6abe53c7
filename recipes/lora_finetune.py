r"""Fine-tunes a language model with LoRA on instruction rows: one process or many, stopped and gone on at will.

    tune run --nproc_per_node 1 recipes/lora_finetune.py --config configs/llama3_1/8B_lora_fast.yaml
    tune run --nproc_per_node 8 recipes/lora_finetune.py --config configs/llama3_1/8B_lora_fast.yaml resume=auto
    python recipes/lora_finetune.py --config configs/mini/lora_fast.yaml dataset.data_files=my_rows.jsonl

`--help` lists every key. Several nodes: torchrun's own options in front of the recipe (docs/scaling.md).
"""

import radtune  # isort: skip  (first: Ctrl-C is one line from here on)
import contextlib
import dataclasses
import math
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from torchtune import training
from torchtune.modules import TransformerSelfAttentionLayer

from radtune.command import EXIT_INPUT_ERROR, Interrupt, begin_command, handle_signals, mendable
from radtune.config import InputError, help_text, parse_config
from radtune.engines.kv_cache import is_out_of_memory
from radtune.engines.local import TorchtuneEngine
from radtune.engines.prompt import Prompt, Response, Sampling
from radtune.files import LOCK, clear_leftovers, lock, sha256_file, write_manifest
from radtune.instructions import Instruction
from radtune.models.checkpoint import Checkpoint, choose_dtype, fingerprint, load_trainable, open_model
from radtune.models.export import FOLDERS, FineTuned, export, model_card
from radtune.privacy import say
from radtune.progress import progress
from radtune.score.scores import ratios
from radtune.tasks import THREE_VALUED, Task, load_task, own_tasks, task_names
from radtune.train import distributed
from radtune.train.checkpoints import resume_state, save_checkpoint
from radtune.train.costs import with_costs
from radtune.train.data import Row, data_paths, make_rows, read_rows
from radtune.train.history import History, draw_curve
from radtune.train.loss import SummedLoss, attention_mask
from radtune.train.packing import Batch, make_batches, prefetch
from radtune.train.plan import learning_rates, make_plan, step_rows, steps_per_epoch
from radtune.train.settings import LossSettings, TrainingSettings, build

# What decides the numbers of a run: where one of them differs, it is another run and cannot be gone on with.
DECIDES = (
    "seed", "epochs", "max_steps", "rows_per_step", "model", "tokenizer", "optimizer", "lr_scheduler", "clip_grad_norm",
)  # fmt: skip

# Seconds in which a further signal is the same one: Ctrl-C reaches a process from the terminal and from torchrun.
SAME_SIGNAL = 10.0


class LoRAFinetune:
    """LoRA fine-tuning, read top to bottom: ``setup``, ``train``, ``finish``.

    What it holds to:

    - **Plan first.** Rows, tokens, steps and learning rates are printed, and mistakes in the config and in the
      data told, before a weight is loaded.
    - **One loss.** An optimizer step takes ``rows_per_step`` rows, in an order that follows from ``seed`` alone. Its
      loss is the mean over their trained tokens, by their weights where ``loss`` gives some. Packing, batches and the
      number of processes change how it is computed and not what comes out. No row is dropped: the last step of an epoch
      has those that are left.
    - **Packing.** ``none`` pads rows of like length; ``rows`` puts them into one sequence without attending to one
      another; ``shared_prefix`` computes the instruction and examples that rows of a task share once for all of them.
    - **Checkpoints.** Adapter, optimizer, schedule, random numbers, best adapter so far and the place in the data,
      every ``checkpoint_every_n_steps`` and at SIGTERM or SIGINT. ``resume=auto`` goes on from the newest whole one;
      on a CPU the result is the same, bit for bit, as without the stop.
    - **Validation.** Loss on held-out rows, and their answers scored by micro F1 for each task. The best adapter by
      ``validation.choose_by`` is kept and exported; ``validation.patience`` ends training early.
    - **Output.** ``adapter/`` for PEFT, ``merged/`` for transformers and vLLM, ``torchtune/`` if asked for, each with
      a model card and a manifest; ``history.jsonl`` and ``curve.png``; the logger's own files.

    Args:
        settings: The YAML's keys.
        world: The processes.
    """

    def __init__(self, settings: TrainingSettings, world: distributed.World) -> None:
        self.settings, self.world = settings, world
        self.plain = dataclasses.asdict(settings)
        self.output_dir = Path(settings.output_dir)
        self.checkpoints = self.output_dir / "checkpoints"
        self.dtype = choose_dtype(settings.dtype, settings.device == "cuda")
        self.step = self.validated_step = 0
        self.best: dict[str, Any] = {}
        self.not_better = 0
        self.signal: int | None = None
        self.stopping = False

    def say(self, line: str) -> None:
        """Prints a line, once whatever the number of processes."""
        if self.world.leads:
            print(line, flush=True)

    # ------------------------------------------------------------------------------------------------ setup

    def setup(self) -> None:
        """Reads, plans, loads; goes on from a checkpoint where there is one to go on from."""
        if self.settings.model.quantize_base and self.world.size > 1:
            raise InputError("model.quantize_base works in one process; with several GPUs use a config without it")
        folder = Path(self.settings.checkpoint_dir)
        for name in FOLDERS:
            if folder.resolve().is_relative_to((self.output_dir / name).resolve()):
                raise InputError(f"output_dir={self.output_dir} would overwrite the base model in {folder}")
        self.base = open_model(folder)
        self.tokenizer = self.base.tokenizer(self.settings.tokenizer.max_seq_len)
        self._read_data()
        self._plan()
        self.decides = self._decides()
        self.lock = None
        if self.world.leads:
            self.lock = lock(self.output_dir / LOCK)
            clear_leftovers(self.output_dir)
        state = resume_state(self.checkpoints, self.settings.resume, self.decides, self.say)
        self._load_model()
        # Each process draws its own dropout.
        torch.manual_seed(self.settings.seed + self.world.rank)
        if state:
            self._restore(state)
        self.history, self.logger = None, None
        if self.world.leads:
            self.history = History(self.output_dir / "history.jsonl", self.step, self.validated_step)
            self.logger = build(self.settings.metric_logger, "metric_logger")
            self.logger.log_config(OmegaConf.create(self.plain))

    def _read_data(self) -> None:
        """Rows to train on and held-out ones."""
        settings = self.settings
        self.files = data_paths(settings.dataset.data_files)
        self.instructions, rows, self.cut = self._read_rows(self.files)
        self.weighted = settings.loss != LossSettings()
        if self.weighted:
            tasks = self._tasks(sorted({row.task for row in self.instructions}), self.files[0])
            rows = with_costs(rows, self.instructions, self.tokenizer, tasks, settings.loss)
        self.rows = rows
        self.held_out: list[Instruction] = []
        self.held_out_rows: list[Row] = []
        self.held_out_files: list[Path] = []
        self.tasks: dict[str, Task] = {}
        if settings.validation.data_files is None:
            return
        self.held_out_files = data_paths(settings.validation.data_files)
        self.held_out, self.held_out_rows, cut = self._read_rows(self.held_out_files)
        if cut:
            self.say(f"warning: {cut:,} validation rows reach tokenizer.max_seq_len: their answers are cut")
        names = sorted({row.task for row in self.held_out})
        if settings.validation.generate_rows:
            self.tasks = self._tasks(names, self.held_out_files[0])
        choose_by = settings.validation.choose_by
        if choose_by not in ("validation_loss", "micro_f1", *(f"{name}_f1" for name in names)):
            raise InputError(f"validation.choose_by={choose_by}: no row of that task in validation.data_files")

    def _tasks(self, names: Iterable[str], where: Path) -> dict[str, Task]:
        own, found = own_tasks(self.settings.tasks), {}
        for name in names:
            given = name.removesuffix(THREE_VALUED)
            if given not in own and given not in task_names():
                raise InputError(f"tasks: none of their files is task {name!r} of {where}")
            found[name] = load_task(f"{own.get(given, given)}{name.removeprefix(given)}")
        return found

    def _read_rows(self, files: list[Path]) -> tuple[list[Instruction], list[Row], int]:
        instructions = read_rows(files)
        rows, cut = make_rows(self.tokenizer, instructions, self.settings.dataset.prompt_format)
        longest = max(len(row.tokens) for row in rows)
        if longest > (most := self.settings.tokens_per_batch):
            raise InputError(f"tokens_per_batch={most} is less than the longest row ({longest} tokens)")
        if longest > (most := self.base.config["max_position_embeddings"]):
            raise InputError(f"the longest row has {longest} tokens, the base model {most} positions; cut rows there")
        if not any(row.trained for row in rows):
            limit = self.tokenizer.max_seq_len
            raise InputError(f"tokenizer.max_seq_len={limit} cuts the answer off every row of {files[0]}")
        return instructions, rows, cut

    def _plan(self) -> None:
        """Counts steps and tokens and prints them."""
        settings = self.settings
        self.epoch_steps = steps_per_epoch(len(self.rows), settings.rows_per_step)
        self.steps = min(settings.epochs * self.epoch_steps, settings.max_steps or sys.maxsize)
        parameter = torch.zeros(8, requires_grad=True)
        asked = build(settings.optimizer, "optimizer", [parameter]).param_groups[0]["lr"]
        rates = learning_rates(self._scheduler, asked, self.steps)
        # The whole first epoch, also where max_steps ends within it.
        order = step_rows(len(self.rows), settings.rows_per_step, settings.seed, epoch=0)
        batches = (batch for indices in order for batch in self._batches([self.rows[index] for index in indices]))
        lines, self.facts = make_plan(self.instructions, self.rows, self.cut, batches, rates, asked)
        trained, there = self.base.parameters(self.plain["model"])
        self.facts["trained_parameters"] = trained
        lines.append(f"{trained:,} of {there:,} parameters trained ({trained / there:.1%})")
        self.say("\n".join([*lines, *self.base.family.unusual(self.base.config)]))

    def _load_model(self) -> None:
        """The base model with a fresh adapter, its optimizer and schedule."""
        settings = self.settings
        decoder = load_trainable(self.base, self.plain["model"], self.world.device, self.dtype, settings.seed)
        self.model = SummedLoss(decoder, settings.loss.tversky, settings.loss.tversky_recall)
        if settings.activation_checkpointing:
            training.set_activation_checkpointing(decoder, auto_wrap_policy={TransformerSelfAttentionLayer})
        if settings.compile:
            training.compile_model(decoder, verbose=False)
        distributed.place_model(self.model, self.world)
        # Recomputed layers are wrapped, and their weights' names with them.
        self.adapter = {
            name.replace("_checkpoint_wrapped_module.", ""): parameter
            for name, parameter in decoder.named_parameters()
            if parameter.requires_grad
        }
        self.optimizer = build(settings.optimizer, "optimizer", list(self.adapter.values()))
        self.scheduler = self._scheduler(self.optimizer)

    def _scheduler(self, optimizer: torch.optim.Optimizer) -> Any:
        return build(self.settings.lr_scheduler, "lr_scheduler", optimizer, num_training_steps=self.steps)

    # ------------------------------------------------------------------------------------------- checkpoints

    def _decides(self) -> dict[str, Any]:
        values = {}
        for name in DECIDES:
            value = self.plain[name]
            inner = value if isinstance(value, dict) else {"": value}
            values |= {f"{name}.{key}".rstrip("."): item for key, item in inner.items()}
        values["dtype"] = "bf16" if self.dtype == torch.bfloat16 else "fp32"
        values["checkpoint_dir"] = fingerprint(self.base.path)
        values["prompt_format"] = self.settings.dataset.prompt_format
        # Where all is alike, runs of versions that knew nothing else can be gone on with.
        values |= {f"loss.{name}": cost for name, cost in self.plain["loss"].items()} if self.weighted else {}
        values["dataset.data_files"] = [sha256_file(path) for path in self.files]
        if self.held_out_files:
            # The best so far can be compared only with what was scored alike.
            values["validation.data_files"] = [sha256_file(path) for path in self.held_out_files]
            for name in ("choose_by", "generate_rows", "max_new_tokens"):
                values[f"validation.{name}"] = getattr(self.settings.validation, name)
        return values

    def _restore(self, state: dict[str, Any]) -> None:
        try:
            distributed.set_parameters(self.adapter, state["adapter"])
            distributed.load_optimizer(self.optimizer, state["optimizer"])
            self.scheduler.load_state_dict(state["scheduler"])
            if len(state["random"]) == self.world.size:
                torch.set_rng_state(state["random"][self.world.rank]["cpu"])
                if self.world.device.type == "cuda":
                    torch.cuda.set_rng_state(state["random"][self.world.rank]["cuda"])
            self.step, self.validated_step = state["step"], state["validated_step"]
            self.best, self.not_better = state["best"], state["not_better"]
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if is_out_of_memory(error):
                raise
            raise InputError(f"{self.checkpoints}: the checkpoint lacks what this recipe keeps in one") from None

    def save(self) -> None:
        """Writes a checkpoint; all processes take part."""
        random = {"cpu": torch.get_rng_state()}
        if self.world.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state()
        state = {
            "step": self.step,
            "validated_step": self.validated_step,
            "adapter": distributed.whole(self.adapter),
            "optimizer": distributed.whole(self.optimizer.state_dict()),
            "scheduler": self.scheduler.state_dict(),
            "random": distributed.everyones(random, self.world),
            "best": self.best,
            "not_better": self.not_better,
            "decides": self.decides,
        }
        if self.world.leads:
            save_checkpoint(self.checkpoints, state, self.settings.keep_checkpoints)

    # ------------------------------------------------------------------------------------------------- train

    def _batches(self, rows: list[Row]) -> list[Batch]:
        settings = self.settings
        # Compiled kernels are made for one length each, so packs on a GPU come in eight lengths at most.
        multiple = -(-settings.tokens_per_batch // 1024) * 128 if self.world.device.type == "cuda" else 1
        return make_batches(rows, settings.packing, settings.tokens_per_batch, self.world.size, multiple)

    def _steps_to_do(self) -> Iterator[tuple[int, list[Batch]]]:
        """The number of each step that is not yet done, and its batches."""
        done = self.step
        for epoch in range(done // self.epoch_steps, -(-self.steps // self.epoch_steps)):
            order = step_rows(len(self.rows), self.settings.rows_per_step, self.settings.seed, epoch)
            for number, indices in enumerate(order, start=epoch * self.epoch_steps + 1):
                if done < number <= self.steps:
                    yield number, self._batches([self.rows[index] for index in indices])

    def _loss(self, batch: Batch) -> torch.Tensor:
        """The summed loss of a batch."""
        mask = attention_mask(batch, self.world.device, self.dtype)
        return self.model(batch.each(lambda part: part.to(self.world.device, non_blocking=True)), mask)

    def _dealt(self, batches: list[Batch]) -> Iterator[tuple[Batch, int]]:
        """This process's batches with weight 1; one of weight 0 where others have one more, to keep step with them."""
        size, rank = self.world.size, self.world.rank
        for start in range(0, len(batches), size):
            place = start + rank
            yield (batches[place], 1) if place < len(batches) else (batches[0], 0)

    def _optimizer_step(self, batches: list[Batch]) -> dict[str, float]:
        """Forward, backward and update over the rows of a step; its figures."""
        began = time.perf_counter()
        trained, weights = sum(len(batch.targets) for batch in batches), sum(batch.weight for batch in batches) or 1
        summed = torch.zeros((), device=self.world.device)
        dealt = list(self._dealt(batches))
        for number, (batch, weight) in enumerate(dealt, start=1):
            if self.world.size > 1:
                self.model.set_requires_gradient_sync(number == len(dealt))
            loss = self._loss(batch) * weight
            summed += loss.detach()
            # FSDP averages gradients over processes; their sum is wanted.
            (loss * (self.world.size / weights)).backward()
        mean, stopped = distributed.total([summed.item() / weights, float(self.signal is not None)], self.world)
        gradients = [parameter.grad for parameter in self.adapter.values() if parameter.grad is not None]
        norm = distributed.whole(torch.nn.utils.get_total_norm(gradients)).item()
        rate = self.optimizer.param_groups[0]["lr"]
        if not (math.isfinite(mean) and math.isfinite(norm)):
            raise InputError(
                f"step {self.step + 1}: loss {mean}, gradient norm {norm} at learning rate {rate:.3g}; a lower "
                f"optimizer.lr or a clip_grad_norm may help. The last checkpoint is intact"
            )
        if self.settings.clip_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.adapter.values(), self.settings.clip_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.scheduler.step()
        # What all processes agree on: a signal may reach one of them earlier than another.
        self.stopping = stopped > 0
        seconds = time.perf_counter() - began
        tokens = sum(batch.tokens.numel() - batch.padding for batch in batches)
        figures = {
            "loss": mean,
            "learning_rate": rate,
            "gradient_norm": norm,
            "tokens_per_second": tokens / seconds,
            "trained_tokens_per_second": trained / seconds,
        }
        if self.world.device.type == "cuda":
            figures["peak_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        return figures

    def train(self) -> bool:
        """Trains to the end, to early stopping, or to a signal; returns whether it is done."""
        handlers = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            return self._train()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _train(self) -> bool:
        if self._validation_due() and self.validated_step < self.step:
            self._validate()
        shown: dict[str, float] = {}
        steps = prefetch(self._steps_to_do(), self.world.device.type == "cuda")
        if self.world.leads:
            steps = progress(steps, "steps", self.steps - self.step, lambda: f"loss {shown.get('loss', math.nan):.4f}")
        self.model.train()
        for number, batches in steps:
            if self._stopped_early():
                break
            shown = self._optimizer_step(batches)
            self.step = number
            self._log(shown, number % self.settings.log_every_n_steps == 0)
            if self._validation_due() and (not self.stopping or number == self.steps):
                self._validate()
            done = number == self.steps or self._stopped_early()
            if done or self.stopping or number % self.settings.checkpoint_every_n_steps == 0:
                self.save()
            if self.stopping and not done:
                return False
        return True

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal, self.signalled = number, time.monotonic()
        elif time.monotonic() - self.signalled > SAME_SIGNAL:
            # Somebody is out of patience.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _log(self, figures: dict[str, float], to_logger: bool = True) -> None:
        if self.history is not None:
            self.history.add(step=self.step, **figures)
            if to_logger:
                try:
                    self.logger.log_dict(figures, step=self.step)
                except OSError as error:
                    raise InputError(f"metric_logger: cannot write: {error.strerror}") from None

    # ---------------------------------------------------------------------------------------------- validate

    def _validation_due(self) -> bool:
        if not self.held_out or self.step == 0:
            return False
        every = self.settings.validation.every_n_steps or self.epoch_steps
        return self.step % every == 0 or self.step == self.steps

    def _stopped_early(self) -> bool:
        patience = self.settings.validation.patience
        return patience is not None and self.not_better >= patience

    def _validate(self) -> None:
        """Scores the adapter on held-out rows and keeps it if it is the best so far."""
        self.model.eval()
        figures = {"validation_loss": self._validation_loss()}
        if self.settings.validation.generate_rows:
            figures |= self._answer_scores()
        self.model.train()
        choose_by = self.settings.validation.choose_by
        score = -figures[choose_by] if choose_by == "validation_loss" else figures[choose_by]
        self.validated_step = self.step
        self.not_better += 1
        if not self.best or score > self.best["score"]:
            adapter = distributed.whole(self.adapter)
            self.best = {"score": score, "step": self.step, "figures": figures, "adapter": adapter}
            self.not_better = 0
        self._log(figures)
        self.say(f"step {self.step:,}: " + ", ".join(f"{name} {value:.4f}" for name, value in figures.items()))

    @torch.no_grad()
    def _validation_loss(self) -> float:
        batches = self._batches(self.held_out_rows)
        summed = sum(self._loss(batch).item() * weight for batch, weight in self._dealt(batches))
        return distributed.total([summed], self.world)[0] / max(1, sum(len(batch.targets) for batch in batches))

    def _answer_scores(self) -> dict[str, float]:
        """Micro F1 of greedy answers to held-out rows, for each task and over all; each process answers a part."""
        counts, figures = [], {}
        for name, task in self.tasks.items():
            rows = [row for row in self.held_out if row.task == name][: self.settings.validation.generate_rows]
            rows = rows[self.world.rank :: self.world.size]
            answers = zip(rows, self._answers(rows), strict=True)
            predicted = [task.read(response.text, row.input, response.finished) for row, response in answers]
            gold = [task.read(row.output, row.input) for row in rows]
            of_rows = task.count(predicted, gold).rules["micro"].sum(axis=0)
            counts.append(np.array(distributed.total(of_rows.astype(float).tolist(), self.world)))
            figures[f"{name}_f1"] = float(ratios(counts[-1])[2])
        figures["micro_f1"] = float(ratios(sum(counts))[2])
        return figures

    def _answers(self, rows: list[Instruction]) -> list[Response]:
        settings, decoder = self.settings.validation, self.model.decoder
        prompt_format = self.settings.dataset.prompt_format
        prompts = [Prompt(row.report_id, row.instruction, row.input, prompt_format, seed="") for row in rows]
        engine = TorchtuneEngine(Checkpoint(decoder, self.tokenizer, decoder.max_seq_len), settings.batch_size)
        # Its shapes grow with each token, and compiling for every one would take longer than answering.
        eager = torch.compiler.set_stance("force_eager") if self.settings.compile else contextlib.nullcontext()
        with distributed.whole_model(self.model), eager, torch.no_grad():
            answers = dict(engine.generate(prompts, Sampling(0.0, settings.max_new_tokens)))
        return [answers[number] for number in range(len(rows))]

    # ------------------------------------------------------------------------------------------------ finish

    def finish(self) -> None:
        """Writes the adapter (the best one, where there is validation), the merged model, cards and the curve."""
        adapter = self.best["adapter"] if self.best else distributed.whole(self.adapter)
        if not self.world.leads:
            return
        settings, base = self.settings, self.base.path
        scores = {**self.best["figures"], "step": self.best["step"]} if self.best else {}
        facts = {**self.facts, "steps_done": self.step}
        card = model_card(self.base, facts, scores, self.plain)
        tuned = FineTuned(self.base, adapter, self.plain["model"], self.dtype)
        for path in export(self.output_dir, tuned, card, settings.write_merged, settings.write_torchtune):
            inputs = [*self.files, *self.held_out_files, base / "config.json"]
            write_manifest(path, settings, inputs, **facts, validation=scores)
            self.say(f"written to {path.parent}")
        if self.history.rows:
            draw_curve(self.history.rows, self.output_dir / "curve.png", f"{base.name}, {len(self.rows):,} rows")
        self.close()

    def close(self) -> None:
        """Closes the logs and lets others use the folder."""
        if self.world.leads:
            self.history.close()
            self.logger.close()
            self.lock.close()


def _failed(message: str, file: str | None) -> int:
    """Tells what the user can mend, in one line, and torchrun in a file if there is one; returns the exit code."""
    rank = os.environ.get("RANK", "0")
    say(f"lora_finetune: error{f' (process {rank})' * (rank != '0')}: {message}")
    if file:
        distributed.tell_torchrun(message, Path(file))
    return EXIT_INPUT_ERROR


def _run(settings: TrainingSettings) -> int:
    recipe = LoRAFinetune(settings, distributed.start_world(settings.device))
    recipe.setup()
    if recipe.train():
        recipe.finish()
        return 0
    recipe.close()
    recipe.say(f"stopped by a signal; the state after step {recipe.step:,} is saved: go on with resume=auto")
    return 128 + (recipe.signal or signal.SIGTERM)


def main(arguments: list[str]) -> int:
    """Runs the recipe; returns the exit code: 2 for what the user can mend, told in one line, 128 + n for signal n."""
    if any(argument in ("-h", "--help") for argument in arguments):
        print(help_text(TrainingSettings, f"{__doc__}\n{str(LoRAFinetune.__doc__).partition('    Args:')[0].rstrip()}"))
        return 0
    # Before and after training there is no state to save, but there are files to take away.
    interrupt = Interrupt()
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    try:
        begin_command(interrupt)
        return _run(parse_config(TrainingSettings, arguments))
    except (Exception, KeyboardInterrupt) as error:
        if interrupt.came:
            say("lora_finetune: interrupted")
            return 128 + signal.SIGINT
        if line := mendable(error):
            return _failed(line, file)
        if is_out_of_memory(error):
            return _failed("out of memory: lower tokens_per_batch, or set activation_checkpointing=true", file)
        if distributed.lost_process(error):
            # Not for torchrun, whose report names the first failure that it is told of.
            return _failed("another process ended or cannot be reached; its own message says why", None)
        raise
    finally:
        distributed.end_world()
        handle_signals(radtune.end_at_once)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
