"""Whether a server frames messages as its model was trained on them.

A server puts a message into its own chat template: Llama 3.1's adds a system message with a date, Qwen's one that says
who it is. A fine-tuned model has seen neither, and answers some reports otherwise. So a prompt that is known is asked
first, and its tokens, which servers count in every answer, are compared with those that it has in training.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from radtune.config import InputError
from radtune.engines.server import ServerEngine
from radtune.privacy import say

_KNOWN = "Findings: The heart is normal in size.\n\nImpression: No acute disease."
# Frames without a system message take 4 (Mistral) to 12 tokens.
_MOST_FRAME_TOKENS = 16
_REMEDY = "start it with the chat template of the trained weights (vLLM: --chat-template FOLDER/chat_template.jinja)"


def check_frame(server: ServerEngine, host: str, tokenizer: Path | None) -> None:
    """Says on stderr, in a line, where a server frames a known prompt otherwise than its model was trained.

    ``tokenizer`` is the model's ``tokenizer.json``. Without one, a frame of more tokens than any has that models are
    trained in is told.
    """
    said = _against_training(server, tokenizer) if tokenizer else _against_any(server)
    if said:
        say(f"{host} {said}; {_REMEDY}")


def _against_training(server: ServerEngine, tokenizer: Path) -> str | None:
    expected = _trained_tokens(tokenizer)
    counted = None if expected is None else server.count_tokens(_KNOWN)
    if counted in (None, expected):
        return None
    said = f"frames prompts otherwise than the model of {tokenizer.parent} was trained"
    return f"{said}: it counts {counted} tokens for a prompt that has {expected} in training"


def _against_any(server: ServerEngine) -> str | None:
    once = server.count_tokens("edema")
    thrice = None if once is None else server.count_tokens("edema edema edema")
    if once is None or thrice is None or (frame := once - (thrice - once) // 2) <= _MOST_FRAME_TOKENS:
        return None
    return f"puts {frame} tokens around each message, more than any model trained here has seen; if it is one"


def find_tokenizer(folders: Sequence[Path]) -> Path | None:
    """The ``tokenizer.json`` in the first of these folders that has one, else beside the base that an adapter names."""
    bases = []
    for folder in folders:
        with suppress(OSError, ValueError, KeyError, TypeError):
            bases.append(Path(json.loads((folder / "adapter_config.json").read_bytes())["base_model_name_or_path"]))
    paths = (folder / "tokenizer.json" for folder in (*folders, *bases))
    return next((path for path in paths if path.is_file()), None)


def _trained_tokens(path: Path) -> int | None:
    """How many tokens the known prompt has in training; None for a model that is not trained here."""
    from tokenizers import Tokenizer

    from radtune.models.families import frame_of

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        # The package has no other error.
        raise InputError(f"{path}: no tokenizer: {type(error).__name__}") from None
    frame = frame_of(lambda token: tokenizer.token_to_id(token) is not None)
    if frame is None:
        return None
    return len(tokenizer.encode(f"{frame.before}{_KNOWN}{frame.after}", add_special_tokens=False).ids)
