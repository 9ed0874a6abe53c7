"""A whole small cohort through a real model server: `transformers serve` with the mini model, and Azure's paths."""

import json
import sys

import httpx2
import pytest
from health import free_port, wait_until_healthy
from recipe_runs import Run
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from radtune.engines.guard import Endpoint
from radtune.engines.limits import Limits
from radtune.engines.prompt import Prompt, Sampling
from radtune.engines.server import ServerEngine
from radtune.files import write_jsonl
from radtune.sources.synthetic import generate
from scripts.simulated_teacher import serving

REPORTS = 4


def serve(words):
    """What ``transformers serve`` runs; the process it is forked from has imported most of it."""
    from transformers.cli.transformers import main

    sys.argv = ["transformers", "serve", *words]
    return main()


@pytest.fixture(scope="module")
def model_server(tmp_path_factory):
    """The URL of `transformers serve` with the mini model."""
    port = free_port()
    words = ["data/mini", "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    run = Run(serve, words, tmp_path_factory.mktemp("server"), {"HF_HUB_OFFLINE": "1"})
    try:
        wait_until_healthy(port, run.process.is_alive)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        run.process.kill()
        run.process.join()


@pytest.fixture(scope="module")
def azure_front(model_server):
    """A front with Azure's two forms of path and its way to hand over the key; gives its URL and the paths asked."""
    asked = []

    async def forward(request):
        asked.append(request.url.path)
        if "/v1/" in request.url.path:
            allowed = request.headers.get("authorization") == "Bearer azure-key"
        else:
            dated = request.query_params.get("api-version") == "2024-10-21"
            allowed = dated and request.headers.get("api-key") == "azure-key"
        if not allowed:
            return Response('{"error": {"code": "invalid_api_key"}}', 401)
        body = await request.json()
        # The model server does not know what Azure is told besides.
        assert body.pop("store", None) is (None if "/v1/" in request.url.path else False)
        async with httpx2.AsyncClient(trust_env=False, timeout=600) as client:
            answer = await client.post(f"{model_server}/chat/completions", json=body | {"model": "data/mini"})
        return Response(answer.content, answer.status_code, media_type="application/json")

    paths = ("/openai/deployments/{deployment}/chat/completions", "/openai/v1/chat/completions")
    with serving(Starlette(routes=[Route(path, forward, methods=["POST"]) for path in paths])) as url:
        yield url.removesuffix("/v1"), asked


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    path = tmp_path_factory.mktemp("cohort") / "reports.jsonl"
    write_jsonl(path, [item.report for item in generate(REPORTS, seed=3)])
    return path


@pytest.fixture
def label(reports, command):
    def label(output, *arguments):
        keys = ("task=multiple_choice", "max_tokens=40", f"reports={reports}", f"output={output}")
        code, _, errors = command("gpt_data_generate.py", *keys, *arguments)
        assert code == 0, errors
        return [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]

    return label


def test_a_cohort_is_labelled_alike_straight_and_through_both_forms_of_azure(
    model_server, azure_front, label, tmp_path, monkeypatch
):
    straight = label(tmp_path / "a.jsonl", f"base_url={model_server}", "model=data/mini")
    assert len(straight) == REPORTS
    assert {row["status"] for row in straight} == {"ok"} and any(row["labels"] for row in straight)
    assert all(row["usage"]["completion_tokens"] > 0 and "mini" in row["model_returned"] for row in straight)
    url, asked = azure_front
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-key")
    named = "allow_endpoint=127.0.0.1"  # or a program of this machine gets no key
    dated = label(tmp_path / "b.jsonl", f"azure_endpoint={url}", "api_version=2024-10-21", "model=mini", named)
    assert asked == ["/openai/deployments/mini/chat/completions"] * REPORTS
    asked.clear()
    monkeypatch.delenv("AZURE_OPENAI_API_KEY")
    monkeypatch.setenv("OPENAI_API_KEY", "azure-key")
    newer = label(tmp_path / "c.jsonl", f"base_url={url}/openai/v1/", "model=mini", named)
    assert asked == ["/openai/v1/chat/completions"] * REPORTS
    assert [row["labels"] for row in dated] == [row["labels"] for row in newer] == [row["labels"] for row in straight]


def test_inference_may_send_seeds_and_is_told_that_the_server_ignores_schemas(model_server, capsys):
    engine = ServerEngine(
        Endpoint(model_server, "127.0.0.1"), "key", "data/mini", Limits(2, 600.0, 0), check_response=lambda text: False
    )
    prompts = [Prompt(f"r{n}", "List.", "Findings: zebra.", "llama3_chat", str(n)) for n in range(6)]
    responses = dict(engine.generate(prompts, Sampling(2.0, 12)))
    assert [responses[index].error for index in range(6)] == [None] * 6
    assert capsys.readouterr() == ("", "")
    list(engine.generate(prompts[:2], Sampling(0.0, 12, schema={"name": "answer", "schema": {"type": "object"}})))
    assert capsys.readouterr().err.count("does not keep to the JSON schema") == 1
