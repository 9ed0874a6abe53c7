"""The simulated teacher: it says what is true, less its stated errors; around a command, alone, and stopped."""

import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from radtune.config import InputError
from radtune.files import write_jsonl
from radtune.label_files import write_label_table
from radtune.labels import Phrase, Status
from radtune.sources.synthetic import generate
from radtune.tasks import load_task
from scripts.simulated_teacher import Noise, Truth, make_app, read_truths, serving, simulated_answer

ROOT = Path(__file__).parents[2]
GOLD = {"open_ended": "gold.jsonl", "multiple_choice": "gold.csv"}
PHRASES = load_task("open_ended")
EXACT = Noise(seed=1)


@pytest.fixture
def start(start_fork):
    return lambda *arguments: start_fork("scripts/simulated_teacher.py", *arguments)


@pytest.fixture
def run(command):
    return lambda *arguments: command("scripts/simulated_teacher.py", *arguments)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    items = list(generate(400, seed=11))
    write_jsonl(folder / "reports.jsonl", [item.report for item in items])
    write_jsonl(folder / "few.jsonl", [item.report for item in items[:40]])
    rows = (
        {"report_id": item.report.report_id, "phrases": [{"phrase": p.phrase, "icd10": p.icd10} for p in item.phrases]}
        for item in items
    )
    write_jsonl(folder / "gold.jsonl", rows)
    table = {item.report.report_id: item.labels for item in items}
    write_label_table(folder / "gold.csv", load_task("multiple_choice"), table)
    return folder, items


def keys(folder, task="open_ended"):
    return f"task={task}", f"reports={folder / 'few.jsonl'}", f"gold={folder / GOLD[task]}"


def truths_of(folder, name):
    return read_truths(load_task(name), folder / "reports.jsonl", folder / GOLD[name])


@pytest.mark.parametrize("name", GOLD)
def test_without_errors_the_truth_reads_back(made, name):
    task = load_task(name)
    for truth in truths_of(made[0], name).values():
        answer = task.read(simulated_answer(task, truth, EXACT, []), truth.text)
        assert (answer.labels, answer.status) == (task.distinct(p.phrase for p in truth.labels), Status.OK)
        if not task.classes:
            assert {(p.phrase, p.icd10) for p in answer.phrases} == {(p.phrase, p.icd10) for p in truth.labels}


@pytest.mark.parametrize("name", GOLD)
def test_errors_come_as_often_as_stated_and_again_alike(made, name):
    task, truths = load_task(name), truths_of(made[0], name)
    noise = Noise(drop=0.3, add=0.2, seed=5)
    pool = [phrase for truth in truths.values() for phrase in truth.labels]
    dropped = true = added = 0
    for truth in truths.values():
        text = simulated_answer(task, truth, noise, pool)
        assert text == simulated_answer(task, truth, noise, pool)
        said, known = set(task.read(text, truth.text).labels), {label.phrase for label in truth.labels}
        dropped, true, added = dropped + len(known - said), true + len(known), added + len(said - known)
    assert 0.25 < dropped / true < 0.35
    assert 0.14 < added / len(truths) < 0.26
    again = [[simulated_answer(task, t, replace(noise, seed=seed), pool) for t in truths.values()] for seed in (5, 6)]
    assert again[0] != again[1]


def test_errors_are_shared_by_the_samples_of_a_report_or_each_samples_own(tmp_path):
    """Of a task that counts what is considered: five answers each, and the share of true labels in their majority."""
    task, items = load_task("differential"), list(generate(150, 7, "msk"))
    write_jsonl(tmp_path / "reports.jsonl", [item.report for item in items])
    write_label_table(tmp_path / "gold.csv", task, {item.report.report_id: item.labels for item in items})
    truths = read_truths(task, tmp_path / "reports.jsonl", tmp_path / "gold.csv")
    known = {truth.report_id: {label.phrase for label in truth.labels} for truth in truths.values()}
    for item in items:
        if item.report.report_id in known:
            assert known[item.report.report_id] == set(task.labels_of(item.labels))
    kept = {}
    for shared in (True, False):
        noise, right, true = Noise(drop=0.3, seed=5, shared=shared), 0, 0
        for truth in truths.values():
            said = [task.read(simulated_answer(task, truth, noise, [], sample)).labels for sample in range(5)]
            assert len(set(said)) == 1 or not shared
            true += len(truth.labels)
            right += sum(sum(label.phrase in answer for answer in said) >= 3 for label in truth.labels)
        kept[shared] = right / true
    assert kept[True] < 0.77 < 0.8 < kept[False]


def test_what_a_report_denies_is_the_likeliest_wrong_phrase():
    noise, pool = Noise(add=1), [Phrase("old fracture", "S22.9XXA")]
    denying = Truth("r", "There is no evidence of focal pneumonia. No effusion or\npneumothorax.", ())
    answers = [simulated_answer(PHRASES, denying, replace(noise, seed=seed), pool) for seed in range(20)]
    assert {PHRASES.read(answer).labels[0] for answer in answers} == {"focal pneumonia", "effusion"}
    silent = Truth("r", "Clear.", (Phrase("cyst", "N28.1"),))
    assert "'cyst', 'old fracture'" in simulated_answer(PHRASES, silent, noise, [*pool, *silent.labels])
    assert "'cyst']" in simulated_answer(PHRASES, silent, noise, silent.labels)


def chat(instruction, text):
    content = f"{instruction}\n\nReport to Analyze:\n{text}\n\nOutput:"
    return {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}],
    }


def test_the_server_knows_the_report_by_the_message(made):
    truths = truths_of(made[0], "open_ended")
    truth = next(t for t in truths.values() if t.labels)
    with serving(make_app(PHRASES, truths, EXACT)) as url:
        azure = url.replace("/v1", "/openai/deployments/m") + "/chat/completions?api-version=1"
        for address in (f"{url}/chat/completions", azure):
            response = httpx2.post(address, json=chat(PHRASES.prompt("labelling").instruction, truth.text))
            content = response.json()["choices"][0]["message"]["content"]
            assert (response.status_code, content) == (200, simulated_answer(PHRASES, truth, EXACT, []))
        again = chat("ICD-10", truth.text)
        again["messages"][-1]["content"] += (
            "\n\nYour earlier answer held no list that could be read. Begin with: Output: ["
        )
        response = httpx2.post(f"{url}/chat/completions", json=again)
        assert response.json()["choices"][0]["message"]["content"] == simulated_answer(PHRASES, truth, EXACT, [])
        refused = [chat("ICD-10", "Another text."), chat("ICD-10", ""), {"messages": []}, {}, [1]]
        for body in refused:
            response = httpx2.post(f"{url}/chat/completions", json=body)
            assert (response.status_code, "Another" in response.text) == (400, False)
        assert httpx2.get(url.replace("/v1", "/health")).json() == {"status": "ok", "calls": 3 + len(refused)}


def test_gold_of_none_of_the_reports_is_told(made, tmp_path):
    (tmp_path / "gold.jsonl").write_text('{"report_id": "a", "labels": ["cyst"]}\n')
    with pytest.raises(InputError, match=r"gold\.jsonl: no labels of any report in "):
        read_truths(PHRASES, made[0] / "reports.jsonl", tmp_path / "gold.jsonl")


def test_gold_is_read_whatever_form_its_ids_and_names_have(tmp_path):
    (tmp_path / "reports.csv").write_text("report_id,text\n001,Lungs are clear.\n002,Heart is large.\n")
    (tmp_path / "gold.csv").write_text("uid,labels\n1,Normal\n2,cardiomegaly; pleural_effusion\n")
    truths = read_truths(load_task("multiple_choice"), tmp_path / "reports.csv", tmp_path / "gold.csv")
    assert {truth.report_id: [label.phrase for label in truth.labels] for truth in truths.values()} == {
        "001": [], "002": ["Cardiomegaly", "Pleural Effusion"],
    }  # fmt: skip


def test_a_commands_exit_code_is_passed_on(made, run):
    folder, _ = made
    assert run(*keys(folder), "command=sh -c 'exit 7'")[0] == 7
    assert run(*keys(folder), "command=sh -c 'kill -9 $$'")[0] == 137
    code, _, err = run(*keys(folder), "command=no-such-command x")
    assert code == 2 and "command: No such file" in err
    code, _, err = run(*keys(folder), "command=true", "drop=2")
    assert code == 2 and "drop: expected" in err


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_stopped_it_takes_its_command_and_what_that_started_along(made, tmp_path, start, sent):
    folder, _ = made
    pids = tmp_path / "pids"
    # The inner shell ignores the polite signal.
    command = f"sh -c 'sleep 60 & echo $! $$ $OPENAI_BASE_URL > {pids}.new; mv {pids}.new {pids}; wait'"
    process = start(*keys(folder), f"command={command}")
    process.wait_until(pids.exists)
    *started, url = pids.read_text().split()
    assert httpx2.get(url.replace("/v1", "/health")).json() == {"status": "ok", "calls": 0}
    process.send_signal(sent)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (130, "", "simulated_teacher.py: interrupted\n")
    assert not any(alive(pid) for pid in started)
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(url)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
def test_killed_outright_it_leaves_no_command_behind(made, tmp_path, start):
    folder, _ = made
    pids = tmp_path / "pids"
    process = start(*keys(folder), f"command=sh -c 'echo $$ > {pids}.new; mv {pids}.new {pids}; exec sleep 60'")
    process.wait_until(pids.exists)
    pid = pids.read_text().strip()
    assert alive(pid)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 600
    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)
