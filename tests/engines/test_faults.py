"""Servers that fail at every fifth call: each report gets its own answer, once, and no word of one gets out."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from loud_run import ALONE, KEY
from rough_server import KINDS, Manner, answer_to, rough_server

from radtune.engines.guard import Endpoint
from radtune.engines.limits import Limits
from radtune.engines.prompt import Prompt, Sampling
from radtune.engines.server import ServerEngine
from radtune.sources.synthetic import generate

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def texts():
    return [f"{i}. {made.report.text}" for i, made in enumerate(generate(160, seed=5))]


@pytest.fixture(scope="module")
def loud(tmp_path_factory, texts):
    """What was said and what was answered where everything went wrong with all logging on."""
    folder = tmp_path_factory.mktemp("loud")
    (folder / "reports.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    ran = subprocess.run(
        [sys.executable, "-X", "dev", ROOT / "tests" / "servers" / "loud_run.py", "reports.jsonl", "replies.jsonl"],
        cwd=folder,
        env=os.environ
        | {"PYTHONPATH": f"{ROOT}:{ROOT / 'benchmarks'}", "OPENAI_LOG": "debug", "PYTHONASYNCIODEBUG": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout + ran.stderr, [json.loads(line) for line in (folder / "replies.jsonl").read_text().splitlines()]


def shingles(text):
    """Every eight words in a row."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return {tuple(words[start : start + 8]) for start in range(len(words) - 7)}


def test_every_report_gets_its_own_answer_once_whatever_fails(loud, texts):
    said, replies = loud
    assert f"met {' '.join(sorted(['good', *KINDS]))}\n" in said
    assert sorted(text for text, *_ in replies) == sorted(texts)
    assert [(answer, error) for _, _, answer, error in replies] == [
        (answer_to(asked), None) for _, asked, *_ in replies
    ]


def test_no_word_of_a_report_gets_out_and_no_key(loud, texts):
    said, _ = loud
    # There was something to say: an exception for each kind of fault but "empty", whose ways need not be alike, and one
    # where nobody listens.
    assert said.count("5 calls in a row failed alike") >= len(ALONE)
    assert "DEBUG" in said
    assert KEY not in said
    out = shingles(said)
    assert out and not any(shingles(text) & out for text in texts)
    assert shingles(f"INFO: {texts[0]}") & shingles(texts[0])


@pytest.mark.parametrize("how", ["requests", "tokens"])
def test_a_limit_holds_at_the_server(how, texts):
    # 49 calls a second, of 200 tokens each: 136 of prompt and 64 that the answer may take.
    framed = len(Prompt("", "", "x", "llama3_chat", "").message.strip()) - 1
    prompts = [Prompt("", "", text[:100].ljust(544 - framed, "."), "llama3_chat", "") for text in texts[:100]]
    limits = Limits(32, 5.0, 0, 3_000 if how == "requests" else None, 600_000 if how == "tokens" else None)
    with rough_server(Manner(latency_s=0.02)) as server:
        engine = ServerEngine(Endpoint(server.url, "127.0.0.1"), KEY, "m", limits)
        assert len(list(engine.generate(prompts, Sampling(0.0, 64)))) == 100
        record = server.record()
    assert sum(record["tokens"]) == 100 * 200
    # A half second's worth may go at once.
    assert 1.3 <= record["arrivals"][-1] - record["arrivals"][0] <= 30


def test_the_benchmark_measures_all_parts(succeeds):
    sizes = ("minutes=0.01", "latency_s=0.01", "calls=50", "runs=1", "reports=64")
    rate, speed, ours, package, faults = succeeds("benchmarks/bench_teacher.py", *sizes).stdout.splitlines()
    assert rate.startswith("limit of 600 requests a minute: ") and rate.endswith(" 0 refused")
    assert re.match(r"[\d.]+ reports/s with 64 under way, [\d.]+ one after another: ", speed)
    assert ours.startswith("the engine: ") and package.startswith("openai, chat.completions.create: ")
    assert "64 responses to 64 reports, 64 of them the right answer" in faults
