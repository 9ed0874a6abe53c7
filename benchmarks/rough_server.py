"""A chat completions server in a process of its own that is slow, strict or broken as asked, and keeps a record.

Everything it says beside good answers quotes the report, as careless servers do.
"""

import asyncio
import hashlib
import http.client
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

KINDS = ("429", "500", "503", "malformed", "empty", "cut", "stall")


@dataclass(frozen=True)
class Manner:
    """How it answers.

    Attributes:
        latency_s: Seconds until it does.
        faults: Share of calls that meet a fault of a random kind.
        kinds: Those kinds: of :data:`KINDS`, or any HTTP status.
        retry_after: Headers of a 429, or of a call over the limit.
        stall_s: Seconds that a stalled call hangs.
        most_a_minute: Calls granted in any 60 s; those beyond are refused.
        seed: Draws the faults.
    """

    latency_s: float = 0.0
    faults: float = 0.0
    kinds: tuple[str, ...] = KINDS
    retry_after: dict[str, str] = field(default_factory=lambda: {"retry-after-ms": "50"})
    stall_s: float = 30.0
    most_a_minute: int | None = None
    seed: int = 1


@dataclass(frozen=True)
class Rough:
    """A running server."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def record(self) -> dict[str, Any]:
        """``arrivals`` in seconds, their ``tokens``, and ``kinds``, a count of what was answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", "/record", headers={"content-length": "0"})
        try:
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


@contextmanager
def rough_server(manner: Manner) -> Iterator[Rough]:
    """Serves as long as the block lasts."""
    command = [sys.executable, __file__, json.dumps(asdict(manner))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Rough(int(process.stdout.readline()))
        finally:
            process.kill()


def answer_to(message: str) -> str:
    """What a message is answered with: an answer belongs to one question alone."""
    return f"Output: ['{hashlib.sha256(message.encode()).hexdigest()}']"


@dataclass
class Record:
    """What all connections have seen."""

    arrivals: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, manner: Manner, record: Record, chance: random.Random) -> None:
        self.manner, self.record, self.chance = manner, record, chance

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0) if found else 0
        if not found or len(rest) < length:
            return
        self.buffer = rest[length:]
        if head.startswith(b"GET"):
            self.send(200, vars(self.record))
        else:
            self.answer(json.loads(rest[:length]))

    def answer(self, body: dict[str, Any]) -> None:
        now, message = time.monotonic(), body["messages"][0]["content"]
        usage = {"prompt_tokens": len(message) // 4, "completion_tokens": 20}
        arrivals = self.record.arrivals
        arrivals.append(now)
        self.record.tokens.append(usage["prompt_tokens"] + body.get("max_tokens", 20))
        kind = self.chance.choice(self.manner.kinds) if self.chance.random() < self.manner.faults else "good"
        most = self.manner.most_a_minute
        if most is not None and len(arrivals) > most and now - arrivals[-most - 1] < 60:
            kind = "over"
        self.record.kinds[kind] += 1
        delay = self.manner.stall_s if kind == "stall" else self.manner.latency_s
        asyncio.get_running_loop().call_later(delay, self.reply, kind, message, usage)

    def reply(self, kind: str, message: str, usage: dict[str, int]) -> None:
        choice = {"message": {"role": "assistant", "content": answer_to(message)}, "finish_reason": "stop"}
        whole = {"model": "rough-1", "system_fingerprint": "fp_1", "choices": [choice], "usage": usage}
        error = {"message": f"cannot read: {message}", "type": message, "code": message[:60], "param": message}
        if kind in ("good", "stall"):
            self.send(200, whole)
        elif kind == "cut":
            # In the middle of a word, or before the first.
            if self.chance.random() < 0.5:
                self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n" + message[:200].encode())
            self.transport.abort()
        elif kind == "malformed":
            self.send(200, f'{{"choices": [{{"message": {message}')
        elif kind == "empty":
            empty = [[{}], [{"message": {"content": None}, "finish_reason": "stop"}]]
            self.send(200, whole | {"choices": self.chance.choice(empty)})
        else:
            over = kind in ("429", "over")
            self.send(429 if over else int(kind), {"error": error}, self.manner.retry_after if over else {}, message)

    def send(self, status: int, body: Any, headers: dict[str, str] | None = None, quoted: str = "") -> None:
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        lines = {
            "content-type": "application/json",
            "content-length": len(content),
            "x-request-id": " ".join(quoted.split()[-20:]),
            **(headers or {}),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.transport.write(f"HTTP/1.1 {status} Rough\r\n{head}\r\n".encode() + content)


async def main(settings: str) -> None:
    """Serves until killed."""
    manner, record = Manner(**json.loads(settings)), Record()
    chance = random.Random(manner.seed)  # noqa: S311  (no secret)
    serve = asyncio.get_running_loop().create_server
    server = await serve(lambda: Connection(manner, record, chance), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
