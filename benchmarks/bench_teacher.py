"""Measures the engine of servers against a server on this machine: rate limits, throughput, CPU time, faults.

    python benchmarks/bench_teacher.py
    python benchmarks/bench_teacher.py part=rate minutes=5

`rate`: calls a minute under a limit. `speed`: calls under way at once against one after another. `cpu`: what a call
costs this process, beside what the openai package alone costs. `faults`: calls that fail in seven ways, 30 s stalls
among them. The server is the one of the tests, in a process of its own; reports are synthetic.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from rough_server import Manner, Rough, answer_to, rough_server

from radtune.command import run_command
from radtune.config import key
from radtune.engines.chat import request_body
from radtune.engines.client import open_client
from radtune.engines.guard import Endpoint
from radtune.engines.limits import Limits
from radtune.engines.prompt import Prompt, Response, Sampling
from radtune.engines.server import ServerEngine
from radtune.sources.synthetic import generate

PARTS = ("all", "rate", "speed", "cpu", "faults")
IN_FLIGHT = 64
SAMPLING = Sampling(0.0, 64)
RETRIES = 8


@dataclass
class BenchConfig:
    """Keys of this command."""

    part: str = key("What to measure.", "all", choices=PARTS)
    minutes: float = key("Length of each run of `rate`.", 2.5)
    requests_per_minute: int = key("The limit of `rate`.", 600)
    latency_s: float = key("Of the server in `rate` and `speed`.", 1.0)
    calls: int = key("Of each run of `cpu`.", 3_000)
    runs: int = key("Runs of each kind of `cpu`; the fastest counts.", 3)
    reports: int = key("Of `faults`.", 2_000)


def main(config: BenchConfig) -> None:
    """Prints the figures of each part."""
    parts = {"rate": print_rate, "speed": print_speed, "cpu": print_cpu, "faults": print_faults}
    for name, part in parts.items():
        if config.part in ("all", name):
            part(config)


def ask(server: Rough, prompts: Sequence[Prompt], limits: Limits) -> list[tuple[int, Response]]:
    """Indices of prompts with their responses, in the order in which these come."""
    return list(ServerEngine(Endpoint(server.url, "127.0.0.1"), "key", "model", limits).generate(prompts, SAMPLING))


def prompts(count: int) -> list[Prompt]:
    """Prompts as long as the paper's, each with another report."""
    instruction = "List every condition that the report names, with its ICD-10 code. " * 30
    texts = (f"{i}\n{made.report.text}" for i, made in enumerate(generate(count, seed=1)))
    return [Prompt("", instruction, text, "llama3_chat", "") for text in texts]


def most_within(arrivals: Sequence[float], seconds: float = 60.0) -> int:
    """The most arrivals that fall into any span of so many seconds."""
    return max(bisect_left(arrivals, start + seconds) - index for index, start in enumerate(arrivals))


def print_rate(config: BenchConfig) -> None:
    """Calls a minute at the server, and the most in any 60 s."""
    limit = config.requests_per_minute
    with rough_server(Manner(config.latency_s, most_a_minute=limit)) as server:
        ask(server, prompts(int(limit * config.minutes)), Limits(IN_FLIGHT, 30.0, RETRIES, limit))
        record = server.record()
    arrivals = sorted(record["arrivals"])
    steady = (len(arrivals) - 1) / (arrivals[-1] - arrivals[0]) * 60
    over = record["kinds"].get("over", 0)
    print(
        f"limit of {limit} requests a minute: {steady:.1f} a minute over {arrivals[-1] - arrivals[0]:.0f} s "
        f"({steady / limit:.1%}), at most {most_within(arrivals)} in any 60 s, {over} refused",
        flush=True,
    )


def print_speed(config: BenchConfig) -> None:
    """Reports per second, many at once and one after another."""
    asked, rates = prompts(IN_FLIGHT * 6), []
    with rough_server(Manner(config.latency_s)) as server:
        ask(server, asked[:1], Limits(1, 30.0, RETRIES))  # what a process does once
        for some, in_flight in ((asked, IN_FLIGHT), (asked[:5], 1)):
            started = time.perf_counter()
            ask(server, some, Limits(in_flight, 30.0, RETRIES))
            rates.append(len(some) / (time.perf_counter() - started))
    many, one = rates
    print(
        f"{many:.1f} reports/s with {IN_FLIGHT} under way, {one:.2f} one after another: {many / one:.1f}x", flush=True
    )


def print_cpu(config: BenchConfig) -> None:
    """Milliseconds of this process's CPU time a call takes, beside the openai package's own calls."""
    asked = prompts(config.calls)
    limits = Limits(IN_FLIGHT, 30.0, 0)
    with rough_server(Manner(0.05)) as server:
        kinds: dict[str, Callable[[], object]] = {
            "the engine": lambda: ask(server, asked, limits),
            "openai, chat.completions.create": lambda: _bare_calls(server, asked),
        }
        taken: dict[str, list[float]] = {name: [] for name in kinds}
        ask(server, asked[:100], limits)
        for _ in range(config.runs):
            for name, call in kinds.items():
                started = time.process_time()
                call()
                taken[name].append((time.process_time() - started) / len(asked) * 1000)
    for name, milliseconds in taken.items():
        shown = ", ".join(f"{value:.2f}" for value in milliseconds)
        print(f"{name}: {min(milliseconds):.2f} ms CPU a call ({shown}), {IN_FLIGHT} under way", flush=True)


def _bare_calls(server: Rough, asked: Sequence[Prompt]) -> None:
    """The same calls as the package's manual makes them, from as many threads as calls may be under way."""
    endpoint = Endpoint(server.url, "127.0.0.1")
    with open_client(endpoint, "key", 30.0) as client, ThreadPoolExecutor(IN_FLIGHT) as threads:
        bodies = [request_body(endpoint, "model", prompt.message, SAMPLING) for prompt in asked]
        list(threads.map(lambda body: client.chat.completions.create(**body), bodies))


def print_faults(config: BenchConfig) -> None:
    """Whether every report gets its own answer where a fifth of the calls fail."""
    asked = prompts(config.reports)
    with rough_server(Manner(0.1, faults=0.2, retry_after={"retry-after": "1"})) as server:
        started = time.perf_counter()
        got = ask(server, asked, Limits(IN_FLIGHT, 5.0, RETRIES))
        seconds = time.perf_counter() - started
        kinds = server.record()["kinds"]
    own = sum(response.text == answer_to(asked[index].message) for index, response in got)
    print(
        f"{len(asked):,} reports, {sum(kinds.values()):,} calls ({', '.join(f'{n} {k}' for k, n in kinds.items())}): "
        f"{len(got):,} responses to {len(dict(got)):,} reports, {own:,} of them the right answer, in {seconds:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    run_command(main, BenchConfig)
