"""Any server that speaks OpenAI's chat completions (vLLM, SGLang, ``transformers serve``), called as a teacher is."""

import re
from collections.abc import Iterator, Sequence

from radtune.config import InputError
from radtune.generation.engine import Prompt, Request, Response
from radtune.teacher.chat import Sampling
from radtune.teacher.endpoint import Endpoint
from radtune.teacher.engine import Credential, ask_all
from radtune.teacher.limits import Limits
from radtune.teacher.schemas import json_schema

# What servers may read as a special token of their model: <|eot_id|>, </s>, <start_of_turn>, [INST], [/INST]. Not what
# reports hold: "<5 mm", "[left]".
_SPECIAL = re.compile(r"<(?=\|?[/a-zA-Z_][\w|\u2581 ]*\|?>)|\[(?=/?(?:INST|TOOL_\w+|AVAILABLE_\w+|SYSTEM_PROMPT)\])")


class ServerEngine:
    """Answers prompts through a server.

    The server's own chat template frames each message; it has to be the one of the model's training.
    """

    def __init__(self, endpoint: Endpoint, credential: Credential, model: str, limits: Limits) -> None:
        """Takes where to ask.

        Args:
            endpoint: The server; already checked by its guard.
            credential: Its key, or what gives a token.
            model: The model's name there; with vLLM's ``--lora-modules``, the adapter's.
            limits: How hard it may be pressed.
        """
        self._endpoint = endpoint
        self._credential = credential
        self._model = model
        self._limits = limits

    def generate(self, prompts: Sequence[Prompt], request: Request) -> Iterator[tuple[int, Response]]:
        """Yields the index of each prompt with its response, as they come.

        Closed answers are asked for as a JSON schema. A report too long for the server's model is not cut: its
        response has the server's error.

        Raises:
            InputError: Scores are asked for, or the server fails again and again.
        """
        if request.scores:
            raise InputError("scores=true needs engine=torchtune")
        if request.task and request.go_on:
            raise InputError("constrain=true with evidence=true needs engine=torchtune: a JSON schema has no evidence")
        schema = json_schema(request.task) if request.task else None
        sampling = Sampling(self._model, request.temperature, request.max_new_tokens)
        replies = ask_all(
            self._endpoint,
            self._credential,
            sampling,
            self._limits,
            range(len(prompts)),
            lambda index: defuse(prompts[index].message),
            schema,
        )
        for index, reply in replies:
            yield index, Response(reply.text, reply.finished, refused=reply.refused, error=reply.error)


def defuse(message: str) -> str:
    """A message in which nothing can be read as a special token: a blank follows the bracket that opens one."""
    return _SPECIAL.sub(lambda opening: opening[0] + " ", message)
