"""Radiographs and a reader on the loopback address that knows each by its pixels; all images are drawn here."""

import asyncio
import base64
import hashlib
import io
import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
from chat_server import answered, completion
from PIL import Image
from starlette.responses import JSONResponse
from test_images import NAME, dicom

from radtune.files import read_jsonl
from radtune.report import Report
from radtune.sources.table import reports_of

FRAME_ASIDE = True
TASK = Path("configs/tasks/radiograph.yaml").read_text(encoding="utf-8")
COUNT, KILLS = 72, 4
ROWS = (
    "| Left pleural effusion | J90 | left |",
    "| Consolidation | J18.1 | right |\n| Pleural effusion | J90 | left |\n| Pleural effusion | J90 | right |",
    "| No finding | | |",
)
HEADER = "| Finding | ICD-10-CM code | Side |\n| --- | --- | --- |\n"


def number_of(uri: str) -> int:
    """Which image was sent: how bright its first pixel is."""
    kind, _, data = uri.partition(",")
    assert kind == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data))).getpixel((0, 0))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of PNG, JPEG and DICOM files, each of noise but for a corner that says which it is."""
    folder, chance = tmp_path_factory.mktemp("images"), np.random.default_rng(1)
    for number in range(COUNT):
        pixels = chance.integers(0, 255, (64, 80), dtype=np.uint8)
        pixels[:24, :24], pixels[-1, -2:] = number, (0, 255)
        if number % 9 == 5:
            dicom(folder / f"x{number:02}.dcm", pixels.astype(np.uint16) * 16, WindowCenter=2048, WindowWidth=4081)
        else:
            Image.fromarray(pixels).save(folder / f"x{number:02}.{'jpg' if number % 9 == 1 else 'png'}", quality=95)
    return folder


def seen(body: dict) -> int:
    """Which image a request is about: its last."""
    *pictures, text = body["messages"][0]["content"]
    assert text["type"] == "text"
    return number_of(pictures[-1]["image_url"]["url"])


def reading(body: dict, number: int) -> dict:
    """A reader's answer, from the last image's pixels."""
    return completion(HEADER + ROWS[seen(body) % len(ROWS)])


def asked(server) -> list[int]:
    """The images that a server was asked about."""
    return [seen(body) for _, body in server.requests]


def keys(images: Path, output: Path, server, *more: str) -> tuple[str, ...]:
    return f"reports={images}", f"output={output}", "task=radiograph", "model=m", f"base_url={server.url}", *more


def test_killed_and_gone_on_each_image_has_one_row_and_no_metadata_leaves(images, tmp_path, serve, start_fork, command):
    output, chance = tmp_path / "answers.jsonl", random.Random(3)  # noqa: S311  (no secret)

    async def slowly(body, number):
        await asyncio.sleep(0.01)
        return reading(body, number)

    server = serve(slowly)
    given = keys(images, output, server, "concurrency=4")
    for _ in range(KILLS):
        held, before = answered(output), len(server.requests)
        process = start_fork("gpt_data_generate.py", *given)
        # However late this process wakes up, the other does not come to its end.
        server.most = before + chance.randint(6, 14)
        process.wait_until(lambda: len(server.requests) >= server.most)
        process.kill()
        process.communicate()
        new = [f"{number:02}" for number in asked(server)[before:]]
        assert held <= answered(output) and not held & {*new} and not output.exists()
        assert len(new) == len({*new})
    held, before, server.most = answered(output), len(server.requests), math.inf
    code, out, err = command("gpt_data_generate.py", *given)
    assert (code, err) == (0, "") and f"{COUNT} reports, {COUNT - len(held)} answers" in out
    assert sorted(asked(server)[before:]) == sorted({*range(COUNT)} - {*map(int, held)})
    written, sent = output.read_bytes(), len(server.requests)
    assert ", 0 answers in" in command("gpt_data_generate.py", *given)[1]
    assert (output.read_bytes(), len(server.requests)) == (written, sent)
    rows = [row for _, row in read_jsonl(output)]
    assert [row["report_id"] for row in rows] == [f"x{number:02}" for number in range(COUNT)]
    assert {row["status"] for row in rows} == {"ok"} and not any(row["problems"] for row in rows)
    said = [[(p["phrase"], p["icd10"], p["side"]) for p in row["phrases"]] for row in rows[:3]]
    effusion = ("Pleural effusion", "J90", "bilateral")
    assert said == [[("Left pleural effusion", "J90", "left")], [("Consolidation", "J18.1", "right"), effusion], []]
    shown = [row["images"] for row in rows]
    assert len({*map(tuple, shown)}) == COUNT
    manifest = json.loads(output.with_name("answers.jsonl.manifest.json").read_text())
    digest = hashlib.sha256(" ".join(sha for row in shown for sha in row).encode()).hexdigest()
    assert manifest["images"] == {"count": COUNT, "sha256": digest}
    for secret in (NAME, NAME.partition("^")[0], "MRN-4711"):
        assert secret.encode() in (images / "x05.dcm").read_bytes()
        assert not any(secret in f"{request.headers}{body}" for request, body in server.requests)


def test_examples_are_images_with_answers_and_none_that_is_asked_about(images, tmp_path, serve, command):
    """With the indication: a table names images from its own folder, a task's examples from theirs."""
    (tmp_path / "task").mkdir()
    for number, value in enumerate((200, 210)):
        Image.new("L", (64, 64), value).save(tmp_path / "task" / f"e{number}.png")
    phrases = [{"phrase": "Left effusion", "icd10": "J90"}]
    rows = [
        {"example_id": "a", "images": ["e0.png"], "text": "Indication: fall", "phrases": phrases, "fixed": True},
        {"example_id": "b", "images": ["e1.png"], "labels": [], "fixed": True},
    ]
    (tmp_path / "task" / "examples.jsonl").write_text("\n".join(map(json.dumps, rows)))
    text = TASK.replace("sections: [images]", "sections: [images, indication]")
    text = text.replace("{guidelines}", "{guidelines}\\n{examples}").replace("name: radiograph", "name: shots")
    (tmp_path / "task" / "shots.yaml").write_text(text + "examples: {file: examples.jsonl, shown: 2}\n")
    (tmp_path / "t").mkdir()
    name = next(images.glob("x07.*"))
    table = f"uid,image,history\n7,{name},cough\n8,{name},\n"
    (tmp_path / "t" / "table.csv").write_text(table)
    given = [
        f"task={tmp_path}/task/shots.yaml",
        f"output={tmp_path}/o.jsonl",
        "engine=openai",
        "model=m",
        "prompt=labelling",
    ]
    server = serve(reading)
    given += [f"base_url={server.url}", f"reports={tmp_path}/t/table.csv"]
    code, _, err = command("inference.py", *given)
    assert (code, err) == (0, "") and asked(server) == [7, 7]
    sent = [body["messages"][0]["content"] for _, body in server.requests]
    both = [[number_of(part["image_url"]["url"]) for part in content[:-1]] for content in sent]
    assert both == [[200, 210, 7]] * 2
    messages = sorted(content[-1]["text"] for content in sent)
    table = f"{HEADER}| Left effusion | J90 | left |"
    shots = f"1. Image 1\nIndication: fall\nOutput: {table}\n2. Image 2\nOutput: {HEADER}| No finding | | |"
    assert messages[0].endswith(f"{shots}\n\nReport to Analyze:\nImage 3\n\nOutput:")
    assert messages[1].endswith(f"{shots}\n\nReport to Analyze:\nImage 3\nIndication: cough\n\nOutput:")
    Image.new("L", (64, 64), 210).save(tmp_path / "t" / "same.png", compress_level=0)
    (tmp_path / "t" / "table.csv").write_text("uid,image\n9,same.png\n")
    code, _, err = command("inference.py", *given)
    assert code == 2 and "the image of report '9' is that of example 'b'" in err and err.count("\n") == 1


def test_a_bare_500_on_an_image_is_asked_once_more_and_not_five_times(images, tmp_path, serve, command):
    server = serve(lambda body, number: JSONResponse({"error": {"message": "Internal Server Error"}}, 500))
    code, _, err = command("gpt_data_generate.py", *keys(images, tmp_path / "o.jsonl", server, "concurrency=1"))
    assert code == 2 and "failed alike (500)" in err
    assert len(asked(server)) == 2 * 5 and len({*asked(server)}) == 5


def test_a_broken_image_is_one_line_before_anything_is_asked(images, tmp_path, serve, command):
    (tmp_path / "a.png").write_bytes(next(images.glob("*.png")).read_bytes())
    (tmp_path / "b.png").write_bytes(b"no image")
    server = serve(reading)
    code, _, err = command("gpt_data_generate.py", *keys(tmp_path, tmp_path / "o.jsonl", server))
    assert (code, server.requests) == (2, [])
    assert f"{tmp_path / 'b.png'}: no PNG, JPEG or DICOM image" in err and err.count("\n") == 1
    table = tmp_path / "t.csv"
    table.write_text("uid,image,text\n1,a.png,Clear.\n2,,Clear.\n")
    code, _, err = command("gpt_data_generate.py", *keys(table, tmp_path / "o.jsonl", server))
    assert (code, len(server.requests)) == (0, 1) and "1 reports have no image" in err
    assert [row["error"] for _, row in read_jsonl(tmp_path / "o.jsonl")] == [None, "empty_report"]


def test_reports_that_are_prepared_find_their_images(images, tmp_path, command):
    (tmp_path / "in").mkdir()
    name = next(images.glob("x03.*"))
    (tmp_path / "in" / "a.png").write_bytes(name.read_bytes())
    (tmp_path / "in" / "t.csv").write_text("uid,images,history\n1,a.png,Cough\n2,a.png,\n")
    made = tmp_path / "out" / "reports.jsonl"
    made.parent.mkdir()
    given = [
        "source=table",
        f"input={tmp_path}/in/t.csv",
        f"output={made}",
        "require_sections=false",
        "drop_duplicates=true",
    ]
    assert command("scripts/prepare_reports.py", *given)[0] == 0
    first, second = reports_of(made)
    assert first == Report("1", None, "", "", "", "table", images=("../in/a.png",), indication="Cough")
    assert (made.parent / second.images[0]).read_bytes() == name.read_bytes()


def test_texts_alone_are_trained_on_and_labelled_by_rules(tmp_path, command):
    text = TASK.replace("answer: table", "classes: [Edema]\nrules: chest")
    (tmp_path / "t.yaml").write_text(
        text.replace("kind: phrases", "kind: classes").replace("name: radiograph", "name: t")
    )
    (tmp_path / "r.csv").write_text("uid,images,text,edema\n1,a.png,Edema.,1\n")
    given = [f"task={tmp_path}/t.yaml", f"reports={tmp_path}/r.csv", f"output={tmp_path}/o.csv"]
    code, _, err = command("scripts/label_by_rules.py", *given)
    assert code == 2 and "task t shows images: rules read texts alone" in err
    given = [f"tasks=[{tmp_path}/t.yaml]", f"t.reports={tmp_path}/r.csv", f"t.labels={tmp_path}/r.csv"]
    code, _, err = command("scripts/build_instructions.py", *given, f"output={tmp_path}/o.jsonl")
    assert code == 2 and "task t shows images: models that are trained here read texts alone" in err
