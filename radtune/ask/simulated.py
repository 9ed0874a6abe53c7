"""A teacher made of known truth: an OpenAI-compatible server that answers with stated noise, for studies and tests."""

import random
import re
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radtune.config import InputError
from radtune.engines.guard import LAST_PORT
from radtune.files import read_jsonl
from radtune.findings import FINDINGS, read_label_table
from radtune.sources.table import read_any_reports
from radtune.tasks import multiple_choice, open_ended
from radtune.tasks.lists import fold_space
from radtune.tasks.open_ended import Phrase

if TYPE_CHECKING:
    from starlette.applications import Starlette

_HEADING = "Report to Analyze:"
# A condition that a report says is not there: what a careless reader would list.
_NEGATED = re.compile(
    r"\b(?:no|without)\s+(?:evidence\s+of\s+)?((?:[a-z-]+\s){0,2}?[a-z-]{5,})(?=[.,;]|\s(?:or|and|is|are)\b)",
    re.IGNORECASE,
)
# "Other nonspecific abnormal finding of lung field": the code of a phrase that nobody coded.
_UNSPECIFIC_CODE = "R91.8"


@dataclass(frozen=True)
class Noise:
    """How the teacher errs; probabilities from 0 to 1.

    Attributes:
        drop: That a true label is left out.
        add: That an answer holds a wrong one more.
        garble: That an answer cannot be read at all.
        seed: Makes the same errors again; they depend on it, the report and the task alone.
    """

    drop: float
    add: float
    garble: float
    seed: int


@dataclass(frozen=True)
class Truth:
    """What is true of a report; None where the gold files do not say."""

    report_id: str
    text: str
    findings: tuple[str, ...] | None
    phrases: tuple[Phrase, ...] | None


def read_truths(reports: Path, gold_labels: Path | None, gold_phrases: Path | None) -> dict[str, Truth]:
    """Reads what the teacher knows.

    Args:
        reports: The reports it will be asked about.
        gold_labels: A label table.
        gold_phrases: JSONL with ``report_id`` and ``phrases`` [{``phrase``, ``icd10``}], or ``labels`` alone.

    Returns:
        Truths by the report's text, white space folded.

    Raises:
        InputError: Neither gold file is given, or a file cannot be read.
    """
    if gold_labels is None and gold_phrases is None:
        raise InputError("give gold_labels=, gold_phrases= or both")
    table = read_label_table(gold_labels) if gold_labels else None
    phrases = _read_phrases(gold_phrases) if gold_phrases else {}
    truths = {}
    for report in read_any_reports(reports):
        findings = tuple(table.positives(report.report_id)) if table and report.report_id in table.rows else None
        truths[fold_space(report.text)] = Truth(report.report_id, report.text, findings, phrases.get(report.report_id))
    return truths


def _read_phrases(path: Path) -> dict[str, tuple[Phrase, ...]]:
    phrases = {}
    for number, row in read_jsonl(path):
        try:
            given = row["phrases"] if "phrases" in row else [{"phrase": label} for label in row["labels"]]
            phrases[row["report_id"]] = tuple(Phrase(item["phrase"], item.get("icd10")) for item in given)
        except (KeyError, TypeError, AttributeError):
            raise InputError(f"{path}:{number}: expected report_id and phrases") from None
    return phrases


def simulated_answer(truth: Truth, task: str, noise: Noise, phrase_pool: Sequence[Phrase]) -> str:
    """What the teacher says about a report, in the form that the task's prompt asks for.

    Raises:
        LookupError: The truth does not say.
    """
    chance = random.Random(f"{noise.seed}:{task}:{truth.report_id}")  # noqa: S311  (no secret)
    if task == multiple_choice.NAME:
        if truth.findings is None:
            raise LookupError
        findings = [name for name in truth.findings if chance.random() >= noise.drop]
        if chance.random() < noise.add:
            findings += chance.sample([name for name in FINDINGS if name not in truth.findings], 1)
        answer = f"The diseases are: {multiple_choice.encode(findings)}"
    else:
        if truth.phrases is None:
            raise LookupError
        phrases = [phrase for phrase in truth.phrases if chance.random() >= noise.drop]
        if chance.random() < noise.add:
            phrases += _wrong_phrase(truth, phrase_pool, chance)
        reasons = [f"- {phrase.phrase}: {phrase.icd10}" for phrase in phrases if phrase.icd10]
        answer = "\n".join([f"Output: {open_ended.encode([phrase.phrase for phrase in phrases])}", *reasons])
    return "I have read the report and have nothing to list." if chance.random() < noise.garble else answer


def _wrong_phrase(truth: Truth, phrase_pool: Sequence[Phrase], chance: random.Random) -> list[Phrase]:
    """A condition that the report denies, else one of another report; none if there is neither."""
    true = {phrase.phrase.lower() for phrase in truth.phrases or ()}
    wrong = [Phrase(fold_space(denied), _UNSPECIFIC_CODE) for denied in _NEGATED.findall(truth.text)]
    for candidates in (wrong, phrase_pool):
        candidates = [phrase for phrase in candidates if phrase.phrase.lower() not in true]
        if candidates:
            return [chance.choice(candidates)]
    return []


def make_app(truths: Mapping[str, Truth], noise: Noise) -> "Starlette":
    """The server: ``/v1/chat/completions`` and Azure's path; ``/health`` tells how many calls it has answered.

    Raises:
        InputError: The server's packages are not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.requests import Request
        from starlette.responses import JSONResponse
        from starlette.routing import Route
    except ImportError:
        raise InputError("the simulated teacher needs two packages more: pip install 'radtune[teacher]'") from None
    pool = list(dict.fromkeys(phrase for truth in truths.values() for phrase in truth.phrases or ()))
    calls = 0

    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "calls": calls})

    async def complete(request: Request) -> JSONResponse:
        nonlocal calls
        calls += 1
        try:
            body = await request.json()
            message = next(m["content"] for m in reversed(body["messages"]) if m["role"] == "user")
            instruction, heading, asked = message.rpartition(_HEADING)
        except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
            return _error(JSONResponse, "no_user_message")
        truth = truths.get(fold_space(asked.strip().removesuffix("Output:")))
        if not heading or truth is None:
            return _error(JSONResponse, "unknown_report")
        task = open_ended.NAME if "ICD-10" in instruction else multiple_choice.NAME
        try:
            answer = simulated_answer(truth, task, noise, pool)
        except LookupError:
            return _error(JSONResponse, "no_gold_for_this_task")
        return JSONResponse(_completion(str(body.get("model")), message, answer))

    paths = ("/v1/chat/completions", "/openai/deployments/{deployment}/chat/completions")
    return Starlette(routes=[Route("/health", health), *(Route(path, complete, methods=["POST"]) for path in paths)])


def _error(response: type, code: str) -> Any:
    return response({"error": {"message": code.replace("_", " "), "type": "invalid_request_error", "code": code}}, 400)


def _completion(model: str, message: str, answer: str) -> dict[str, Any]:
    # Four letters a token: near enough for figures that only have to be there.
    usage = {"prompt_tokens": len(message) // 4, "completion_tokens": len(answer) // 4}
    return {
        "id": "chatcmpl-simulated",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": answer, "refusal": None}}
        ],
        "usage": {**usage, "total_tokens": sum(usage.values())},
    }


@contextmanager
def serving(app: "Starlette", port: int = 0) -> Iterator[str]:
    """Runs a server on this machine's loopback address in a thread of its own, as long as the block lasts.

    Args:
        app: The server.
        port: Its port; 0 takes a free one.

    Yields:
        Its base URL, ready for calls.

    Raises:
        InputError: The port is taken, or there is none of this number.
    """
    import uvicorn

    if not 0 <= port <= LAST_PORT:
        raise InputError(f"port {port}: a port is a number from 0 to {LAST_PORT}")
    # With the protocol named, asyncio sends answers at once; without, each waits 40 ms for an acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        raise InputError(f"port {port}: {error.strerror}") from None
    listener.listen()
    config = uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
