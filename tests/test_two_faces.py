"""gpt_data_generate.py and inference.py are one command with two sets of defaults."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from chat_server import completion, error

ROOT = Path(__file__).parents[1]
FACES = ("gpt_data_generate.py", "inference.py")
SAMPLES = ("Small left pleural effusion", "left pleural effusion", "pleural effusion")


def run(face, server, *arguments, code=0):
    clean = {name: value for name, value in os.environ.items() if "OPENAI" not in name}
    given = ["engine=openai", "model=m", f"base_url={server.url}", "task=open_ended", "temperature=1", *arguments]
    process = subprocess.run(
        [sys.executable, face, *map(str, given)], cwd=ROOT, env=clean | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert process.returncode == code, process.stderr
    return process.stdout


@pytest.fixture
def reports(tmp_path):
    path = tmp_path / "reports.csv"
    finding = "Small left pleural effusion."
    path.write_text(f"report_id,text\nr0,{finding}\nr1,\nr2,{finding}{' Clear otherwise.' * 40}\n")
    return path


def answer(body, number):
    text = body["messages"][0]["content"]
    if text.count("Clear otherwise") > 20:
        return error(400, "context_length_exceeded")
    if "one word, yes or no" in text:
        return completion("Yes.")
    wording = SAMPLES[number % 3]
    return completion(f"['{wording}', 'quagga cyst']\n- {wording}: J90")


def test_both_do_all_of_it_alike(serve, reports, tmp_path):
    """Three wordings of one finding are one label; so are codes, evidence, cut reports, blank ones and costs alike."""
    made = {}
    for face in FACES:
        server, output = serve(answer), tmp_path / f"{face}.jsonl"
        keys = ("prompt=inference", "samples=3", "verify=true", "evidence=true", "reask=true", "concurrency=1")
        out = run(face, server, f"reports={reports}", f"output={output}", *keys)
        assert "3 reports, " in out
        made[face] = [json.loads(line) for line in output.read_text().splitlines()]
        assert all(0 <= body["seed"] < 2**31 for _, body in server.requests)
        manifest = json.loads(output.with_name(f"{output.name}.manifest.json").read_text())
        assert (manifest["rows"], manifest["empty"], manifest["status_counts"]) == (3, 1, {"ok": 2, "failed": 1})
    first, second = (
        [{name: value for name, value in row.items() if name != "created"} for row in made[face]] for face in FACES
    )
    assert first == second
    plain, blank, long = first
    assert plain["labels"] == ["pleural effusion", "quagga cyst"]
    assert plain["agreement"] == {"pleural effusion": 1.0, "quagga cyst": 1.0} and plain["asked_again"] is False
    assert plain["phrases"][0]["code_exists"] and plain["unsupported"] == ["quagga cyst"] and plain["denied"] == []
    assert plain["problems"] == ["1 of 2 phrases not in the report"]
    assert (blank["status"], blank["error"]) == ("failed", "empty_report")
    assert long["cut_words"] > 0 and len(long["labels"]) == 2


def test_both_answer_for_one_report_and_say_what_it_would_cost(serve):
    server = serve(lambda body, number: completion("['Small left pleural effusion']"))
    for face in FACES:
        assert run(face, server, "text=Small left pleural effusion.") == "Small left pleural effusion\n"
        said = run(face, server, "text=Clear.", "dry_run=true", "max_tokens=10")
        assert "1 calls to m at 127.0.0.1" in said and "and 10 of answers" in said and "nothing has been asked" in said
    assert len(server.requests) == 2


def test_a_local_model_labels_as_it_infers():
    keys = ["checkpoint_dir=data/mini", "task=multiple_choice", "prompt=inference", "temperature=0", "max_tokens=60"]
    keys += ["engine=torchtune", "constrain=true", "text=Findings: Large right pleural effusion."]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    said = {
        subprocess.run([sys.executable, face, *keys], cwd=ROOT, env=environment, check=True, capture_output=True).stdout
        for face in FACES
    }
    assert len(said) == 1 and said != {b""}
