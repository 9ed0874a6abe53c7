r"""Answers like a chat model would, from known truth and with stated noise, on this machine alone.

    python scripts/simulated_teacher.py task=open_ended reports=reports.jsonl gold=gold_phrases.jsonl command="\
        python gpt_data_generate.py reports=reports.jsonl output=annotations.jsonl"

Runs the command with OPENAI_BASE_URL and OPENAI_API_KEY set, and ends with its exit code.
"""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)
import os
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radtune.command import end_with_parent, run_command
from radtune.config import InputError, key
from radtune.label_files import joined_to, read_labels, respell
from radtune.labels import Phrase, Status
from radtune.sources.table import reports_of
from radtune.tasks import Task, load_task, text_of
from radtune.tasks.lists import fold_space

if TYPE_CHECKING:
    from starlette.applications import Starlette

# Time that a command has to end by itself before it is killed.
_GRACE_S = 10.0
# A signal that comes just as a wait begins is noticed only when it ends.
_LOOK_S = 0.5
_HEADING = "Report to Analyze:"
# A condition that a report says is not there: what a careless reader would list.
_NEGATED = re.compile(
    r"\b(?:no|without)\s+(?:evidence\s+of\s+)?((?:[a-z-]+\s){0,2}?[a-z-]{5,})(?=[.,;]|\s(?:or|and|is|are)\b)",
    re.IGNORECASE,
)
# "Other nonspecific abnormal finding of lung field": the code of a phrase that nobody coded.
_UNSPECIFIC_CODE = "R91.8"


@dataclass
class SimulatedTeacherConfig:
    """Keys of this command."""

    task: str = key("What it is asked: a task's name, or a path of a task file.")
    reports: Path = key("Reports that it will be asked about.")
    gold: Path = key("The truth about them: whatever file has the task's labels.")
    seed: int = key("Decides its errors, with the report and the task.", 0)
    drop: float = key("Probability that a true label is left out.", 0.05, ge=0, le=1)
    add: float = key("Probability that an answer holds a wrong label more.", 0.05, ge=0, le=1)
    shared_errors: bool = key("All samples of a report err alike; false: each anew, by the seed of its request.", True)
    command: str = key("What to run with it, without a shell.")


@dataclass(frozen=True)
class Noise:
    """How the teacher errs; as the keys of the same names."""

    drop: float = 0.0
    add: float = 0.0
    seed: int = 0
    shared: bool = True


@dataclass(frozen=True)
class Truth:
    """What is true of a report: its labels, with their codes where they have any."""

    report_id: str
    text: str
    labels: tuple[Phrase, ...]


def main(config: SimulatedTeacherConfig) -> None:
    """Serves for a command."""
    task = load_task(config.task)
    noise = Noise(config.drop, config.add, config.seed, config.shared_errors)
    app = make_app(task, read_truths(task, config.reports, config.gold), noise)
    with serving(app) as url:
        sys.exit(_run(config.command, url))


def read_truths(task: Task, reports: Path, gold: Path) -> dict[str, Truth]:
    """Reads what the teacher knows, by what the task reads of a report, white space folded.

    Raises:
        InputError: A file cannot be read, or none of the reports has gold.
    """
    read = [*reports_of(reports)]
    given, _ = respell(task, read_labels(gold, task), slips=False)
    answers = joined_to(given, [report.report_id for report in read])[0].answers
    truths = {}
    for report in read:
        answer = answers.get(report.report_id)
        if answer is not None and answer.status == Status.OK:
            named = answer.phrases or tuple(map(Phrase, answer.labels))
            known, _ = task.known([label.phrase for label in named])
            labels = tuple(Phrase(label.phrase, label.icd10) for label in named if label.phrase in known)
            text = text_of(task, report)
            truths[fold_space(text)] = Truth(report.report_id, text, labels)
    if not truths:
        raise InputError(f"{gold}: no labels of any report in {reports}")
    return truths


def simulated_answer(task: Task, truth: Truth, noise: Noise, pool: Sequence[Phrase], sample: object = None) -> str:
    """What the teacher says about a report; wrong phrases may come from a pool of them.

    ``sample`` tells the answers about a report apart, whose errors are their own unless all are shared.
    """
    own = "" if noise.shared else f":{sample}"
    chance = random.Random(f"{noise.seed}:{task.name}:{truth.report_id}{own}")  # noqa: S311  (no secret)
    labels = [label for label in truth.labels if chance.random() >= noise.drop]
    if chance.random() < noise.add:
        labels += _wrong_label(task, truth, pool, chance)
    opening = "The diseases are:" if task.classes else "Output:"
    reasons = [f"- {label.phrase}: {label.icd10}" for label in labels if label.icd10]
    return "\n".join([f"{opening} {task.encode([label.phrase for label in labels])}", *reasons])


def _wrong_label(task: Task, truth: Truth, pool: Sequence[Phrase], chance: random.Random) -> list[Phrase]:
    """Another class, or a condition that the report denies, else one of another report; none if there is none."""
    true = {label.phrase.lower() for label in truth.labels}
    others = [Phrase(name) for name in task.classes if name.lower() not in true]
    if others:
        return chance.sample(others, 1)
    denied = [Phrase(fold_space(words), _UNSPECIFIC_CODE) for words in _NEGATED.findall(truth.text)]
    for candidates in () if task.classes else (denied, pool):
        candidates = [phrase for phrase in candidates if phrase.phrase.lower() not in true]
        if candidates:
            return [chance.choice(candidates)]
    return []


def make_app(task: Task, truths: Mapping[str, Truth], noise: Noise) -> "Starlette":
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
    pool = list(dict.fromkeys(label for truth in truths.values() for label in truth.labels))
    calls = 0

    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "calls": calls})

    async def complete(request: Request) -> JSONResponse:
        nonlocal calls
        calls += 1
        try:
            body = await request.json()
            message = next(m["content"] for m in reversed(body["messages"]) if m["role"] == "user")
            _, heading, asked = message.rpartition(_HEADING)
        except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
            return _error(JSONResponse, "no_user_message")
        # Asked once more, a complaint stands behind the report; it may hold an "Output:" of its own.
        truth = truths.get(fold_space(asked.partition("\n\nOutput:")[0]))
        if not heading or truth is None:
            return _error(JSONResponse, "unknown_report")
        answer = simulated_answer(task, truth, noise, pool, body.get("seed"))
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
def serving(app: "Starlette") -> Iterator[str]:
    """Runs a server on this machine's loopback address in a thread of its own, as long as the block lasts.

    Yields:
        Its base URL, ready for calls.
    """
    import uvicorn

    # With the protocol named, asyncio sends answers at once; without, each waits 40 ms for an acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
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


def _run(command: str, url: str) -> int:
    """Runs a command against the server and returns its exit code; whatever happens, nothing of it is left running."""
    environment = {**os.environ, "OPENAI_BASE_URL": url, "OPENAI_API_KEY": "simulated"}
    try:
        # A session of its own, so that what the command starts can be stopped with it.
        # Left alone it would hold its output's lock, and the next start would be refused.
        ends = end_with_parent(os.getpid(), signal.SIGKILL)
        child = subprocess.Popen(shlex.split(command), env=environment, start_new_session=True, preexec_fn=ends)
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"command: {getattr(error, 'strerror', None) or error}") from None
    try:
        while (code := child.poll()) is None:
            with suppress(subprocess.TimeoutExpired):
                child.wait(_LOOK_S)
    except KeyboardInterrupt:
        os.killpg(child.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE_S)
        raise
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    # As a shell reports a death by signal.
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    run_command(main, SimulatedTeacherConfig)
