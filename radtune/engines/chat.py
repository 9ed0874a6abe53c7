"""One chat completions call as JSON: what is sent, and what comes back.

Answers are read strictly. A server's own message may quote the report, so of an error only a short code is kept.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from radtune.engines.guard import Endpoint

TIMEOUT, NO_CONNECTION, MALFORMED, EMPTY = "timeout", "connection_failed", "malformed_answer", "empty_answer"
# OpenAI's code for a message that its model has no room for; taken for the words of all other servers, too.
TOO_LONG = "context_length_exceeded"

# A server's error code is kept if it looks like one (model_not_found, BadRequestError), not like a word of a report.
_CODE = re.compile(r"[a-z]+(?:_[a-z0-9]+)+|(?:[A-Z][a-z]+){2,}")
# What servers say where a message and its answer do not fit into the model. Phrases of no radiology report, because a
# server may quote one.
_TOO_LONG = re.compile(
    # OpenAI; llama.cpp from 2025-09 on (github.com/ggml-org/llama.cpp/pull/15780); Z.ai.
    rb"context_length_exceeded|exceed_context_size|model_context_window_exceeded"
    # vLLM ("This model's maximum context length is 16384 tokens.", github.com/vllm-project/vllm/issues/20409,
    # "longer than the maximum model length of 8192", github.com/Gabesarch/grounded-rl/issues/16), SGLang
    # (github.com/anomalyco/opencode/pull/25230), OpenRouter, xAI.
    rb"|maximum (?:context|model|prompt) length"
    # vLLM where max_tokens is left to it, once nothing is left (github.com/vllm-project/vllm/issues/4667).
    rb"|max_tokens must be at least 1, got -"
    # SGLang ("The input (61709 tokens) is longer than the model's context length (40960 tokens).",
    # github.com/QwenLM/Qwen3/issues/1321), LM Studio. The apostrophe may be written in several ways.
    rb"|(?:longer|greater) than the (?:model\S{1,7} )?context length"
    # llama.cpp, llama-cpp-python, OpenAI's newer wording, Ollama.
    rb"|exceeds? (?:the )?(?:available |max )?context (?:size|window|length)"
    rb"|(?:prompt|input)(?: is)? too long"
    # TGI (github.com/huggingface/text-generation-inference/issues/628 and 695).
    rb"|`inputs` (?:tokens \+ `max_new_tokens` must be <=|must have less than)"
    # TensorRT-LLM (github.com/NVIDIA/TensorRT-LLM/issues/9277, tensorrtllm_backend/issues/141).
    rb"|prompt length.{1,80}(?:exceed max_num_tokens|exceeds maximum (?:input|sequence) length)",
    re.IGNORECASE,
)
# 413 says so by itself; llama.cpp and others have answered 500.
_TOO_LONG_STATUSES = {400, 413, 422, 500}
# "seed", 'seed' or `seed`, also within a JSON string; "Unrecognized request argument supplied: seed"; "seed: Extra
# inputs are not permitted". Neither an echo of the request ("seed": 12) nor the word alone, which stands in reports of
# brachytherapy.
_SEED = re.compile(rb"""['`]seed['`]|"seed\\?"(?! ?: ?\d)|supplied: seed\b|\bseed: Extra""")
# More than any call takes. What a server counts beyond is a slip, which a budget could not be reckoned with.
MOST_TOKENS = 10**9
_FINISH_REASON = re.compile(r"[a-z_]{1,32}")
# meta-llama/Llama-3.3-70B-Instruct, gpt-4o-2024-05-13, fp_44709d6fcb, a path; a sentence has blanks.
_VERSION = re.compile(r"[A-Za-z0-9._:/@+-]{1,128}")


@dataclass(frozen=True)
class Sampling:
    """What is asked for besides the message; None leaves it to the server."""

    model: str
    temperature: float | None
    max_tokens: int | None


@dataclass(frozen=True)
class Reply:
    """What came of one call.

    Attributes:
        text: The model's answer; empty if there is none.
        finished: Whether the model came to an end by itself, not by the token limit.
        refused: Whether the model or its provider declined to answer.
        error: A short code if no answer came, e.g. ``401 invalid_api_key``.
        usage: Tokens of prompt and answer, where the server counts them.
        model: The model as the server names it, often with its version.
        fingerprint: The ``system_fingerprint`` of what ran it.
        finish_reason: Why the answer ended, in the server's word.
        as_json: Whether the server was held to a JSON schema for this answer.
    """

    text: str = ""
    finished: bool = True
    refused: bool = False
    error: str | None = None
    usage: dict[str, int] | None = None
    model: str | None = None
    fingerprint: str | None = None
    finish_reason: str | None = None
    as_json: bool = False

    @property
    def too_long(self) -> bool:
        """Whether the server's model had no room for the message and its answer."""
        return self.error is not None and self.error.endswith(TOO_LONG)


def request_body(
    endpoint: Endpoint, sampling: Sampling, message: str, schema: dict[str, Any] | None = None, seed: int | None = None
) -> dict[str, Any]:
    """The JSON object that asks one question.

    Args:
        endpoint: Where it goes.
        sampling: Model and parameters.
        message: The user's message.
        schema: Value of ``response_format.json_schema``; None for free text.
        seed: What sampling draws from; None leaves it to the server.
    """
    body: dict[str, Any] = {"model": sampling.model, "messages": [{"role": "user", "content": utf8(message)}]}
    if sampling.temperature is not None:
        body["temperature"] = sampling.temperature
    if sampling.max_tokens is not None:
        body["max_tokens"] = sampling.max_tokens
    if seed is not None:
        body["seed"] = seed
    if schema is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if endpoint.may_store:
        body["store"] = False
    return body


def read_reply(content: bytes) -> Reply:
    """The reply in a chat completion, as its server sent it; an error where it is none."""
    try:
        body = json.loads(content)
        choice = body["choices"][0]
        text, refusal = choice["message"].get("content"), choice["message"].get("refusal")
        reason = choice.get("finish_reason")
    except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError):
        return Reply(error=MALFORMED)
    if not isinstance(text, str | None):
        return Reply(error=MALFORMED)
    refused = bool(refusal) or reason == "content_filter"
    return Reply(
        text=utf8(text or ""),
        finished=reason != "length",
        refused=refused,
        # Not an empty string, which a model may mean.
        error=EMPTY if text is None and not refused and reason != "length" else None,
        usage=_usage(body.get("usage")),
        model=_only(_VERSION, body.get("model")),
        fingerprint=_only(_VERSION, body.get("system_fingerprint")),
        finish_reason=_only(_FINISH_REASON, reason),
    )


def read_error(status: int, content: bytes) -> Reply:
    """The reply in an HTTP error: its status and, where it has one, its code.

    That of a message too long for the model is :data:`TOO_LONG`, however the server puts it.
    """
    error = _error(content)
    if status == 400 and error.get("code") == "content_filter":
        # How Azure declines a prompt.
        return Reply(refused=True, finish_reason="content_filter")
    if status == 413 or (status in _TOO_LONG_STATUSES and _TOO_LONG.search(content)):
        return Reply(error=f"{status} {TOO_LONG}")
    code = _only(_CODE, error.get("code")) or _only(_CODE, error.get("type")) or ""
    return Reply(error=f"{status} {code}".strip())


def refuses_schema(status: int, content: bytes) -> bool:
    """Whether an HTTP error is about ``response_format``, which some servers and models do not know."""
    if status not in (400, 422):
        return False
    error = _error(content)
    named = error.get("param")
    if isinstance(named, str) and named:
        return named.startswith("response_format")
    if b"response_format" in content or b"json_schema" in content:
        return True
    return str(error.get("code")).startswith("unsupported")


def refuses_seed(status: int, content: bytes) -> bool:
    """Whether an HTTP error is about ``seed``, which some servers do not know."""
    if status not in (400, 422):
        return False
    named = _error(content).get("param")
    if isinstance(named, str) and named:
        return named == "seed"
    return _SEED.search(content) is not None


def utf8(text: str) -> str:
    """A text without half surrogate pairs, which JSON can carry and no UTF-8 file can."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _error(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    error = body.get("error", body) if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}


def _usage(usage: Any) -> dict[str, int] | None:
    if not isinstance(usage, dict):
        return None
    counts = {name: usage.get(name) for name in ("prompt_tokens", "completion_tokens")}
    return {name: count for name, count in counts.items() if type(count) is int and 0 <= count <= MOST_TOKENS} or None


def _only(pattern: re.Pattern[str], value: Any) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None
