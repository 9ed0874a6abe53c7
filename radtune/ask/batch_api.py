"""Asking through the Batch API of OpenAI and Azure OpenAI: half the price, and an answer within a day.

Requests go to the provider as a file, which is made in memory and never on this machine's disk. Before and after each
step there it is written down in a small file beside the output (ids and hashes, no report), so a process that is killed
between a step and its record finds what it has done by listing the provider's batches: nothing is asked twice or
forgotten. One process at a time may work on that file; the ledger's lock sees to that.
"""

import json
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from radtune.ask.questions import Question
from radtune.ask.run import Run
from radtune.config import InputError, from_mapping
from radtune.engines.chat import read_error, read_reply, request_body, seed_number
from radtune.engines.guard import Credential, Endpoint
from radtune.engines.limits import within
from radtune.engines.prompt import Response
from radtune.files import jsonl_line, read_json, write_whole

if TYPE_CHECKING:
    from openai.types import Batch

# Both services take 50,000 requests and 200 MB a file (OpenAI, "Batch API"; Microsoft, "Create a batch").
MOST_REQUESTS = 50_000
MOST_BYTES = 190_000_000
# Of a file of answers: more than any batch of 200 MB gets.
_MOST_ANSWERED_BYTES = 2 * 2**30
# A file of 190 MB takes minutes on a slow line.
_TIMEOUT_S = 600.0
# Of a call with all its attempts, whatever the provider drips.
_LONGEST_CALL_S = 3600.0
# For what may be done twice: reading, listing and deleting.
_RETRIES = 4
# Azure looks a file over before it makes a batch of it.
_PREPARING = {"pending", "running", "notRunning"}
_LONGEST_PREPARING_S, _FIRST_LOOK_S, _LAST_LOOK_S = 600.0, 0.25, 8.0
# How long after a call that may have made a batch the provider's list may still lack it, and between looks at it.
_LONGEST_LAG_S, _LOOK_AGAIN_S = 30.0, 1.0
# Where reports are not collected and deleted sooner, OpenAI is asked to delete them after two weeks instead of a month.
_EXPIRY = {"anchor": "created_at", "seconds": 14 * 24 * 3600}
_METADATA_KEY = "radtune_part"
_ENDED = {"completed", "failed", "expired", "cancelled"}
_CODE = re.compile(r"[a-z]+(?:_[a-z0-9]+)*")
_HINTS = {"401": "the key in {variable} is not accepted; ", "404": "it may have no Batch API; "}

Result = TypeVar("Result")


@dataclass
class Part:
    """One batch, from the intent to make it until its last file at the provider is deleted."""

    part_id: str  # names it at the provider, in the batch's metadata and the file's name
    keys: list[str]  # hashes of the questions that wait for its answers
    as_json: bool  # whether its answers are held to a JSON schema
    file_id: str | None = None  # of the file of requests, once the provider has it
    asked_at: float | None = None  # when the provider was asked to make the batch, in seconds since 1970
    batch_id: str | None = None  # once the provider has made it
    leftover: list[str] | None = None  # files to delete, once all answers have been handed over

    @property
    def file_name(self) -> str:
        """Of the file of requests."""
        return f"radtune-{self.part_id}.jsonl"


@dataclass
class BatchState:
    """The batches of a run, oldest first, and the base URL of their provider."""

    endpoint: str
    parts: list[Part]


def state_path(output: Path) -> Path:
    """Where the batches of an output file are written down: ``x.jsonl`` -> ``x.jsonl.batches.json``."""
    return output.with_name(f"{output.name}.batches.json")


def read_state(path: Path, endpoint: str | None = None) -> BatchState:
    """The batches that a run has left with a provider; none if the file is absent.

    Raises:
        InputError: It is no such file, or its batches are at another endpoint than the caller means.
    """
    if not path.exists():
        return BatchState(endpoint or "", [])
    try:
        state = from_mapping(BatchState, read_json(path), str(path))
    except InputError:
        raise InputError(f"{path}: not a file of batches written here") from None
    if endpoint not in (None, state.endpoint):
        raise InputError(f"{path}: holds batches at {state.endpoint}, not at {endpoint}; collect them there first")
    return state


def pending_keys(path: Path) -> set[str]:
    """Hashes of the questions that batches have been given and not yet answered."""
    return {key for part in read_state(path).parts for key in part.keys}


def submit_missing(run: Run, batches: "Batches") -> str:
    """Hands what a run would ask to a Batch API instead, as far as it can be paid; says in words what was done."""
    missing = run.missing()
    affordable = list(takewhile(lambda question: run.budget.admit(question.prompt, question.sampling), missing))
    requests, made = batches.submit(affordable, run.model.name)
    lines = [f"{requests:,} questions in {made:,} new batches; batch=collect fetches them"]
    if run.waiting:
        lines.append(f"{len(run.waiting):,} questions are in earlier batches")
    if left := len(missing) - len(affordable):
        lines.append(f"{left:,} questions left out: the most that they may cost is over max_cost")
    return "\n".join(lines)


def collect(run: Run, batches: "Batches") -> str:
    """Keeps what batches have answered by now; says in words how they are doing.

    Raises:
        InputError: A batch answers questions that this run does not ask. They are paid for, and collecting them ends
            with deleting them at the provider.
    """
    questions = run.questions()
    if foreign := run.waiting - questions.keys():
        raise InputError(
            f"{len(foreign):,} questions in the batches are none of this command's; collect them with the output, "
            "reports, task, model and parameters that they were submitted with"
        )
    statuses, responses = batches.look()
    for key, response in responses:
        # A start that was killed within a batch has kept some of its answers, and they come again.
        if key not in run.ledger:
            run.budget.add(response)
            run.take(questions[key], response)
    return "\n".join(statuses) or "no batch under way"


class Refused(InputError):
    """A provider's error, by its code alone: its words may quote a report."""

    def __init__(self, endpoint: Endpoint, doing: str, code: str) -> None:
        hint = _HINTS.get(code[:3], "").format(variable=endpoint.key_variable)
        super().__init__(f"{endpoint.url}: cannot {doing} ({code}); {hint}run the same command again to go on")
        self.code = code


class Batches:
    """The batches of a run at a provider, each step there written down. Use as a context manager.

    Every method raises :class:`Refused` where the provider refuses or cannot be reached. Batches made by then stay;
    called again, it goes on.
    """

    def __init__(self, endpoint: Endpoint, credential: Credential, path: Path) -> None:
        """Reads what is written down in ``path``; the endpoint has been checked by its guards."""
        from radtune.engines.client import open_client

        self._endpoint, self._path = endpoint, path
        self._state = read_state(path, endpoint.url)
        # The client makes no attempt but the first: a batch that is made again is paid for again.
        self._once = open_client(endpoint, credential, _TIMEOUT_S, most_bytes=_MOST_ANSWERED_BYTES)
        self._patiently = self._once.with_options(max_retries=_RETRIES)

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *error: object) -> None:
        self._once.close()

    def submit(self, questions: Iterable[Question], model: str) -> tuple[int, int]:
        """Asks those that no batch is asked yet, in as few batches as it takes; gives the numbers of both.

        Of several questions with one key, one is asked. ``model`` is on Azure a deployment of a batch type.
        """
        self._reconcile()
        pending = {key for part in self._state.parts for key in part.keys}
        new = {question.key_sha256: question for question in questions if question.key_sha256 not in pending}
        return len(new), sum(self._make_batch(*file) for file in _files(self._endpoint, model, new))

    def look(self) -> tuple[list[str], Iterator[tuple[str, Response]]]:
        """How each batch is doing, and by the hash of their question the responses of those that have ended.

        When the iterator has come to the end of a batch, the batch is forgotten and its files at the provider are
        deleted; stopped earlier, it gives the same responses again next time.
        """
        self._reconcile()
        found = [(part, self._look(part) if part.leftover is None else None) for part in self._state.parts]
        statuses = [_status(part, batch) for part, batch in found if part.leftover is None]
        return statuses, self._responses(found)

    def _make_batch(self, part: Part, content: bytes) -> int:
        """Makes a batch of a file of requests; gives the number of batches made."""
        self._state.parts.append(part)
        self._save()
        try:
            given = (part.file_name, content, "application/jsonl")
            upload = partial(self._once.files.create, file=given, purpose="batch", **self._expiry("expires_after"))
            file = self._call("upload a file of requests", upload, ("id",))
            part.file_id = file.id
            self._save()
            pause_s, until = _FIRST_LOOK_S, time.monotonic() + _LONGEST_PREPARING_S
            while file.status in _PREPARING and time.monotonic() < until:
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _LAST_LOOK_S)
                file = self._call("look at a file", partial(self._patiently.files.retrieve, file.id), ("id",))
            part.asked_at = time.time()
            self._save()
            make = partial(
                self._once.batches.create,
                input_file_id=file.id,
                endpoint=_request_url(self._endpoint),
                completion_window="24h",
                metadata={_METADATA_KEY: part.part_id},
                **self._expiry("output_expires_after"),
            )
            part.batch_id = self._call("make a batch", make, ("id",)).id
        except Refused as refusal:
            # A status of the 400s says that nothing has come of the call, but for those that speak of time.
            if refusal.code.startswith("4") and refusal.code[:3] not in ("408", "409"):
                # Where this fails, too, the next start does it.
                with suppress(Refused):
                    self._drop(part)
            raise
        self._save()
        return 1

    def _reconcile(self) -> None:
        """Finds out what became of batches whose making was not written down to its end."""
        while unknown := [part for part in self._state.parts if part.batch_id is None]:
            made = self._made()
            for part in unknown:
                if batch := made.get(part.part_id) or made.get(part.file_id):
                    part.batch_id, part.file_id = batch.id, batch.input_file_id
                    self._save()
                elif not 0 <= time.time() - (part.asked_at or 0.0) <= _LONGEST_LAG_S:
                    self._drop(part)
            if any(part.batch_id is None for part in self._state.parts):
                time.sleep(_LOOK_AGAIN_S)

    def _made(self) -> "dict[Any, Batch]":
        """The provider's batches by what it was given to remember and, if it does not give that back, by their file."""
        made: dict[Any, Batch] = {}
        batches = self._call("list the batches", lambda: tuple(self._patiently.batches.list(limit=100)), ("id",))
        for batch in batches:
            remembered = batch.metadata.get(_METADATA_KEY) if isinstance(batch.metadata, dict) else None
            made |= {name: batch for name in (batch.input_file_id, remembered) if isinstance(name, str)}
        return made

    def _look(self, part: Part) -> "Batch | None":
        """A batch as it is now; None if the provider does not know it."""
        try:
            return self._call("look at a batch", partial(self._patiently.batches.retrieve, part.batch_id), ("status",))
        except Refused as refusal:
            if refusal.code.startswith("404"):
                return None
            raise

    def _responses(self, found: Iterable[tuple[Part, "Batch | None"]]) -> Iterator[tuple[str, Response]]:
        for part, batch in found:
            if batch is not None and batch.status in _ENDED:
                named = (batch.output_file_id, batch.error_file_id)
                results = [file_id for file_id in named if isinstance(file_id, str) and file_id]
                for file_id in results:
                    content = self._call("read the answers", partial(self._patiently.files.content, file_id)).content
                    yield from _read(content, part)
                part.leftover = [*filter(None, [part.file_id]), *results]
                part.keys = []
                self._save()
            if part.leftover is not None:
                self._delete(part, part.leftover)

    def _drop(self, part: Part) -> None:
        """Forgets a batch that was never made; its file holds reports, so it goes first."""
        file_ids = [part.file_id] if part.file_id else []
        if not file_ids:
            listed = partial(self._patiently.files.list, purpose="batch")
            files = self._call("list the files", lambda: tuple(listed()), ("id",))
            file_ids = [file.id for file in files if file.filename == part.file_name]
        self._delete(part, file_ids)

    def _delete(self, part: Part, file_ids: Iterable[str]) -> None:
        for file_id in file_ids:
            try:
                self._call("delete a file of reports or answers", partial(self._patiently.files.delete, file_id))
            except Refused as refusal:
                # It may be gone already.
                if not refusal.code.startswith("404"):
                    raise
        self._state.parts.remove(part)
        self._save()

    def _save(self) -> None:
        if not self._state.parts:
            self._path.unlink(missing_ok=True)
            return
        with write_whole(self._path) as stream:
            json.dump(asdict(self._state), stream)

    def _expiry(self, name: str) -> dict[str, Any]:
        # Azure knows this in some regions and versions only.
        openai_itself = self._endpoint.may_store and not self._endpoint.takes_azure_credentials
        return {name: _EXPIRY} if openai_itself else {}

    def _call(self, doing: str, call: Callable[[], Result], fields: tuple[str, ...] = ()) -> Result:
        """Makes a call. The package takes any answer as it comes, so the fields that are needed are looked for here."""
        import openai

        code = "malformed_answer"
        try:
            result = within(_LONGEST_CALL_S, call)
            items = result if isinstance(result, tuple) else (result,)
            if all(isinstance(getattr(item, field, None), str) for item in items for field in fields):
                return result
        except InputError:
            # A token that cannot be had.
            raise
        except (openai.APITimeoutError, TimeoutError):
            code = "timeout"
        except openai.APIConnectionError:
            code = "connection_failed"
        except openai.APIStatusError as error:
            code = read_error(error.status_code, error.response.content).error or str(error.status_code)
        except (openai.OpenAIError, ValueError, RecursionError, TypeError, AttributeError):
            pass
        # Raised out here, so that it carries no other exception along: that one would know the request.
        raise Refused(self._endpoint, doing, code)


def _files(endpoint: Endpoint, model: str, questions: Mapping[str, Question]) -> Iterator[tuple[Part, bytes]]:
    """New batches, each with its file of requests."""
    content, part = bytearray(), Part(uuid.uuid4().hex, [], False)
    for key, question in questions.items():
        sampling = question.sampling
        seed = seed_number(question.prompt.seed) if sampling.temperature else None
        prompt = question.prompt
        body = request_body(endpoint, model, prompt.message, sampling, seed, prompt.pictures)
        request = {"custom_id": key, "method": "POST", "url": _request_url(endpoint), "body": body}
        line, as_json = jsonl_line(request).encode("utf-8"), sampling.schema is not None
        full = len(part.keys) == MOST_REQUESTS or len(content) + len(line) > MOST_BYTES
        if part.keys and (full or as_json != part.as_json):
            yield part, bytes(content)
            content, part = bytearray(), Part(uuid.uuid4().hex, [], False)
        part.as_json = as_json
        part.keys.append(key)
        content += line
    if part.keys:
        yield part, bytes(content)


def _request_url(endpoint: Endpoint) -> str:
    """The path that a batch is for; Azure's form with API versions leaves the ``/v1`` out.

    From Microsoft, "Getting started with Azure OpenAI batch deployments", and OpenAI's API reference.
    """
    return "/chat/completions" if endpoint.azure_api_version is not None else "/v1/chat/completions"


def _status(part: Part, batch: "Batch | None") -> str:
    """How a batch is doing, in the provider's word, with its code for why all of it failed, if it did."""
    requests = len(part.keys)
    if batch is None:
        return (
            f"{part.batch_id}: the provider does not know it; {requests:,} questions wait for it in vain. "
            "Made with another key? If not, remove OUTPUT.batches.json when no other batch is under way"
        )
    counts = [getattr(batch.request_counts, name, None) for name in ("completed", "failed")]
    done, failed = (count if isinstance(count, int) else 0 for count in counts)
    errors = getattr(batch.errors, "data", None)
    reason = _code(getattr(errors[0], "code", None)) if isinstance(errors, list) and errors else None
    counted = f"{done:,} of {requests:,} done, {failed:,} failed"
    return f"{part.batch_id}: {_code(batch.status) or 'unknown'}, {counted}{f' ({reason})' if reason else ''}"


def _read(content: bytes, part: Part) -> Iterator[tuple[str, Response]]:
    """The responses in a file of results. Requests that were not run (expired, cancelled) are in it without one."""
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


def _code(text: Any) -> str | None:
    return text if isinstance(text, str) and _CODE.fullmatch(text) else None
