"""One chat completions call as JSON: what is sent, and what comes back.

Answers are read strictly. A server's own message may quote the report, so of an error only a short code is kept.
"""

import json
import re
from collections.abc import Collection, Sequence
from typing import Any

from radtune.engines.guard import Endpoint
from radtune.engines.prompt import Response, Sampling
from radtune.files import sha256_text
from radtune.images import Picture

TIMEOUT, NO_CONNECTION, MALFORMED, EMPTY = "timeout", "connection_failed", "malformed_answer", "empty_answer"
BROKEN_OFF = "broken_off"
CERTIFICATE, PROXY = "certificate_refused", "proxy_failed"
# OpenAI's code for a message that its model has no room for; taken for the words of all other servers, too.
TOO_LONG = "context_length_exceeded"
# Parameters that some servers do not know.
SCHEMA, SEED = "response_format", "seed"

# A server's error code is kept if it looks like one (model_not_found, BadRequestError), not like a word of a report.
_CODE = re.compile(r"[a-z]+(?:_[a-z0-9]+)+|(?:[A-Z][a-z]+){2,}")
# What servers say where a message and its answer do not fit into the model. Phrases of no radiology report, because a
# server may quote one.
_TOO_LONG = re.compile(
    # OpenAI; llama.cpp (github.com/ggml-org/llama.cpp/pull/15780); Z.ai.
    rb"context_length_exceeded|exceed_context_size|model_context_window_exceeded"
    # vLLM (github.com/vllm-project/vllm/issues/20409), SGLang, OpenRouter, xAI.
    rb"|maximum (?:context|model|prompt) length"
    # vLLM where max_tokens is left to it, once nothing is left (github.com/vllm-project/vllm/issues/4667).
    rb"|max_tokens must be at least 1, got -"
    # SGLang (github.com/QwenLM/Qwen3/issues/1321), LM Studio. The apostrophe may be written in several ways.
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
_SEED_NAMED = re.compile(rb"""['`]seed['`]|"seed\\?"(?! ?: ?\d)|supplied: seed\b|\bseed: Extra""")
_DECLINED = "content_filter"
# The words for it of Azure and OpenAI, Google, Anthropic, Bedrock.
_DECLINED_REASONS = {_DECLINED, "safety", "prohibited_content", "blocklist", "spii", "refusal", "guardrail_intervened"}
# Why an answer has no end, in the words of gateways that pass on those of others (Mistral, TGI, Anthropic, Google); and
# why a server, not the model, broke it off: OpenRouter, vLLM, SGLang, DeepSeek, Zhipu.
_CUT_OFF = {"length", "max_tokens", "model_length", "max_output_tokens", "model_context_window_exceeded"}
_BROKEN_OFF = {"error", "abort", "cancelled", "insufficient_system_resource", "network_error"}
# How providers decline a prompt, by themselves and through gateways, whose code is then "400" (LiteLLM) or whose status
# is 200 (OpenRouter). No report has them. Azure; OpenAI; OpenRouter; Bedrock; Google; DashScope; DeepSeek; Zhipu.
_DECLINES = re.compile(
    rb"content_filter|content management policy|content_?policy_?violation|ResponsibleAIPolicyViolation"
    rb"|\binvalid_prompt\b|moderation_blocked|flagged as potentially violating"
    rb"|requires moderation|input was flagged"
    rb"|guardrail_?intervened|blocked by (?:[a-z]+ )?guardrail"
    rb"|PROHIBITED_CONTENT|block_?reason\b|blocked due to safety"
    rb"|data_?inspection_?failed|Content Exists Risk|contentFilter\b",
    re.IGNORECASE,
)
_DECLINING_STATUSES = {400, 403, 422, 451, 500}
_FILTERED = re.compile(rb'"filtered":\s*true')
# More than any call takes. What a server counts beyond is a slip, which a budget could not be reckoned with.
MOST_TOKENS = 10**9
_FINISH_REASON = re.compile(r"[a-z_]{1,32}")
# meta-llama/Llama-3.3-70B-Instruct, gpt-4o-2024-05-13, fp_44709d6fcb, a path; a sentence has blanks.
_VERSION = re.compile(r"[A-Za-z0-9._:/@+-]{1,128}")
# What looks like a tag is a special token of some model (<s>, <start_of_turn>, <role>, <mask:0>), but for HTML's.
_HTML = r"(?:[abipu]|br|em|strong|su[bp]|span|div|font|tt|ul|ol|li|table|tr|td|th|hr|h[1-6])\b"
# In square brackets: Mistral, GLM ([gMASK]), BERT and what nearly all have, openPangu ([unused9]), InternLM, Kimi.
_BRACKETS = (
    r"INST|IMG\w*|AVAILABLE_\w+|TOOL_\w+|SYSTEM_PROMPT|MODEL_SETTINGS|ARGS|CALL_ID|THINK|PREFIX|MIDDLE|SUFFIX|"
    r"[gs]?MASK|CLS|SEP|PAD|UNK|@?[BE]O[SDT]@?|unused_?(?:token_?)?\d+|extra_id_\d+|reserved\w*_\d+|multimodal"
)
# What opens a special token: <|eot_id|> and <｜end▁of▁sentence｜> (DeepSeek, whose bars are U+FF5C) by the bar alone,
# <turn|> by the bar at its end, <<SYS>> (Llama 2), [|endofturn|] (EXAONE), ]~b], [e~[ and ]<]image[>[ (MiniMax), tags,
# and the names above. Not what reports hold: "<5 mm", "[left]". A normalizer may make one of a wide bracket.
_SPECIAL = re.compile(
    rf"[<＜](?=[\u200b-\u200f\u2060\ufeff]*[|｜]|/?[\w\u2581-]{{1,64}}[|｜][>＞]|[<＜]/?SYS[>＞]|/?(?!{_HTML})[^\W\d][\w:.-]{{0,63}}\s?/?[>＞])"
    rf"|\[(?=\||/?(?:{_BRACKETS})\])|\](?=[!\w]{{0,16}}~[!\w]{{0,16}}[\[\]]|[<＜]\]\w{{1,32}}\[[>＞]\[)"
    r"|\[(?=[!\w]{0,16}~[!\w]{0,16}\[)",
    re.IGNORECASE,
)


def request_body(
    endpoint: Endpoint,
    model: str,
    message: str,
    sampling: Sampling,
    seed: int | None = None,
    pictures: Sequence[Picture] = (),
) -> dict[str, Any]:
    """The JSON object that asks one question; a seed of None is left to the server.

    Pictures stand in it themselves, before the message: a server that is given addresses would fetch what they name.
    """
    # Without blanks around it, as models are trained.
    content: Any = defuse(utf8(message)).strip()
    if pictures:
        images = [{"type": "image_url", "image_url": {"url": picture.data_uri()}} for picture in pictures]
        content = [*images, {"type": "text", "text": content}]
    body = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_new_tokens,
        SEED: seed,
        SCHEMA: {"type": "json_schema", "json_schema": sampling.schema} if sampling.schema is not None else None,
        "store": False if endpoint.may_store else None,
    }
    return {name: value for name, value in body.items() if value is not None}


def read_reply(content: bytes) -> Response:
    """The answer in a chat completion; an error where it is none."""
    try:
        body = json.loads(content)
        choices = body["choices"]
        # How gateways pass on that Azure has declined a prompt.
        choice = {"finish_reason": _DECLINED} if choices == [] else choices[0]
        reason = choice.get("finish_reason")
        refused = isinstance(reason, str) and reason.lower() in _DECLINED_REASONS
        message = choice.get("message") or {} if refused else choice["message"]
        text, refusal = _text(message.get("content")), message.get("refusal")
    except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError):
        declined = _DECLINES.search(content)
        return Response("", True, refused=True, finish_reason=_DECLINED) if declined else failure(MALFORMED)
    why = reason.lower() if isinstance(reason, str) else ""
    if why in _BROKEN_OFF:
        return failure(BROKEN_OFF)
    refused = refused or bool(refusal) or (text is None and _FILTERED.search(content) is not None)
    # A server that tells thoughts from answers has found no answer behind them: what there is of it is no list.
    only_thought = text is None and any(message.get(name) for name in ("reasoning_content", "reasoning"))
    finished = why not in _CUT_OFF
    empty = text is None and not refused and not only_thought and finished
    return Response(
        text=utf8(text or ""),
        finished=finished,
        refused=refused,
        # Not an empty string, which a model may mean.
        error=EMPTY if empty else None,
        usage=_usage(body.get("usage")),
        model=_only(_VERSION, body.get("model")),
        fingerprint=_only(_VERSION, body.get("system_fingerprint")),
        finish_reason=_only(_FINISH_REASON, reason),
    )


def _text(content: Any) -> str | None:
    """A message's text; of parts, that of those which are neither thoughts nor images."""
    if isinstance(content, list):
        parts = [part["text"] for part in content if part["type"] in ("text", "output_text")]
        content = "".join(parts) if parts else None
    if not isinstance(content, str | None):
        raise TypeError("no text")
    return content


def read_error(status: int, content: bytes) -> Response:
    """The status and code of an HTTP error; :data:`TOO_LONG` where a message is too long, however that is put.

    A prompt that the provider declines is no error.
    """
    if status in _DECLINING_STATUSES and _DECLINES.search(content):
        return Response("", True, refused=True, finish_reason=_DECLINED)
    if status == 413 or (status in _TOO_LONG_STATUSES and _TOO_LONG.search(content)):
        return failure(f"{status} {TOO_LONG}")
    error = _error(content)
    code = _only(_CODE, error.get("code")) or _only(_CODE, error.get("type")) or ""
    return failure(f"{status} {code}".strip())


def failure(code: str) -> Response:
    """A response without an answer."""
    return Response("", True, error=code)


def refused_parameter(status: int, content: bytes, sent: Collection[str]) -> str | None:
    """Which of the parameters sent, :data:`SCHEMA` and :data:`SEED`, an HTTP error is about; None if about neither."""
    if status not in (400, 422):
        return None
    error = _error(content)
    if isinstance(named := error.get("param"), str) and named:
        named = SCHEMA if named.startswith(SCHEMA) else named
    # The seed is left out only where the error names it, the schema also where nothing is named.
    elif SEED in sent and _SEED_NAMED.search(content):
        named = SEED
    elif SCHEMA.encode() in content or b"json_schema" in content or str(error.get("code")).startswith("unsupported"):
        named = SCHEMA
    return named if named in sent else None


def seed_number(seed: str) -> int:
    """A prompt's seed as the number that servers take: from 0 to 2**31 - 1, which vLLM, llama.cpp and others hold."""
    return int(sha256_text(seed), 16) % 2**31


def defuse(message: str) -> str:
    """A message in which nothing can be read as a special token: a blank follows the bracket that opens one."""
    return _SPECIAL.sub(lambda opening: opening[0] + " ", message)


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
