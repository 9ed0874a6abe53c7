"""Any server that speaks OpenAI's chat completions (vLLM, SGLang, ``transformers serve``), called as a teacher is."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from radtune.config import InputError
from radtune.engines.calls import Credential, ask_all
from radtune.engines.chat import Reply, Sampling
from radtune.engines.guard import Endpoint
from radtune.engines.limits import Limits
from radtune.engines.prompt import Prompt, Request, Response, keep_words, split_words
from radtune.files import sha256_text
from radtune.tasks.schemas import json_schema, read_json

# Special tokens of well-known models that are named like tags: Llama 2, Gemma, T5, Cohere, StarCoder, Qwen, GLM,
# InternLM, Mistral NeMo, Seed-OSS, and what nearly all have.
_TAGS = (
    r"s|bos|eos|pad|unk|cls|sep|mask|eot|eod|eop|sop|eoh|eoa|(?:bos|eos|eop|mask)_token|"
    r"(?:start|end)_of_(?:turn|image)|(?:image|audio)_soft_token|(?:begin|end)_of_(?:text|document)|"
    r"endoftext|unused\d+|extra_id_\d+|reserved_\d+|special_\d+|seed:\w+|"
    r"think|tool_calls?|tool_response|fim[_-]\w+|file_sep|reponame|repo_name|filename|gh_stars|"
    r"(?:issue|jupyter)_\w+|commit_\w+"
)
# The same in square brackets: Mistral, GLM ([gMASK]), BERT.
_BRACKETS = (
    r"INST|IMG\w*|AVAILABLE_\w+|TOOL_\w+|SYSTEM_PROMPT|ARGS|CALL_ID|THINK|PREFIX|MIDDLE|SUFFIX|"
    r"[gs]?MASK|CLS|SEP|PAD|UNK|BOS|EOS"
)
# What opens a special token: <|eot_id|> and <｜end▁of▁sentence｜> (DeepSeek, whose bars are U+FF5C) by the bar alone,
# <turn|> by the bar at its end, <<SYS>> (Llama 2), [|endofturn|] (EXAONE), and the names above. Not what reports hold:
# "<5 mm", "[left]".
_SPECIAL = re.compile(
    rf"<(?=[|｜]|/?[\w\u2581-]{{1,64}}[|｜]>|</?SYS>>|/?(?:{_TAGS})/?>)|\[(?=\||/?(?:{_BRACKETS})\])", re.IGNORECASE
)

# Of a report that the server has no room for, this share of the words is tried next, in percent: few rounds, and at
# most three words in ten left out for nothing.
_KEPT_PERCENT = 70


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
        # Parameters that the server does not take.
        self._refused: set[str] = set()
        self._warned_of_schema = False

    def generate(self, prompts: Sequence[Prompt], request: Request) -> Iterator[tuple[int, Response]]:
        """Yields the index of each prompt with its response, as they come.

        Closed answers are asked for as a JSON schema; a server that does not keep to it is warned of once. Where a
        report is too long for the server's model, its prompt is asked again without words of its middle, until the
        server takes it; if it never does, the response has the server's error. A server that cuts prompts by itself,
        or lets them run past its model's positions (``transformers serve``), says nothing of it.

        Sampling draws from each prompt's seed as far as the server heeds it: OpenAI's promises no more than its best
        effort, and ``transformers serve`` samples only where the model's generation_config.json says do_sample. A
        server that refuses seeds is asked without, with one warning.

        Raises:
            InputError: Scores are asked for, or the server fails again and again.
        """
        if request.scores:
            raise InputError("scores=true needs engine=torchtune")
        if request.task and request.go_on:
            needed = "engine=torchtune or engine=transformers"
            raise InputError(f"constrain=true with evidence=true needs {needed}: a JSON schema has no evidence")
        asked, cut_words = dict(enumerate(prompts)), [0] * len(prompts)
        while asked:
            too_long: dict[int, Prompt] = {}
            for index, reply in self._ask(asked, request):
                shorter = _shorten(prompts[index], cut_words[index]) if reply.too_long else None
                if shorter:
                    too_long[index], cut_words[index] = shorter
                else:
                    yield index, _response(reply, cut_words[index])
            asked = too_long

    def _ask(self, prompts: Mapping[int, Prompt], request: Request) -> Iterator[tuple[int, Reply]]:
        replies = ask_all(
            self._endpoint,
            self._credential,
            Sampling(self._model, request.temperature, request.max_new_tokens),
            self._limits,
            prompts,
            message=lambda index: defuse(prompts[index].message),
            schema=json_schema(request.task) if request.task else None,
            seed=lambda index: seed_number(prompts[index].seed) if request.temperature else None,
            refused=self._refused,
        )
        for index, reply in replies:
            if request.task and reply.as_json:
                self._check_schema(reply, request.task)
            yield index, reply

    def _check_schema(self, reply: Reply, task: str) -> None:
        # An answer that was cut off or declined says nothing about the server.
        whole = reply.error is None and reply.finished and not reply.refused
        if self._warned_of_schema or not whole or read_json(reply.text, task, "") is not None:
            return
        self._warned_of_schema = True
        host = self._endpoint.host
        print(f"{host} does not keep to the JSON schema of constrain=true; answers may be unreadable", file=sys.stderr)


def _shorten(prompt: Prompt, cut_words: int) -> tuple[Prompt, int] | None:
    """A prompt with more words of its report left out than so many, and how many then; None if none are left."""
    words = split_words(prompt.report_text)
    if cut_words == len(words):
        return None
    kept = (len(words) - cut_words) * _KEPT_PERCENT // 100
    return replace(prompt, report_text=keep_words(words, kept)), len(words) - kept


def _response(reply: Reply, cut_words: int) -> Response:
    # A report that no answer came for was not cut: it is missing.
    cut_words = cut_words if reply.error is None else 0
    return Response(reply.text, reply.finished, cut_words=cut_words, refused=reply.refused, error=reply.error)


def seed_number(seed: str) -> int:
    """A prompt's seed as the number that servers take: from 0 to 2**31 - 1, which vLLM, llama.cpp and others hold."""
    return int(sha256_text(seed), 16) % 2**31


def defuse(message: str) -> str:
    """A message in which nothing can be read as a special token: a blank follows the bracket that opens one."""
    return _SPECIAL.sub(lambda opening: opening[0] + " ", message)
