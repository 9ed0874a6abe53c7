"""Runs the engine through every kind of trouble with all logging on, as a process of its own.

    python loud_run.py REPORTS.jsonl REPLIES.jsonl

Replies to the reports of the first run go to the file; whatever else anything has to say goes to stdout and stderr.
"""

import json
import logging
import sys
import traceback
from pathlib import Path

from rough_server import Manner, rough_server

from radtune.config import InputError
from radtune.engines.guard import Endpoint
from radtune.engines.limits import Limits
from radtune.engines.prompt import Prompt, Sampling
from radtune.engines.server import ServerEngine

KEY = "sk-zebra-0123456789"
# Each kind of fault alone, at every call.
ALONE = ("429", "500", "503", "malformed", "empty", "cut", "stall", "401", "400", "307")
CHATTY = ("openai._base_client", "httpx2", "httpcore2", "httpcore2.connection", "httpcore2.http11", "asyncio")


def ask(url: str, texts: list[str], limits: Limits, schema: dict | None = None):
    """Messages with their responses, and every logger at its loudest."""
    prompts = [Prompt("r", "", text, "llama3_chat", "") for text in texts]
    engine = ServerEngine(Endpoint(url, "127.0.0.1"), KEY, "m", limits)
    for number, (index, response) in enumerate(engine.generate(prompts, Sampling(0.0, 64, schema=schema))):
        if number == 0:
            for name in CHATTY:
                logging.getLogger(name).setLevel(logging.DEBUG)
        yield texts[index], prompts[index].message.strip(), response


def try_in_vain(url: str, texts: list[str]) -> None:
    """Shows the exception that ends a run, with all that led to it."""
    try:
        list(ask(url, texts[:20], Limits(8, 1.0, 0), {"name": "answer", "schema": {}}))
    except InputError:
        traceback.print_exc()


def main(reports: Path, replies: Path) -> None:
    """Faults here and there, then nothing but faults, then nobody, then an end in the middle."""
    logging.basicConfig(level=logging.DEBUG)
    logging.captureWarnings(True)
    logging.debug("all of this is heard")
    texts = [json.loads(line)["text"] for line in reports.read_text().splitlines()]
    with rough_server(Manner(faults=0.2)) as server, replies.open("w") as file:
        for text, message, reply in ask(server.url, texts, Limits(16, 3.0, 8)):
            file.write(json.dumps([text, message, reply.text, reply.error]) + "\n")
        print("met", *sorted(server.record()["kinds"]))
    try_in_vain("http://127.0.0.1:1/v1", texts)
    for kind in ALONE:
        with rough_server(Manner(faults=1.0, kinds=(kind,))) as server:
            try_in_vain(server.url, texts)
    with rough_server(Manner(latency_s=0.05)) as server:
        unfinished = ask(server.url, texts[:50], Limits(8, 5.0, 0))
        next(unfinished)
        unfinished.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
