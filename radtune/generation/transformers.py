"""Hugging Face's transformers: any causal language model, with a PEFT adapter, in 8 or 4 bits with bitsandbytes."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from radtune.config import InputError
from radtune.generation.checkpoint import check_finite
from radtune.generation.closed import AnswerTree, Node, answer_tree, closed_answers
from radtune.generation.engine import Prompt, Request, Response, fit_prompt
from radtune.generation.memory import OUT_OF_MEMORY, is_out_of_memory

# A model whose tokenizer knows this token is prompted as torchtune trains it. Llama 3.1's own template would add a
# system message with a date that no training row has.
_LLAMA3_HEADER = "<|start_header_id|>"
_LLAMA3_FRAME = (
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
    "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
)
# Stands for the message in a chat template; no template changes it, and no message holds it.
_MESSAGE = "radtune-message"
# Prompts decoded at once where nothing is said.
_BATCH_SIZE = 16
# Tokens of a page of the cache in continuous batching; transformers' default.
_PAGE = 256


class TransformersEngine:
    """Answers prompts with a Hugging Face model in this process."""

    def __init__(self, model: Any, tokenizer: Any, batch_size: int | None = None) -> None:
        """Takes a loaded model.

        Args:
            model: A causal language model, with or without an adapter.
            tokenizer: Its tokenizer.
            batch_size: Prompts decoded at once, halved as often as memory runs out; None for 16.
        """
        self._model = model.eval()
        self._tokenizer = tokenizer
        # Prompts are held to the model's positions here; the tokenizer would warn of every long report.
        tokenizer.model_max_length = model.config.max_position_embeddings * 1_000
        self._batch_size = batch_size or _BATCH_SIZE
        ends = model.generation_config.eos_token_id or tokenizer.eos_token_id
        self._ends = set(ends) if isinstance(ends, list) else {ends}
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(self._ends)
        self._trees: dict[str, AnswerTree] = {}
        # The paged attention that this needs is made for GPUs; elsewhere it works, slowly.
        self.continuous = model.device.type == "cuda" and hasattr(model, "generate_batch")

    def generate(self, prompts: Sequence[Prompt], request: Request) -> Iterator[tuple[int, Response]]:
        """Yields the index of each prompt with its response, batch by batch, the longest prompts first.

        Greedy free text on a GPU goes through transformers' own continuous batching.

        Raises:
            InputError: Scores are asked for, or a prompt has no room even without its report.
        """
        if request.scores:
            raise InputError("scores=true needs engine=torchtune")
        positions = self._model.config.max_position_embeddings
        fitted = [fit_prompt(prompt, self._tokens, positions, request.max_new_tokens) for prompt in prompts]
        if self.continuous and request.task is None and request.temperature == 0:
            rows = self._generate_continuously([tokens for tokens, _ in fitted], request.max_new_tokens)
            for index, row in enumerate(rows):
                yield index, self._response(row, fitted[index][1])
            return
        order = sorted(range(len(prompts)), key=lambda index: -len(fitted[index][0]))
        tree = self._tree(request.task)
        while order:
            batch = order[: self._batch_size]
            draws = [random.Random(prompts[index].seed) for index in batch]  # noqa: S311  (no secret)
            steering = _Steering(tree, draws, request, min(self._ends))
            try:
                rows = self._generate([fitted[index][0] for index in batch], request.max_new_tokens, steering)
            except OUT_OF_MEMORY as error:
                if len(batch) == 1 or not is_out_of_memory(error):
                    raise
                self._batch_size = max(1, len(batch) // 2)
                continue
            order = order[len(batch) :]
            for index, row in zip(batch, rows, strict=True):
                yield index, self._response(row, fitted[index][1])

    def _response(self, row: list[int], cut_words: int) -> Response:
        end = next((place for place, token in enumerate(row) if token in self._ends), len(row))
        text = self._tokenizer.decode(row[:end], skip_special_tokens=True)
        return Response(text, end < len(row), cut_words=cut_words)

    def _generate_continuously(self, prompts: list[list[int]], max_new_tokens: int) -> list[list[int]]:
        if not prompts:
            return []
        from transformers import GenerationConfig

        config = GenerationConfig(
            max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=sorted(self._ends), pad_token_id=self._pad
        )
        room = continuous_batching_room(self._batch_size, max(map(len, prompts)) + max_new_tokens)
        written = self._model.generate_batch(
            prompts, generation_config=config, continuous_batching_config=room, progress_bar=False
        )
        failed = len(prompts) - sum(output.error is None for output in written.values())
        if failed:
            raise InputError(f"transformers' continuous batching failed for {failed:,} of {len(prompts):,} prompts")
        # It keeps the order of the prompts.
        return [output.generated_tokens for output in written.values()]

    @torch.inference_mode()
    def _generate(self, prompts: Sequence[list[int]], max_new_tokens: int, steering: "_Steering") -> list[list[int]]:
        width = max(map(len, prompts))
        tokens = torch.tensor([[self._pad] * (width - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        written = self._model.generate(
            input_ids=tokens.to(self._model.device),
            attention_mask=mask.to(self._model.device),
            max_new_tokens=max_new_tokens,
            # Sampling is done by the steering, with a source of chance for each row. These three are said because a
            # checkpoint's generation_config.json may say otherwise.
            do_sample=False,
            temperature=None,
            top_p=None,
            logits_processor=[steering],
            eos_token_id=sorted(self._ends),
            pad_token_id=self._pad,
        )
        return written[:, width:].tolist()

    def _tokens(self, prompt: Prompt) -> list[int]:
        tokenizer = self._tokenizer
        if tokenizer.convert_tokens_to_ids(_LLAMA3_HEADER) not in (None, tokenizer.unk_token_id):
            before, after = _LLAMA3_FRAME
        else:
            chat = [{"role": "user", "content": _MESSAGE}]
            framed = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
            before, _, after = framed.partition(_MESSAGE)
        # Special tokens are those of the frame; what looks like one in a report is text.
        return [
            *tokenizer.encode(before, add_special_tokens=False),
            *tokenizer.encode(prompt.message.strip(), add_special_tokens=False, split_special_tokens=True),
            *tokenizer.encode(after, add_special_tokens=False),
        ]

    def _tree(self, task: str | None) -> Node | None:
        if task is not None and task not in self._trees:
            self._trees[task] = answer_tree(
                closed_answers(task),
                lambda text: self._tokenizer.encode(text, add_special_tokens=False),
                self._tokenizer.decode,
            )
        return self._trees[task].root if task is not None else None


def continuous_batching_room(batch_size: int, columns: int) -> Any:
    """Settings for a batch and no more: by itself, transformers fills most of the free memory with its cache.

    Args:
        batch_size: Prompts decoded at once.
        columns: Tokens of the longest prompt and its answer.
    """
    from transformers import ContinuousBatchingConfig

    blocks = batch_size * (columns // _PAGE + 1)
    return ContinuousBatchingConfig(page_size=_PAGE, num_blocks=blocks, max_requests_per_batch=batch_size)


def load_engine(
    folder: Path,
    adapter: Path | None,
    device: torch.device,
    dtype: torch.dtype,
    quantization: str | None = None,
    batch_size: int | None = None,
) -> TransformersEngine:
    """Loads a model from a folder; nothing is downloaded.

    Args:
        folder: A checkpoint as ``save_pretrained`` writes it.
        adapter: A PEFT adapter to put on it, or None.
        device: Where it goes.
        dtype: What it computes in.
        quantization: ``8bit`` or ``4bit`` to hold its weights in fewer bits with bitsandbytes, or None.
        batch_size: Prompts decoded at once.

    Raises:
        InputError: A folder does not hold what it should, or bitsandbytes is not installed.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    if not (folder / "config.json").is_file():
        raise InputError(f"{folder / 'config.json'}: no such file")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        # peft would look for it on the Hub.
        if adapter is not None and not (adapter / name).is_file():
            raise InputError(f"{adapter / name}: no such file")
    options: dict[str, Any] = {"dtype": dtype, "local_files_only": True, "device_map": str(device)}
    if quantization == "8bit":
        options["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
    elif quantization == "4bit":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    try:
        model, loaded = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **options)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    # Its checks of a configuration and of files raise what they like.
    except Exception as error:
        raise InputError(f"{folder}: cannot be loaded with transformers: {_one_line(error)}") from None
    # transformers warns of these and goes on, with random weights in their places.
    strange = sorted(loaded["missing_keys"] or loaded["unexpected_keys"])
    if strange:
        raise InputError(f"{folder}: weights and config.json do not fit: {len(strange)} weights, e.g. {strange[0]}")
    if adapter is not None:
        model = _with_adapter(model, adapter)
    return TransformersEngine(model, tokenizer, batch_size)


def _with_adapter(model: Any, folder: Path) -> Any:
    from peft import PeftModel, get_peft_model_state_dict
    from peft.utils import load_peft_weights

    try:
        weights = load_peft_weights(str(folder), device="cpu")
        model = PeftModel.from_pretrained(model, str(folder))
    except Exception as error:
        raise InputError(f"{folder}: cannot be loaded with peft: {_one_line(error)}") from None
    # peft warns of these and goes on.
    if strange := sorted(set(weights) ^ set(get_peft_model_state_dict(model))):
        raise InputError(f"{folder}: adapter and model do not fit: {len(strange)} weights, e.g. {strange[0]}")
    check_finite(weights, folder)
    return model


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


class _Steering:
    """A logits processor that keeps each row to closed answers and draws its samples.

    Added to the logits, noise from a Gumbel distribution makes the likeliest token a sample (Gumbel 1954; Maddison et
    al. 2014), so greedy search samples, and each row has its own source of chance.
    """

    def __init__(self, tree: Node | None, draws: Sequence[random.Random], request: Request, end: int) -> None:
        self._nodes = [tree for _ in draws]
        self._begun = False
        self._noise = [torch.Generator().manual_seed(draw.getrandbits(63)) for draw in draws]
        self._temperature = request.temperature
        self._go_on = request.go_on
        self._end = end

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self._begun:
            for row, token in enumerate(input_ids[:, -1].tolist()):
                node = self._nodes[row]
                if node is not None:
                    self._nodes[row] = node.children.get(token, node)
        self._begun = True
        for row, node in enumerate(self._nodes):
            if node is None:
                continue
            if not node.children and self._go_on:
                self._nodes[row] = None
                continue
            kept = torch.tensor(list(node.children) or [self._end], device=scores.device)
            scores[row] = torch.full_like(scores[row], -torch.inf).index_copy(0, kept, scores[row, kept])
        if self._temperature > 0:
            uniform = torch.stack([torch.rand(scores.shape[1], generator=noise) for noise in self._noise])
            gumbel = -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7).double()))
            scores = scores.double() / self._temperature + gumbel.to(scores.device)
        return scores
