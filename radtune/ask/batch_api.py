"""Asking through the Batch API of OpenAI and Azure OpenAI: half the price, and an answer within a day.

Requests go to the provider as a file, which is made in memory and never on this machine's disk. Before each step there
its intent is written down (:mod:`radtune.ask.batch_state`), so a process that is killed between a step and its
record finds what it has done by listing the provider's batches. One process at a time may work on a state file; the
ledger's lock sees to that.
"""

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radtune.ask.batch_calls import Provider, request_url
from radtune.ask.batch_state import BatchState, Part, read_state
from radtune.ask.teacher_calls import Sampling
from radtune.engines import prompt as engines
from radtune.engines.chat import read_error, read_reply, request_body
from radtune.engines.guard import Credential, Endpoint
from radtune.engines.prompt import Response as Reply
from radtune.files import jsonl_line

if TYPE_CHECKING:
    from openai.types import Batch

# Both services take 50,000 requests and 200 MB a file (OpenAI, "Batch API"; Microsoft, "Create a batch").
MOST_REQUESTS = 50_000
MOST_BYTES = 190_000_000

_ENDED = {"completed", "failed", "expired", "cancelled"}
_CODE = re.compile(r"[a-z]+(?:_[a-z0-9]+)*")


@dataclass(frozen=True)
class Submitted:
    """What became of the questions that were to be asked.

    Attributes:
        batch_ids: The new batches.
        requests: How many questions they hold.
        waiting: How many were left out, because an earlier batch has still to answer them.
    """

    batch_ids: list[str]
    requests: int
    waiting: int


@dataclass(frozen=True)
class BatchStatus:
    """How a batch is doing.

    Attributes:
        batch_id: Its id.
        status: The provider's word: ``in_progress``, ``completed``, ``failed``, ...; ``missing`` where the provider
            does not know it.
        requests: How many questions it holds.
        done: How many of them have been answered.
        failed: How many of them could not be.
        reason: The provider's code for why all of it failed, if it did.
    """

    batch_id: str
    status: str
    requests: int
    done: int
    failed: int
    reason: str | None

    @property
    def ended(self) -> bool:
        """Whether it will not go on; what it has not answered is asked again by the next submit."""
        return self.status in _ENDED


@dataclass(frozen=True)
class Collected:
    """What a look at the batches brought.

    Attributes:
        statuses: Of every batch, as they were found.
        replies: By the hash of their question, the replies of those that have ended. When the iterator has come to the
            end of a batch, the batch is forgotten and its files at the provider are deleted; stopped earlier, it gives
            the same replies again next time.
    """

    statuses: list[BatchStatus]
    replies: Iterator[tuple[str, Reply]]


def state_path(output: Path) -> Path:
    """Where the batches of an output file are written down: ``x.jsonl`` -> ``x.jsonl.batches.json``."""
    return output.with_name(f"{output.name}.batches.json")


def submit(
    endpoint: Endpoint,
    credential: Credential,
    sampling: Sampling,
    questions: Iterable[tuple[str, str]],
    schema: dict[str, Any] | None,
    state_path: Path,
    most_requests: int = MOST_REQUESTS,
    most_bytes: int = MOST_BYTES,
) -> Submitted:
    """Hands questions to the provider in as few batches as it takes.

    Args:
        endpoint: The provider; already checked by its guards.
        credential: Its key, or what gives a token.
        sampling: Model (on Azure a deployment of a batch type) and parameters.
        questions: A hash that names the question, and its message. Of several with one hash, one is asked.
        schema: Value of ``response_format.json_schema``; None for free text.
        state_path: Where the batches are written down.
        most_requests: Most questions in a batch.
        most_bytes: Largest file of a batch.

    Raises:
        InputError: The provider refuses or cannot be reached. Batches made by then stay; called again, it goes on.
    """
    state = read_state(state_path, endpoint.url)
    with Provider(endpoint, credential) as provider:
        provider.reconcile(state)
        skipped = state.pending_keys()
        asked: set[str] = set()
        waiting: set[str] = set()

        def new() -> Iterator[tuple[str, str]]:
            for key, message in questions:
                if key in skipped:
                    waiting.add(key)
                elif key not in asked:
                    asked.add(key)
                    yield key, message

        batch_ids = []
        for keys, content in _files(endpoint, sampling, new(), schema, most_requests, most_bytes):
            part = Part(uuid.uuid4().hex, keys, as_json=schema is not None)
            batch_ids.append(provider.make_batch(state, part, content))
    return Submitted(batch_ids, len(asked), len(waiting))


def collect(endpoint: Endpoint, credential: Credential, state_path: Path) -> Collected:
    """Looks at the batches that were submitted, and gives the replies of those that have ended.

    Args:
        endpoint: The provider.
        credential: Its key, or what gives a token.
        state_path: Where the batches were written down.

    Raises:
        InputError: The provider refuses or cannot be reached; also while the replies are read.
    """
    state = read_state(state_path, endpoint.url)
    with Provider(endpoint, credential) as provider:
        provider.reconcile(state)
        found = [(part, provider.look(part) if part.leftover is None else None) for part in state.parts]
    statuses = [_status(part, batch) for part, batch in found if part.leftover is None]
    return Collected(statuses, _replies(endpoint, credential, state, found))


def batches_text(statuses: Sequence[BatchStatus]) -> str:
    """How the batches are doing, in words: a line each."""
    lines = []
    for status in statuses:
        line = (
            f"{status.batch_id}: {status.status}, {status.done:,} of {status.requests:,} done, {status.failed:,} failed"
        )
        if status.reason:
            line += f" ({status.reason})"
        if status.status == "missing":
            line = (
                f"{status.batch_id}: the provider does not know it; {status.requests:,} questions wait for it in vain. "
                "Made with another key? If not, remove OUTPUT.batches.json when no other batch is under way"
            )
        lines.append(line)
    return "\n".join(lines) or "no batch under way"


def _files(
    endpoint: Endpoint,
    sampling: Sampling,
    questions: Iterable[tuple[str, str]],
    schema: dict[str, Any] | None,
    most_requests: int,
    most_bytes: int,
) -> Iterator[tuple[list[str], bytes]]:
    keys: list[str] = []
    content = bytearray()
    for key, message in questions:
        how = engines.Sampling(sampling.temperature, sampling.max_tokens, schema=schema)
        body = request_body(endpoint, sampling.model, message, how)
        request = {"custom_id": key, "method": "POST", "url": request_url(endpoint), "body": body}
        line = jsonl_line(request).encode("utf-8")
        if keys and (len(keys) == most_requests or len(content) + len(line) > most_bytes):
            yield keys, bytes(content)
            keys, content = [], bytearray()
        keys.append(key)
        content += line
    if keys:
        yield keys, bytes(content)


def _status(part: Part, batch: "Batch | None") -> BatchStatus:
    batch_id = part.batch_id or ""
    if batch is None:
        return BatchStatus(batch_id, "missing", len(part.keys), 0, 0, None)
    counts = batch.request_counts
    errors = getattr(batch.errors, "data", None)
    return BatchStatus(
        batch_id,
        _code(batch.status) or "unknown",
        len(part.keys),
        _count(getattr(counts, "completed", None)),
        _count(getattr(counts, "failed", None)),
        _code(getattr(errors[0], "code", None)) if isinstance(errors, list) and errors else None,
    )


def _replies(
    endpoint: Endpoint, credential: Credential, state: BatchState, found: list[tuple[Part, "Batch | None"]]
) -> Iterator[tuple[str, Reply]]:
    with Provider(endpoint, credential) as provider:
        for part, batch in found:
            if batch is not None and batch.status in _ENDED:
                named = (batch.output_file_id, batch.error_file_id)
                results = [file_id for file_id in named if isinstance(file_id, str) and file_id]
                for file_id in results:
                    yield from _read(provider.read_file(file_id), part)
                part.leftover = [*filter(None, [part.file_id]), *results]
                part.keys = []
                state.save()
            if part.leftover is not None:
                provider.delete_files(part.leftover)
                state.parts.remove(part)
                state.save()


def _read(content: bytes, part: Part) -> Iterator[tuple[str, Reply]]:
    """The replies in a file of results. Requests that were not run (expired, cancelled) are in it without one."""
    keys = set(part.keys)
    for line in content.splitlines():
        try:
            row = json.loads(line)
            key, response = row["custom_id"], row["response"]
            status, body = response["status_code"], json.dumps(response["body"]).encode("utf-8")
        except (ValueError, RecursionError, KeyError, TypeError):
            continue
        if isinstance(key, str) and key in keys and isinstance(status, int):
            keys.remove(key)
            yield key, replace(read_reply(body), as_json=part.as_json) if status == 200 else read_error(status, body)


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _code(text: Any) -> str | None:
    return text if isinstance(text, str) and _CODE.fullmatch(text) else None
