"""A server of chat completions that breaks HTTP, JSON or manners in one way, byte by byte; a process of its own."""

import gzip
import hashlib
import json
import multiprocessing
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# The bytes to send for a message, piece by piece; the connection is closed where they end in None.
Reply = Callable[[str], Iterator[bytes | None]]
STEERING = "\x1b]0;title\x07\x1b[2J\u202e"


def completion(message: str, content: str | None = None, **more: Any) -> dict[str, Any]:
    """A good body; its answer belongs to one message alone."""
    mine = content or f"['{hashlib.sha256(message.encode()).hexdigest()[:24]}']"
    choice = {"message": {"role": "assistant", "content": mine}, "finish_reason": "stop"}
    return {"model": "raw-1", "choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 5}, **more}


def response(body: Any, *headers: str, status: int = 200, length: int | None = None) -> bytes:
    """A response with its head."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        "content-type: application/json",
        *headers,
        f"content-length: {len(content) if length is None else length}",
    ]
    return f"HTTP/1.1 {status} Raw\r\n".encode() + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + content


def _once(make: Callable[[str], bytes], close: bool = False) -> Reply:
    def reply(message: str) -> Iterator[bytes | None]:
        yield make(message)
        if close:
            yield None

    return reply


def _endless(piece: bytes, pause_s: float = 0.0, head: bytes = b"") -> Reply:
    def reply(message: str) -> Iterator[bytes | None]:
        yield head
        while True:
            yield piece
            time.sleep(pause_s)

    return reply


def _error(status: int, *headers: str) -> Reply:
    def make(message: str) -> bytes:
        body = {"error": {"message": f"no: {message}", "code": message[-60:], "type": message, "param": message}}
        return response(body, *headers, status=status)

    return _once(make)


_HEAD = b"HTTP/1.1 200 Raw\r\ncontent-type: application/json\r\n"
_BOMB = gzip.compress(bytes(400 * 2**20), 9)
GOOD = {"good": _once(lambda message: response(completion(message)))}
MODES: dict[str, Reply] = {
    "a page": _once(lambda message: response(f"<html>{message}</html>".encode())),
    "no choices": _once(lambda message: response({"choices": []})),
    "half of JSON": _once(lambda message: response(f'{{"choices": [{{"message": {message}'.encode())),
    "cut off": _once(lambda message: response(completion(message), length=9999), close=True),
    "a length too short": _once(lambda message: response(completion(message), length=60)),
    "two lengths": _once(lambda message: response(completion(message), "content-length: 5")),
    "a second response behind the first": _once(
        lambda message: response(completion(message)) + response(completion("another", "['Edema']"))
    ),
    "no head": _once(lambda message: json.dumps(completion(message)).encode(), close=True),
    "no answer": _once(lambda message: b"", close=True),
    "no end": _endless(b"100000\r\n" + b" " * 0x100000 + b"\r\n", head=_HEAD + b"transfer-encoding: chunked\r\n\r\n"),
    "drops": _endless(b" ", 0.3, _HEAD + b"content-length: 100000\r\n\r\n"),
    "a head without end": _endless(b"x-ratelimit: " + b"b" * 10_000 + b"\r\n", head=b"HTTP/1.1 200 Raw\r\n"),
    "packed zeros": _once(lambda message: response(_BOMB, "content-encoding: gzip")),
    "deep JSON": _once(lambda message: response(b'{"choices":' + b"[" * 200_000 + b"]" * 200_000 + b"}")),
    "a key twice": _once(
        lambda message: response(json.dumps(completion(message)).replace("}", ', "choices": []}', 1).encode())
    ),
    "no numbers": _once(
        lambda message: response(
            json.dumps(completion(message)).replace(": 9,", ": NaN,").replace(": 5", ": -1e999").encode()
        )
    ),
    "a number without end": _once(
        lambda message: response(json.dumps(completion(message)).replace(": 9,", f": {'9' * 5000},").encode())
    ),
    "not UTF-8": _once(lambda message: response(b"\xff\xfe" + json.dumps(completion(message)).encode())),
    "half a surrogate pair": _once(
        lambda message: response(json.dumps(completion(message)).replace("raw-1", "\\ud800").encode())
    ),
    "an answer that steers the terminal": _once(
        lambda message: response(completion(message, f"['{STEERING}']", system_fingerprint=STEERING))
    ),
    "a long answer": _once(lambda message: response(completion(message, "['" + "a" * 2_000_000 + "']"))),
    "events": _once(lambda message: response(f"data: {json.dumps(completion(message))}\n\ndata: [DONE]\n\n".encode())),
    "chunks cut off": _once(
        lambda message: _HEAD + b"transfer-encoding: chunked\r\n\r\n90\r\n" + json.dumps(completion(message)).encode(),
        close=True,
    ),
    "broken off": _once(lambda message: response(json.dumps(completion(message)).replace("stop", "error").encode())),
    "another place": _error(307, "location: http://127.0.0.1:9/v1/chat/completions"),
    "wait for ever": _error(429, "retry-after: 1000000000"),
    "wait for less than nothing": _error(429, "retry-after: -5", "retry-after-ms: nan"),
    "refuses": _error(400),
    "fails": _error(500),
}


@contextmanager
def raw_server(
    mode: str, heard: Path | None = None, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """Serves in one way as long as the block lasts, and gives its URL; messages go to a file, a JSON text a line."""
    family, host = (socket.AF_INET6, f"[{address}]") if ":" in address else (socket.AF_INET, address)
    listening = socket.create_server((address, 0), family=family, backlog=64)
    arguments = (listening, (GOOD | MODES)[mode], heard, tls)
    process = multiprocessing.get_context("fork").Process(target=_serve, args=arguments)
    process.start()
    try:
        yield f"http{'s' * bool(tls)}://{host}:{listening.getsockname()[1]}/v1"
    finally:
        process.kill()
        process.join()
        listening.close()


def _serve(listening: socket.socket, reply: Reply, heard: Path | None, tls: ssl.SSLContext | None) -> None:
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=_talk, args=(connection, reply, heard, tls), daemon=True).start()


def _talk(plain: socket.socket, reply: Reply, heard: Path | None, tls: ssl.SSLContext | None) -> None:
    with suppress(OSError, ValueError, KeyError), tls.wrap_socket(plain, True) if tls else plain as connection:
        stream = connection.makefile("rb")
        while line := stream.readline():
            length, is_post = 0, line.startswith(b"POST")
            while (line := stream.readline()).strip():
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            body = stream.read(length)
            if not is_post:
                connection.sendall(response({"data": []}))
                continue
            message = json.loads(body)["messages"][-1]["content"]
            if heard is not None:
                with heard.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(message, ensure_ascii=False) + "\n")
            for piece in reply(message):
                if piece is None:
                    return
                connection.sendall(piece)
