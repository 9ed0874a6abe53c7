"""The simulated teacher: it says what is true, less its stated errors, in the form that the tasks read."""

import json
from dataclasses import replace

import httpx2
import pytest

from radtune.ask.simulated import Noise, Truth, make_app, read_truths, serving, simulated_answer
from radtune.config import InputError
from radtune.labels import Status
from radtune.report import write_reports
from radtune.sources.synthetic import generate
from radtune.tasks.legacy import TASKS
from radtune.tasks.open_ended import Phrase, read_annotation

EXACT = Noise(0, 0, 0, seed=1)


@pytest.fixture(scope="module")
def truths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    made = list(generate(400, seed=3))
    write_reports(folder / "reports.jsonl", [item.report for item in made])
    rows = [
        {"report_id": item.report.report_id, "phrases": [{"phrase": p.phrase, "icd10": p.icd10} for p in item.phrases]}
        for item in made
    ]
    (folder / "gold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [f"{i.report.report_id},{'1' if i.labels.get('Edema') == 1 else ''}" for i in made]
    (folder / "gold.csv").write_text("\n".join(["report_id,Edema", *lines]) + "\n")
    return read_truths(folder / "reports.jsonl", folder / "gold.csv", folder / "gold.jsonl")


def test_without_errors_the_truth_reads_back(truths):
    for truth in truths.values():
        phrases, status = read_annotation(simulated_answer(truth, "open_ended", EXACT, []), truth.text)
        assert status == Status.OK
        assert {(p.phrase, p.icd10) for p in phrases} == {(p.phrase, p.icd10) for p in truth.phrases}
        answer = TASKS["multiple_choice"].decode(simulated_answer(truth, "multiple_choice", EXACT, []))
        assert (answer.labels, answer.status) == (truth.findings, Status.OK)


def test_errors_come_as_often_as_stated_and_again_alike(truths):
    noise = Noise(drop=0.3, add=0.2, garble=0.1, seed=5)
    pool = [phrase for truth in truths.values() for phrase in truth.phrases]
    garbled = dropped = true = added = 0
    for truth in truths.values():
        answer = simulated_answer(truth, "open_ended", noise, pool)
        assert answer == simulated_answer(truth, "open_ended", noise, pool)
        phrases, status = read_annotation(answer, truth.text)
        garbled += status == Status.UNPARSED
        if status == Status.OK:
            said, known = {p.phrase for p in phrases}, {p.phrase for p in truth.phrases}
            dropped, true, added = dropped + len(known - said), true + len(known), added + len(said - known)
    assert 0.05 < garbled / len(truths) < 0.16
    assert 0.25 < dropped / true < 0.35
    assert 0.14 < added / (len(truths) - garbled) < 0.26
    others = [simulated_answer(truth, "open_ended", Noise(0.3, 0.2, 0.1, 6), pool) for truth in truths.values()]
    assert others != [simulated_answer(truth, "open_ended", noise, pool) for truth in truths.values()]


def test_what_a_report_denies_is_the_likeliest_wrong_phrase():
    noise = Noise(0, 1, 0, seed=5)
    pool = [Phrase("old fracture", "S22.9XXA")]
    denying = Truth("r", "There is no evidence of focal pneumonia. No effusion or\npneumothorax.", None, ())
    said = {
        read_annotation(simulated_answer(denying, "open_ended", replace(noise, seed=i), pool), "")[0][0].phrase
        for i in range(20)
    }
    assert said == {"focal pneumonia", "effusion"}
    silent = Truth("r", "Clear.", None, (Phrase("cyst", "N28.1"),))
    assert "'cyst', 'old fracture'" in simulated_answer(silent, "open_ended", noise, [*pool, *silent.phrases])
    assert "'cyst']" in simulated_answer(silent, "open_ended", noise, silent.phrases)


def post(url, body):
    response = httpx2.post(url, json=body)
    return response.status_code, response.json()


def chat(instruction, text):
    content = f"{instruction}\n\nReport to Analyze:\n{text}\n\nOutput:"
    return {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}],
    }


def test_the_server_knows_report_and_task_by_the_message(truths):
    truth = next(t for t in truths.values() if t.phrases)
    with serving(make_app(truths, EXACT)) as url:
        azure = url.replace("/v1", "/openai/deployments/m") + "/chat/completions?api-version=1"
        for address in (f"{url}/chat/completions", azure):
            for name, task in TASKS.items():
                status, body = post(address, chat(task.prompt(), truth.text))
                content = body["choices"][0]["message"]["content"]
                assert (status, content) == (200, simulated_answer(truth, name, EXACT, []))
        refused = [chat("ICD-10", "Another text."), chat("ICD-10", ""), {"messages": []}, {}, [1]]
        for body in refused:
            status, answer = post(f"{url}/chat/completions", body)
            assert (status, "Another" in json.dumps(answer)) == (400, False)
        assert httpx2.get(url.replace("/v1", "/health")).json() == {"status": "ok", "calls": 4 + len(refused)}


def test_gold_is_needed_and_named_where_it_is_broken(truths, tmp_path):
    with pytest.raises(InputError, match="gold_labels"):
        read_truths(tmp_path / "reports.jsonl", None, None)
    (tmp_path / "gold.jsonl").write_text('{"report_id": "a", "labels": ["cyst"]}\n{"report_id": "b", "phrases": [3]}\n')
    with pytest.raises(InputError, match=r"gold\.jsonl:2: "):
        read_truths(tmp_path / "reports.jsonl", None, tmp_path / "gold.jsonl")


def test_a_port_that_is_taken_is_one_line(truths):
    app = make_app(truths, EXACT)
    with serving(app) as url:
        port = int(url.split(":")[2].removesuffix("/v1"))
        with pytest.raises(InputError, match=f"port {port}: "), serving(app, port):
            pass
