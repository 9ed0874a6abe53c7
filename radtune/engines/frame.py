"""Whether a server frames messages as its model was trained on them.

A server puts a message into its own chat template: Llama 3.1's adds a system message with a date, which no fine-tuned
model has seen, and one of the server's own may leave out the system message that Qwen's has in training. Some reports
are answered otherwise then. So a prompt that is known is asked first, and its tokens, which servers count in every
answer, are compared with those that it has in training.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from radtune.config import InputError

_KNOWN = "Findings: The heart is normal in size.\n\nImpression: No acute disease."
# A word takes one to four tokens, a frame without a system message 4 (Mistral) to 12.
_WORD, _MOST_TOKENS = "edema", 18
_REMEDY = "start it with the chat template of the trained weights (vLLM: --chat-template FOLDER/chat_template.jinja)"


@dataclass(frozen=True)
class KnownPrompt:
    """A message, the tokens that a server may count for it, and what to say of one that counts others."""

    message: str
    counts: range
    otherwise: str

    def said_of(self, counted: int) -> str | None:
        """What there is to say of a server that counts so many tokens."""
        if counted in self.counts:
            return None
        most = f"{'up to ' * (len(self.counts) > 1)}{self.counts[-1]}"
        return f"{self.otherwise}: it counts {counted} tokens for a prompt that has {most} in training; {_REMEDY}"


def known_prompt(tokenizer: Path | None) -> KnownPrompt | None:
    """What to ask a server first whose model has this ``tokenizer.json``; None where its training is not known.

    Without a tokenizer, a frame of more tokens than that of a Llama in training is told.
    """
    # A light install has no tokenizers.
    if tokenizer is None or find_spec("tokenizers") is None:
        said = "frames prompts otherwise than Llamas are trained here, if its model is one"
        return KnownPrompt(_WORD, range(_MOST_TOKENS + 1), said)
    if (expected := _trained_tokens(tokenizer)) is None:
        return None
    said = f"frames prompts otherwise than the model of {tokenizer.parent} was trained"
    return KnownPrompt(_KNOWN, range(expected, expected + 1), said)


def find_tokenizer(folders: Sequence[Path]) -> Path | None:
    """The ``tokenizer.json`` in the first of these folders that has one, else beside the base that an adapter names."""
    bases = []
    for folder in folders:
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            bases.append(Path(json.loads((folder / "adapter_config.json").read_bytes())["base_model_name_or_path"]))
    paths = (folder / "tokenizer.json" for folder in (*folders, *bases))
    return next((path for path in paths if path.is_file()), None)


def _trained_tokens(path: Path) -> int | None:
    """How many tokens the known prompt has in training; None for a model whose prompts are not known."""
    from radtune.models.chat_frame import read_frame
    from radtune.models.tokenizer import ChatTokenizer, read_tokenizer

    tokenizer = read_tokenizer(path)
    try:
        frame = read_frame(path.parent)
    except InputError:
        return None
    return len(ChatTokenizer(tokenizer, frame, [0], None).prompt(_KNOWN))
