"""gpt_data_generate.py and inference.py are one command with two sets of defaults."""

import json

import pytest
from chat_server import completion, error

FRAME_ASIDE = True
FACES = ("gpt_data_generate.py", "inference.py")
SAMPLES = ("Small left pleural effusion", "left pleural effusion", "pleural effusion")


@pytest.fixture
def run(command):
    def run(face, server, *arguments):
        given = ["engine=openai", "model=m", f"base_url={server.url}", "task=open_ended", "temperature=1", *arguments]
        code, out, err = command(face, *given)
        assert code == 0, err
        return out

    return run


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


def test_both_do_all_of_it_alike(serve, reports, tmp_path, run):
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


def test_both_answer_for_one_report_and_say_what_it_would_cost(serve, run):
    server = serve(lambda body, number: completion("['Small left pleural effusion']"))
    for face in FACES:
        assert run(face, server, "text=Small left pleural effusion.") == "Small left pleural effusion\n"
        said = run(face, server, "text=Clear.", "dry_run=true", "max_tokens=10")
        assert "1 calls to m at 127.0.0.1" in said and "and 10 of answers" in said and "nothing has been asked" in said
    assert len(server.requests) == 2


def test_a_local_model_labels_as_it_infers(command):
    keys = ["checkpoint_dir=data/mini", "task=multiple_choice", "prompt=inference", "temperature=0", "max_tokens=60"]
    keys += ["engine=torchtune", "constrain=true", "scores=true", "evidence=true"]
    keys += ["text=Findings: Large right pleural effusion. Impression: Effusion."]
    (said,) = {command(face, *keys)[:2] for face in FACES}
    assert said[0] == 0 and "Pleural Effusion  0." in said[1] and "others: Atelectasis 0." in said[1]
