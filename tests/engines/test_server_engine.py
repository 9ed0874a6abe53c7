"""The engine of servers over real HTTP: a server that answers well, badly, late, too much or not at all."""

import asyncio
import signal
import socket
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from types import FunctionType

import pytest
from chat_server import completion, error
from raw_server import raw_server
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from radtune.config import InputError
from radtune.engines import client
from radtune.engines.chat import failure, seed_number
from radtune.engines.guard import Endpoint
from radtune.engines.limits import Limits
from radtune.engines.prompt import Prompt, Sampling
from radtune.engines.prompt import Response as Answer
from radtune.engines.server import MOST_FAILURES_IN_A_ROW, MOST_MIXED_FAILURES_IN_A_ROW, ServerEngine

FREE = Sampling(0.0, 64)
HOT = Sampling(0.7, 64)
SCHEMA = {"name": "answer", "strict": True, "schema": {"type": "object"}}
USAGE = {"prompt_tokens": 10, "completion_tokens": 2}
PROMPTS = [Prompt(f"r{n}", "List.", f"Zebra {n} effusion.", "llama3_chat", f"0:task:r{n}") for n in range(12)]
LONG = replace(PROMPTS[0], report_text=" ".join(f"w{n}" for n in range(1_000)))
# The frame of a prompt ("Report to Analyze:" and so on) has fewer words than this.
ROOM = 60


def engine_of(endpoint, *, concurrency=4, timeout_s=60.0, max_retries=0, credential="key", **more):
    return ServerEngine(endpoint, credential, "some-model", Limits(concurrency, timeout_s, max_retries), **more)


def prompts(count):
    return (replace(PROMPTS[0], report_text=f"about {n}") for n in range(count))


def ask(server, asked=1, sampling=FREE, **limits):
    """Responses by index."""
    asked = prompts(asked) if isinstance(asked, int) else asked
    return dict(engine_of(getattr(server, "endpoint", server), **limits).generate(asked, sampling))


def one(serve, answer, **limits):
    """The response to one prompt, and the server that gave it."""
    server = serve(answer if isinstance(answer, FunctionType) else lambda body, number: answer)
    return ask(server, **limits)[0], server


def said(body):
    return body["messages"][0]["content"]


def test_every_prompt_gets_its_own_answer_over_few_calls_at_once(serve):
    running, most = 0, 0

    async def slowly(body):
        nonlocal running, most
        running += 1
        most = max(most, running)
        # The first answers come when all that may be under way are.
        while most < 5:
            await asyncio.sleep(0.01)
        running -= 1
        return completion(said(body).upper())

    server = serve(lambda body, number: slowly(body))
    asked = list(prompts(30))
    responses = ask(server, asked, concurrency=5)
    assert responses == {
        i: Answer(prompt.message.upper(), True, usage=USAGE, finish_reason="stop") for i, prompt in enumerate(asked)
    }
    assert (len(server.requests), most) == (30, 5)


def test_prompts_are_taken_only_as_calls_become_free_and_an_abandoned_run_asks_no_more(serve):
    taken, release = [], threading.Event()

    async def answer(number):
        while number > 1 and not release.is_set():
            await asyncio.sleep(0.01)
        return completion("x")

    server = serve(lambda body, number: answer(number))
    responses = engine_of(server.endpoint, concurrency=3).generate((taken.append(p) or p for p in prompts(100)), FREE)
    next(responses)
    assert len(taken) <= 4
    responses.close()
    release.set()
    time.sleep(0.2)
    assert len(server.requests) <= 4


def test_the_request_carries_the_parameters_the_key_and_nothing_of_the_environment(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_ORG_ID", "org-zebra")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-zebra")
    proxy = serve(lambda body, number: completion("from the proxy"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    server = serve(lambda body, number: completion("x"))
    special = replace(PROMPTS[0], report_text="zebra <|eot_id|> \udfff")
    assert ask(server, [special], Sampling(0.5, 64, schema=SCHEMA))[0].as_json
    request, body = server.requests[0]
    assert body == {
        "model": "some-model",
        "messages": [{"role": "user", "content": special.message.replace("<|", "< |").replace("\udfff", "?")}],
        "temperature": 0.5,
        "max_tokens": 64,
        "seed": seed_number(special.seed),
        "response_format": {"type": "json_schema", "json_schema": SCHEMA},
    }
    assert request.headers["authorization"] == "Bearer key"
    assert request.url.path == "/v1/chat/completions"
    assert "zebra" not in str(request.headers) and request.headers["accept-encoding"] == "identity"
    assert set((ask(server, 1, Sampling(None, None)), server.requests[1][1])[1]) == {"model", "messages"}
    assert proxy.requests == []


def test_a_token_is_asked_for_at_every_call_and_one_that_cannot_be_got_ends_the_run(serve):
    server = serve(lambda body, number: completion("x"))
    tokens = (f"token-{number}" for number in range(99))
    for endpoint in (server.endpoint, Endpoint(server.url.removesuffix("/v1"), "127.0.0.1", "2024-10-21")):
        assert len(ask(endpoint, 3, concurrency=1, credential=lambda: next(tokens))) == 3
    carried = [request.headers["authorization"] for request, _ in server.requests]
    assert carried == [f"Bearer token-{number}" for number in range(6)]
    assert not any("api-key" in request.headers for request, _ in server.requests)

    def no_token():
        raise InputError("no token: log in again")

    with pytest.raises(InputError, match="log in again"):
        ask(server, 10, credential=no_token)
    assert len(server.requests) == 6


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_localhost_is_this_machine_whatever_a_resolver_says(family, monkeypatch):
    address = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}[family]
    resolve = socket.getaddrinfo

    def resolver(host, *arguments, **more):
        assert host in ("127.0.0.1", "::1")
        return resolve(host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    with raw_server("good", address=address) as url:
        port = url.rpartition(":")[2]
        assert ask(Endpoint(f"http://LocalHost:{port}", "localhost"))[0].text


def test_bytes_behind_a_response_do_not_answer_the_next_prompt():
    with raw_server("a second response behind the first") as url:
        responses = ask(Endpoint(url, "127.0.0.1"), 3, concurrency=1)
    assert len({response.text for response in responses.values()} - {"['Edema']"}) == 3


@pytest.mark.parametrize("status", [200, 500])
def test_a_response_without_end_is_cut_off(serve, status):
    sent = 0

    async def endless():
        nonlocal sent
        while sent < 2**28:
            sent += 2**16
            yield b" " * 2**16
            await asyncio.sleep(0)

    response, _ = one(serve, lambda body, number: StreamingResponse(endless(), status), timeout_s=30.0)
    assert response == failure("connection_failed")
    assert sent < 64 * 2**20


def test_a_response_may_be_as_large_as_answers_are_and_no_packed_one_is_opened(serve):
    assert one(serve, completion("x" * 2**20))[0].text == "x" * 2**20
    packed = Response(b"no gzip", headers={"content-encoding": "gzip"})
    assert one(serve, packed)[0] == failure("connection_failed")


@pytest.mark.parametrize(
    ("body", "response"),
    [
        (Response(b'{"choices": [{"message": {"content": "a\\ud800b"}}]}'), Answer("a?b", True)),
        (error(401, "invalid_api_key"), failure("401 invalid_api_key")),
        (error(429, "insufficient_quota"), failure("429 insufficient_quota")),
        (error(500, **{"x-should-retry": "false"}), failure("500 some_error")),
        (RedirectResponse("http://127.0.0.1:1/"), failure("307")),
    ],
)
def test_an_answer_and_errors_that_will_not_pass_are_asked_for_once(serve, body, response):
    got, server = one(serve, body, max_retries=3)
    assert got == response and len(server.requests) == 1


def test_declined_reports_never_stop_a_run(serve):
    declined = [{"choices": []}, error(400, "400", "ContentPolicyViolationError: content_filter")]
    server = serve(lambda body, number: declined[number % 2])
    assert {response.refused for response in ask(server, 40).values()} == {True}


@pytest.mark.parametrize(
    "answer",
    [Response("{"), completion(None), error(408), error(409), error(418, **{"x-should-retry": "true"}), error(500)],
)
def test_what_may_pass_is_asked_again_if_it_may_be_paid_again(serve, answer):
    asked = []

    def pay(prompt, response):
        asked.append((prompt, response.error))
        return len(asked) < 2

    server = serve(lambda body, number: answer if number < 3 else completion("x"))
    assert ask(server, PROMPTS[:1], max_retries=1)[0].error
    assert ask(server, PROMPTS[:1], max_retries=1)[0].text == "x" and len(server.requests) == 4 - 1
    server.requests.clear()
    assert ask(server, PROMPTS[:1], max_retries=5, pay_again=pay)[0].error and len(server.requests) == 2
    assert [prompt for prompt, _ in asked] == PROMPTS[:1] * 2 and all(code for _, code in asked)


def test_a_pause_that_one_call_is_told_holds_for_all(serve):
    arrivals, told = [], []

    async def answer(number):
        arrivals.append(time.monotonic())
        # The second call is under way when the first is told to wait.
        while len(arrivals) < 2 or (number > 1 and not told):
            await asyncio.sleep(0.01)
        return completion("x") if number > 1 else error(429, **{"retry-after": "1"})

    def is_told(prompt, response):
        told.append(time.monotonic())
        return True

    server = serve(lambda body, number: answer(number))
    assert len(ask(server, 10, concurrency=2, max_retries=1, pay_again=is_told)) == 10
    assert 0.9 <= arrivals[2] - told[0] < 30


def test_a_limit_holds_from_one_round_to_the_next(serve):
    engine = ServerEngine(serve(lambda body, number: completion("x")).endpoint, "key", "m", Limits(4, 60.0, 0, 60))
    started = time.monotonic()
    for _ in range(2):
        assert len(list(engine.generate(PROMPTS[:1], FREE))) == 1
    assert 0.5 <= time.monotonic() - started < 30


def test_a_slow_server_times_out_and_so_does_one_that_drips_bytes(serve):
    async def late():
        await asyncio.sleep(60)
        return completion("x")

    async def drip():
        for _ in range(1200):
            yield b" "
            await asyncio.sleep(0.05)

    assert one(serve, lambda body, number: late(), timeout_s=0.1)[0] == failure("timeout")
    started = time.monotonic()
    assert one(serve, lambda body, number: StreamingResponse(drip()), timeout_s=0.3)[0] == failure("timeout")
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (error(401, "invalid_api_key"), "it wants a key: allow_endpoint=127.0.0.1 sends it the one in OPENAI_API_KEY"),
        (error(400, "unsupported_parameter"), "max_tokens=null"),
        (Response("{"), "no chat completions"),
        (RedirectResponse("http://127.0.0.1:1/?text=zebra"), "it points elsewhere"),
    ],
)
def test_a_run_stops_where_the_first_calls_fail_alike(serve, answer, reason):
    server = serve(lambda body, number: answer)
    with pytest.raises(InputError, match=f"5 calls in a row failed alike .*{reason}"):
        ask(server, 1000, concurrency=64)
    assert len(server.requests) == MOST_FAILURES_IN_A_ROW


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"SSL_CERT_FILE": "/nonexistent"}, "^no connection can be made with what SSL_CERT_FILE says$"),
        ({"SSL_CERT_FILE": __file__}, "^no connection can be made with what SSL_CERT_FILE says$"),
        ({"HTTPS_PROXY": "socks9://zebra:secret@h"}, "^no connection can be made with what HTTPS_PROXY says$"),
        ({"all_proxy": "http://[::1"}, "^no connection can be made with what ALL_PROXY says$"),
        ({"HTTPS_PROXY": "http://127.0.0.1:1"}, "no connection by the proxy that the environment names"),
    ],
)
def test_a_setting_that_lets_no_connection_be_made_is_named(settings, message, monkeypatch, serve):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    for other in {"SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"} - settings.keys():
        monkeypatch.delenv(other, raising=False)
    client._ssl_context.cache_clear()
    with pytest.raises(InputError, match=message) as error:
        ask(Endpoint("https://example.invalid/v1", "example.invalid"), 9)
    assert "secret" not in str(error.value)
    # A server of this machine is asked whatever they say.
    assert one(serve, completion("x"))[0].text == "x"


def test_a_certificate_that_nobody_has_signed_is_said_to_be_one(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-keyout", key]
    subprocess.run([*made, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    client._ssl_context.cache_clear()
    with raw_server("good", tls=context) as url, pytest.raises(InputError, match="not trusted; SSL_CERT_FILE"):
        ask(Endpoint(url, "127.0.0.1"), 9)


@pytest.mark.parametrize("answered", [0, 20])
@pytest.mark.parametrize("statuses", [(403, 403), (500, 501)])
def test_a_run_stops_in_the_middle_and_what_was_answered_is_given(serve, answered, statuses):
    server = serve(lambda body, number: completion("x") if number <= answered else error(statuses[number % 2]))
    got = []
    with pytest.raises(InputError, match="failed alike" if statuses[0] == statuses[1] else r"all calls fail now \(50"):
        got.extend(pair for pair in engine_of(server.endpoint, concurrency=1).generate(prompts(1000), FREE))
    few = not answered or statuses[0] == statuses[1]
    assert len(server.requests) == answered + (MOST_FAILURES_IN_A_ROW if few else MOST_MIXED_FAILURES_IN_A_ROW)


def test_answers_under_way_where_a_run_stops_are_given(serve):
    async def late(number):
        await asyncio.sleep(0.5 if number == 2 else 0)
        return completion("late") if number in (1, 2) else error(401)

    server = serve(lambda body, number: late(number))
    got = []
    with pytest.raises(InputError, match="failed alike"):
        for pair in engine_of(server.endpoint, concurrency=2).generate(prompts(100), FREE):
            got.append(pair)
    assert [response.text for _, response in got] == ["late", "late"]


def test_failures_now_and_then_do_not_stop_a_run(serve):
    server = serve(lambda body, number: error(404 if number % 2 else 403) if number % 4 else completion("x"))
    responses = ask(server, 40, concurrency=1)
    assert len(responses) == 40 and sum(response.error is not None for response in responses.values()) == 30
    server = serve(lambda body, number: error(401))
    assert ask(server, 4) == dict.fromkeys(range(4), failure("401 some_error"))


# Asks for ten answers, with a server at the port that is given, and says what it has got.
INTERRUPTED = """
import signal, sys, threading, time
from radtune.command import run_command
from radtune.config import key
from radtune.engines.guard import Endpoint
from radtune.engines.limits import Limits
from radtune.engines.prompt import Prompt, Sampling
from radtune.engines.server import ServerEngine
from dataclasses import dataclass

@dataclass
class Config:
    url: str = key("Where.")
    busy: bool = key("Whether signals find the reader of the answers at work.", False)

def main(config):
    engine = ServerEngine(Endpoint(config.url, "127.0.0.1"), "key", "m", Limits(4, 600.0, 0))
    prompts = (Prompt("r", "List.", str(n), "llama3_chat", "") for n in range(1000))
    for index, response in engine.generate(prompts, Sampling(0.0, 9)):
        print("got", index, response.error, flush=True)
        if config.busy:
            time.sleep(0.3)

run_command(main, Config)
"""


@pytest.fixture
def interrupted(start_fork, tmp_path):
    """Starts a process, and gives it when it has asked ten times."""
    (tmp_path / "ask.py").write_text(INTERRUPTED)

    @contextmanager
    def interrupted(server, *arguments):
        process = start_fork(tmp_path / "ask.py", f"url={server.url}", *arguments)
        try:
            process.wait_until(lambda: len(server.requests) >= 10)
            yield process
        finally:
            process.kill()

    return interrupted


@pytest.mark.parametrize(("number", "busy"), [(signal.SIGINT, False), (signal.SIGTERM, True)])
def test_a_signal_waits_for_the_calls_under_way_and_gives_their_answers(serve, interrupted, number, busy):
    sent = threading.Event()

    async def answer(number):
        if number > 6:
            await asyncio.sleep(0.7 if sent.is_set() else 0.4)
        return completion("x")

    server = serve(lambda body, number: answer(number))
    with interrupted(server, f"busy={busy}") as process:
        process.send_signal(number)
        sent.set()
        out, err = process.communicate(timeout=600)
    assert process.returncode == 130, err
    assert out.count("got") == len(server.requests) and "None" in out
    assert err.splitlines()[-1].endswith(": interrupted") and "Traceback" not in err


@pytest.mark.parametrize("gap_s", [0.0, 0.1])
def test_a_second_signal_drops_them(serve, interrupted, gap_s):
    ended = threading.Event()

    async def answer(number):
        while number > 6 and not ended.is_set():
            await asyncio.sleep(0.01)
        return completion("x")

    server = serve(lambda body, number: answer(number))
    with interrupted(server) as process:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGINT):
            process.send_signal(number)
            time.sleep(gap_s)
        # The calls under way have no answer before it has ended.
        _, err = process.communicate(timeout=600)
    ended.set()
    assert process.returncode in (130, -signal.SIGINT) and "never" not in err


def test_a_run_leaves_the_handlers_of_signals_alone_and_other_threads_can_make_one(serve):
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    server, found = serve(lambda body, number: completion("x")), []
    thread = threading.Thread(target=lambda: found.append(ask(server, 3)))
    thread.start()
    thread.join()
    assert len(found[0]) == len(ask(server, 3)) == 3
    assert [signal.getsignal(number) for number in numbers] == before


# As vLLM words it, and as llama.cpp has.
REFUSALS = [
    (400, {"object": "error", "message": "This model's maximum context length is 60 tokens.", "code": 400}),
    (500, {"error": {"message": "the request exceeds the available context size. Zebra.", "type": "server_error"}}),
]


def narrow(status, refusal, room=ROOM):
    """Refuses messages of more words than there is room for; answers others with their number of words."""

    def answer(body, number):
        words = len(said(body).split())
        return JSONResponse(refusal, status) if words > room else completion(str(words))

    return answer


@pytest.mark.parametrize(("status", "refusal"), REFUSALS)
def test_a_report_without_room_loses_words_of_its_middle_until_the_server_takes_it(serve, status, refusal, capsys):
    server = serve(narrow(status, refusal))
    responses = ask(server, [*PROMPTS, LONG], max_retries=3)
    (taken,) = (said(body) for _, body in server.requests if "w0" in said(body) and len(said(body).split()) <= ROOM)
    assert all(responses[index].cut_words == 0 and not responses[index].error for index in range(len(PROMPTS)))
    last = responses[len(PROMPTS)]
    assert last.error is None
    kept = [word for word in taken.split() if word[0] == "w" and word[1:].isdigit()]
    assert last.cut_words == 1_000 - len(kept)
    assert kept == [f"w{n}" for n in [*range((len(kept) + 1) // 2), *range(1_000 - len(kept) // 2, 1_000)]]
    assert capsys.readouterr() == ("", "")


def test_what_does_not_fit_even_without_its_words_keeps_the_error_and_says_nothing_about_the_next(serve):
    for count in (0, 1, 2, 30):
        asked = [replace(LONG, report_id=f"r{n}", report_text="zebra " * count) for n in range(8)]
        server = serve(narrow(*REFUSALS[0], room=0))
        responses = ask(server, asked)
        assert not [word for word in said(server.requests[-1][1]).split() if word == "zebra"]
        assert responses == dict.fromkeys(range(8), failure("400 context_length_exceeded"))


def test_a_report_is_cut_no_further_than_it_takes(serve):
    for words in (70, 200, 3_000):
        server = serve(narrow(*REFUSALS[0]))
        response = ask(server, [replace(LONG, report_text="edema " * words)])[0]
        room = ROOM - (int(response.text) - (words - response.cut_words))
        assert room * 0.69 - 1 <= words - response.cut_words <= room
        assert len(server.requests) <= 14


def test_samples_of_a_seeded_server_differ_and_repeat(serve):
    server = serve(lambda body, number: completion(str(body.get("seed"))))
    drawn = ask(server, PROMPTS, HOT)
    assert ask(server, PROMPTS[::-1], HOT) == {11 - index: drawn[index] for index in drawn}
    assert len({response.text for response in drawn.values()}) == len(PROMPTS)
    assert {response.text for response in ask(server, PROMPTS).values()} == {"None"}


@pytest.mark.parametrize("refused", [["seed"], ["response_format"], ["response_format", "seed"]])
def test_a_server_that_refuses_seed_or_schema_is_asked_without_and_warned_of_once(serve, refused, capsys):
    warnings = {
        "seed": "127.0.0.1 takes no seed; asking without one, so the same command may draw other answers",
        "response_format": "127.0.0.1 takes no JSON schema in response_format; asking for free text instead",
    }

    def answer(body, number):
        for name in refused:
            if name in body:
                return JSONResponse({"error": {"message": "no", "param": name}}, 400)
        return completion("[]")

    server = serve(answer)
    engine = engine_of(server.endpoint)
    for _ in range(2):
        responses = dict(engine.generate(PROMPTS, replace(HOT, schema=SCHEMA)))
        assert {(response.text, response.error, response.as_json) for response in responses.values()} == {
            ("[]", None, "response_format" not in refused)
        }
    assert sorted(capsys.readouterr().err.splitlines()) == sorted(warnings[name] for name in refused)
    for name in warnings:
        with_it = [name in body for _, body in server.requests]
        assert 1 <= sum(with_it) <= 8 and not any(with_it[12:]) if name in refused else all(with_it)


@pytest.mark.parametrize(
    ("answer", "warned"),
    [(completion("{}"), False), (completion("{", "length"), False), (completion("[]"), True), (completion("{"), True)],
)
def test_a_server_that_does_not_keep_to_the_schema_is_warned_of_once(serve, answer, warned, capsys):
    engine = engine_of(serve(lambda body, number: answer).endpoint, check_response="{}".__eq__)
    for sampling in (FREE, replace(FREE, schema=SCHEMA), replace(FREE, schema=SCHEMA)):
        assert len(list(engine.generate(PROMPTS, sampling))) == len(PROMPTS)
    line = "127.0.0.1 does not keep to the JSON schema that it takes; answers may be unreadable\n"
    assert capsys.readouterr() == ("", line if warned else "")
