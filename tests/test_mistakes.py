"""What people do wrong, through `radtune COMMAND`: one line that names it and what to do, and nothing is written."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from radtune.label_files import label_columns
from radtune.tasks import load_task

REPORTS, LABELS = "reports=reports.jsonl", "labels=labels.csv"
PREPARE = "prepare source=table input=notes.csv output=new.jsonl"
SYNTHETIC = "prepare source=synthetic count=3 output=new.jsonl"
BUILD = "build output=new.jsonl multiple_choice.reports=reports.jsonl multiple_choice.labels=labels.csv"
EVALUATE = "evaluate task=multiple_choice predictions=predictions.jsonl gold=labels.csv output=new.json"
INFER = "infer task=multiple_choice text=Edema. checkpoint_dir=mini"
ANNOTATE = "annotate reports=reports.jsonl output=new.jsonl model=m base_url=http://127.0.0.1:9/v1"
SHOTS = f"{ANNOTATE} task=radiograph reports=shots"
COMBINE = "combine task=multiple_choice predictions=[predictions.jsonl] output=new.jsonl"

SEVERAL = "infer task=multiple_choice reports=reports.jsonl checkpoint_dir=mini adapter_dir=[mini,mini]"
TASK = "new-task name=ct names=[A,B] output=new.yaml"
STUDY = "new-study name=s input=notes.csv gold=gold.csv output=new.yaml id_column=NOTE_ID text_column=NOTE"

MISTAKES = [
    # Keys.
    ("lable reports=reports.jsonl output=new.csv", "did you mean 'label'?"),
    ("label report=reports.jsonl output=new.csv", "did you mean 'reports'?"),
    ("label REPORTS=reports.jsonl output=new.csv", "did you mean 'reports'?"),
    ("label --reports=reports.jsonl output=new.csv", "write reports=... (see --help)"),
    ("label reports.jsonl output=new.csv", "is not key=value; put quotes around a value with spaces (see --help)"),
    ("label reports=reports.jsonl", "missing required key: output"),
    ("label --config nowhere.yaml", "nowhere.yaml: No such file"),
    ("label --config tab.yaml", "tab.yaml:2: not valid YAML"),
    ("label --config typo.yaml", "typo.yaml: unknown key 'report'; did you mean 'reports'?"),
    ("label --config list.yaml", "list.yaml: expected a mapping of keys to values"),
    ("evaluate task=multiple_choice predictions=predictions.jsonl gold=labels.csv", "missing required key: output"),
    (f"{EVALUATE} seed=one", "seed: expected int"),
    (f"{EVALUATE} gold_blank=ignored", "gold_blank: expected one of"),
    (f"{INFER} temperature=-1", "temperature: expected 0 or more"),
    (f"{INFER} samples=2 votes=3", "give one of samples and votes"),
    (f"{INFER} constrain=true end_bias=nan", "end_bias: expected a finite number"),
    (f"{INFER} constrain=true end_bias=-inf", "end_bias: expected a finite number"),
    (f"{INFER} constrain=true end_bias=-1e39", "end_bias: expected -100 or more and at most 100"),
    (f"{INFER} end_bias=2", "end_bias needs constrain=true"),
    (f"{INFER} engine=opanai", "did you mean 'openai'?"),
    (f"{INFER} {REPORTS} output=new.jsonl", "reports= or text=, not both"),
    (f"{INFER} text=", "the report is empty"),
    (f"{INFER} samples=3 temperature=0", "samples=3 at temperature=0 would all be alike"),
    (f"{INFER} scores=true", "scores=true needs constrain=true"),
    (f"{INFER} temperature=null", "temperature=null and max_new_tokens=null go with engine=openai"),
    (f"{INFER} batch_size=0", "batch_size: expected 1 or more"),
    (f"{INFER} quantization=4bit", "quantization= goes with engine=transformers"),
    (f"{INFER} engine=openai model=m quantization=8bit", "quantization= does not go with engine=openai"),
    (f"{INFER} batch=submit", "batch= goes with engine=openai"),
    (f"{SEVERAL} output=[new.jsonl]", "of several adapters, each has an output of its own"),
    (f"{SEVERAL} output=new.jsonl", "of several adapters, each has an output of its own"),
    (f"{SEVERAL} output=[new.jsonl,new.jsonl]", "new.jsonl: would overwrite new.jsonl"),
    (f"{SEVERAL} output=[new.jsonl,b.jsonl] engine=transformers", "adapter_dir: several go with engine=torchtune"),
    (f"{SEVERAL} output=[new.jsonl,b.jsonl] engine=openai model=m", "adapter_dir: several go with engine=torchtune"),
    (f"{SEVERAL} adapter_dir=[] output=[]", "of several adapters, each has an output of its own"),
    (f"{ANNOTATE} concurrency=0", "concurrency: expected 1 or more"),
    (f"{ANNOTATE} concurrency=1000000", "concurrency: expected 1 or more and at most 1,000"),
    (f"{ANNOTATE} votes=1000000000", "samples: expected 1 or more and at most 100"),
    (f"{ANNOTATE} temperature=0.001", "temperature must be 0 (greedy), or 0.01 or more"),
    (f"{ANNOTATE} max_retries=-1", "max_retries: expected 0 or more"),
    (f"{ANNOTATE} max_cost=0", "max_cost: expected more than 0"),
    (f"{ANNOTATE} max_tokens=1{'0' * 400}", "max_new_tokens: expected 1 or more and at most 1,000,000,000"),
    (f"{ANNOTATE} tokens_per_minute=1{'0' * 400}", "tokens_per_minute: expected "),
    (f"{ANNOTATE} model=\udcff", "missing required key: model"),
    ("prompts task=multiple_choice use=trainings", "did you mean 'training'?"),
    ("prompts task=multiple_choice reports=reports.jsonl", "confirm with show_text=true"),
    ("study typo.yaml", "typo.yaml: unknown key 'report'"),
    ("study reports.jsonl", "reports.jsonl:2: not valid YAML"),
    ("label reports=reports.jsonl output=new.csv explain=beside", "explain: expected bool"),
    ("check gold=labels.csv id_column=STUDY", "1 of 1 files cannot be used as they are"),
    ("check", "nothing to check"),
    ("label", "missing required key: reports"),
    ("label text=a output=new.csv", "text= stands without reports="),
    ("compare a=labels.csv", "missing required key: b"),
    ("compare a=labels.csv b=labels.csv b_id_column=study", "no id column 'study'"),
    ("compare a=labels.csv b=labels.csv task=open_ended", "a label table has no phrases"),
    ("study", "give the study's file: radtune study STUDY.yaml [options of snakemake]"),
    ("study -n", "give the study's file: radtune study STUDY.yaml [options of snakemake]"),
    ("study nowhere.yaml", "nowhere.yaml: No such file"),
    (f"{TASK} names=gone.csv", "names: no file 'gone.csv'; a list of names is written [gone.csv, ...]"),
    (f"{TASK} names=[A,a]", "'A' stands for two classes, or is the word for none"),
    (f"{TASK} names=[A,Normal]", "'Normal' stands for two classes, or is the word for none"),
    (f"{TASK} names=[]", "classes: none given"),
    (f"{TASK} rules=gone", "rules: no 'gone'"),
    (f"{TASK} name=differential", "name: differential is a task that ships with radtune; give another"),
    (f"{TASK} name=c/t", "name: letters, digits, - and _ only"),
    (f"{TASK} output=ct.txt", "output: ct.txt: expected a name that ends in .yaml"),
    (f"{TASK} names=codes.csv", "new.yaml: classes[0].icd10: 'R91.7' is no code of ICD-10-CM"),
    (f"{TASK} output=typo.yaml", "is there already"),
    (STUDY.replace("id_column=NOTE_ID", ""), "id column"),
    (f"{STUDY} task=open_ended", "none of a class of open_ended"),
    (f"{STUDY} text_column=Body", "no column 'Body'"),
    (f"{STUDY} labels=nobody", "expected rules, teacher, a labeler or the path"),
    (f"{STUDY} output=typo.yaml", "is there already"),
    # Files that are not there, empty, swapped, or of another kind.
    ("label reports=nowhere.jsonl output=new.csv", "nowhere.jsonl: No such file"),
    ("label reports=empty.jsonl output=new.csv", "empty.jsonl: no rows"),
    ("label reports=empty.csv output=new.csv", "empty.csv: empty, expected a header"),
    ("label reports=header.csv output=new.csv", "header.csv: no rows"),
    ("label reports=braces.jsonl output=new.csv", "braces.jsonl: no id column"),
    ("label reports=. output=new.csv", ".: expected .csv, .tsv, .jsonl"),
    ("label reports=reports.pdf output=new.csv", "reports.pdf: expected .csv, .tsv, .jsonl"),
    ("label reports=binary.csv output=new.csv", "binary.csv: "),
    ("label reports=labels.csv output=new.csv", "labels.csv: no column findings, impression or text"),
    ("label reports=predictions.jsonl output=new.csv", "predictions.jsonl: no column findings, impression or text"),
    ("label reports=notes.csv output=new.csv text_column=NOTES", "no column 'NOTES'; did you mean 'NOTE'?"),
    ("label reports=reports.jsonl output=reports.jsonl", "would overwrite reports.jsonl"),
    ("label reports=reports.jsonl output=.", "expected a file name"),
    ("compare a=labels.csv b=nowhere.csv", "nowhere.csv: No such file"),
    ("compare a=labels.csv b=others.csv output=labels.csv", "would overwrite labels.csv"),
    ("compare a=labels.csv b=twice.csv", "stands twice"),
    ("check-rules odd.tsv", "odd.tsv:2: multiple_choice has no class 'Effusion'"),
    ("check-rules odder.tsv", "odder.tsv:1: expected a text, a tab, and Finding=value"),
    (f"{ANNOTATE} output=reports.jsonl", "would overwrite reports.jsonl"),
    (f"{ANNOTATE} output=/dev/full", "/dev/full: is a device"),
    (PREPARE.replace("table", "opni"), "source: expected one of"),
    (PREPARE.replace("table", "mimic_cxr"), "notes.csv: expected a folder, a .zip or a .tgz"),
    (PREPARE.replace("table", "openi"), "notes.csv: no column 'uid'"),
    (PREPARE.replace("input=notes.csv", ""), "missing required key: input"),
    (f"{PREPARE} count=5", "source=table: unknown key 'count'"),
    (f"{PREPARE} sample=0", "sample: expected 1 or more"),
    (PREPARE.replace("notes.csv", "reports.jsonl") + " output=reports.jsonl", "would overwrite reports.jsonl"),
    (f"{PREPARE} input=reports.jsonl sample=50", "reports.jsonl: sample=50: there are only 20"),
    (f"{SYNTHETIC} count=0", "source=synthetic: count: expected 1 or more"),
    (f"{SYNTHETIC} input=notes.csv", "source=synthetic: unknown key 'input'"),
    (f"{SYNTHETIC} output=", "'.': expected a file name"),
    (f"{SYNTHETIC} gold_phrases=new.jsonl", "new.jsonl: would overwrite new.jsonl"),
    (f"{SYNTHETIC} gold_labels=g.csv.gz", "g.csv.gz: outputs are not packed"),
    (f"{SYNTHETIC} cohort=msk gold_phrases=p.jsonl", "source=synthetic: gold_phrases: cohort msk knows classes"),
    (f"{PREPARE} exclude_ids=nowhere.csv", "nowhere.csv: No such file"),
    (PREPARE.replace("new.jsonl", "new.csv"), "new.csv: JSON lines are written there; end its name in .jsonl"),
    (f"{BUILD} output=new.xlsx multiple_choice.rows=5", "new.xlsx: JSON lines are written there"),
    (f"{COMBINE} validation=[labels.csv] gold=labels.csv", "they may not decide"),
    (f"{COMBINE} least=inf", "least: expected a finite number"),
    (f"{COMBINE} least=7 rule=votes", "least=7: not a number of the 1 models"),
    ("label reports=reports.jsonl output=new.jsonl", "new.jsonl: a table is written there; end its name in .csv or"),
    ("label reports=reports.jsonl output=new.parquet", "new.parquet: a table is written there"),
    ("prepare source=synthetic count=3 output=new.jsonl gold_labels=gold.jsonl", "gold.jsonl: a table is written"),
    (PREPARE.replace("notes", "texts") + " id_column=NOTE text_column=NOTE_ID", "texts.csv:2: NOTE holds a text"),
    (PREPARE.replace("notes.csv", "reports.jsonl") + " fold=[1,9000]", "no report is left (20 read, 20 in other"),
    (PREPARE.replace("notes.csv", "reports.jsonl") + " only_ids=others.csv", "no report is left (20 read, 20 not in"),
    ("new-study name=s input=reports.jsonl gold=others.csv output=new.yaml", "0 of the 19 ids are of its reports"),
    ("new-study name=s input=reports.jsonl gold=labels.csv output=new.yaml", "and 0 are left to train on"),
    ("compare a=labels.csv b=reports.jsonl", "reports.jsonl:1: no 'labels'"),
    ("compare a=labels.csv b=notes.csv", "no id column"),
    ("compare a=labels.csv b=others.csv", "no report in common"),
    (f"{ANNOTATE} max_retries=0 timeout_s=2", "run the same command again to go on"),
    (f"{ANNOTATE} base_url=localhost:8000/v1", "base_url: expected http(s)://HOST"),
    (f"{ANNOTATE} base_url=https://example.com/v1", "confirm"),
    (f"{SHOTS} engine=torchtune base_url=null model=null checkpoint_dir=mini", "a task that shows images needs"),
    (f"{SHOTS} base_url=https://a.com/v1", "1 image of 1 report would leave this machine, for a.com."),
    (
        f"{SHOTS} base_url=https://a.com/v1 allow_endpoint=a.com zero_retention_confirmed=true",
        "names and dates that are burned into the pixels stay: look at the images; then images_confirmed=true",
    ),
    (f"{INFER} checkpoint_dir=absent", "absent: no such folder"),
    (f"{INFER} {REPORTS} text= output=reports.jsonl", "would overwrite reports.jsonl"),
    ("infer task=multiple_choice reports=reports.jsonl output=new.jsonl", "missing required key: checkpoint_dir"),
    ("infer task=multiple_choice reports=reports.jsonl checkpoint_dir=mini", "reports= and output= go together"),
    (
        "infer task=multiple_choice reports=reports.jsonl checkpoint_dir=mini output=[new.jsonl,new.tsv] "
        "adapter_dir=[mini,mini]",
        "new.tsv: JSON lines are written there",
    ),
    (
        "infer task=multiple_choice text=Edema. checkpoint_dir=training",
        "training: has no config.json, but training/merged has; give that folder",
    ),
    (
        "infer task=multiple_choice text=Edema. checkpoint_dir=mini adapter_dir=training",
        "training: has no adapter_config.json, but training/adapter has; give that folder",
    ),
    # Tasks, rows and labels that do not belong together.
    ("label reports=reports.jsonl output=new.csv task=open_ended", "no rules label it"),
    ("label reports=reports.jsonl output=new.csv task=multiple-choice", "did you mean 'multiple_choice'?"),
    ("label reports=reports.jsonl output=new.csv task=nowhere.yaml", "nowhere.yaml: No such file"),
    ("label reports=reports.jsonl output=new.csv task=labels.csv", "nor a path of a .yaml"),
    ("infer task=open_ended text=Edema. checkpoint_dir=mini constrain=true", "the answers of task open_ended are open"),
    ("build output=new.jsonl", "nothing to build: give TASK.reports=..."),
    ("build output=new.jsonl reports=reports.jsonl labels=labels.csv rows=5", "did you mean 'NAME.reports'?"),
    (f"{BUILD} validation_rows=-1", "validation_rows: expected 0 or more"),
    (f"{BUILD} open_end.rows=3", "missing required key: open_end.reports"),
    (f"{BUILD} tasks=[absent.yaml]", "absent.yaml: No such file"),
    (f"{BUILD} validation_rows=3 validation_output=/dev/full", "/dev/full: is a device"),
    (f"{BUILD} output=x/../reports.jsonl", "would overwrite"),
    (f"{BUILD} validation_rows=3 validation_output=new.jsonl", "would overwrite"),
    (f"{BUILD} exclude_ids=[new.jsonl]", "would overwrite"),
    (BUILD.replace("multiple_choice", "open_ended"), "a label table has no phrases"),
    (f"{BUILD} multiple_choice.rows=-1", "multiple_choice.rows: expected 1 or more"),
    (f"{BUILD} multiple_choice.rows=many", "multiple_choice.rows: expected int"),
    (f"{BUILD} multiple_choice.rows=5000", "5000 training rows asked for, 20 there"),
    (f"{BUILD} multiple_choice.rows=5 validation_rows=3", "validation_rows and validation_output go together"),
    (
        BUILD.replace("multiple_choice", "multiple_choise") + " multiple_choise.rows=5",
        "did you mean 'multiple_choice'?",
    ),
    (f"{BUILD} multiple_choice.rows=5 multiple_choice.labels=reports.jsonl", "reports.jsonl:1: no 'labels'"),
    (f"{BUILD} multiple_choice.rows=5 multiple_choice.labels=phrases.jsonl", "a row of task 'open_ended'"),
    (f"{BUILD} multiple_choice.rows=5 multiple_choice.labels=others.csv", "no label for any of the 20 reports"),
    (f"{BUILD} multiple_choice.rows=5 multiple_choice.reports=labels.csv", "labels.csv"),
    (f"{EVALUATE} predictions=reports.jsonl", "reports.jsonl:1: no 'labels'"),
    (f"{EVALUATE} gold=reports.jsonl", "reports.jsonl:1: no 'labels'"),
    (f"{EVALUATE} gold=others.csv", "not in others.csv (reports=FILE scores its reports alone); first:"),
    (f"{EVALUATE} gold=empty.csv", "empty.csv: empty"),
    (f"{EVALUATE} gold=twice.csv", "twice.csv:22: report 'mimic-0-000000' stands twice"),
    (f"{EVALUATE} gold=values.csv", "is '2', expected 1, 0, -1 or blank"),
    (f"{EVALUATE} task=mine.yaml", "mine.yaml"),
    (
        f"{EVALUATE} gold=opacity.csv",
        "opacity.csv:3: 'Airspace Opacity' is none of the classes; write",
    ),
    (
        f"{EVALUATE} uncertain.Edma=drop",
        "uncertain: 'Edma' is none of the classes of multiple_choice; did you mean",
    ),
    (f"{EVALUATE} uncertain=maybe", "uncertain: expected one of drop, positive, negative, state"),
    (f"{EVALUATE} id_column=accession", "no column 'accession' in predictions.jsonl or labels.csv"),
    (f"{EVALUATE} output=link.csv", "link.csv: would overwrite labels.csv"),
    (f"{EVALUATE} reports=empty.jsonl", "empty.jsonl: no rows"),
    (f"{EVALUATE} errors=new.json", "would overwrite new.json"),
    (
        f"{EVALUATE} gold_columns=[Edema,Mass]",
        "gold_columns needs gold_rule=majority|union|intersection or",
    ),
    (f"{EVALUATE} compare_column=labels", "compare_column needs compare"),
    (f"{EVALUATE} by=scanner", "by: no column 'scanner' in labels.csv"),
    (f"{EVALUATE} by=report_id", "by: 'report_id' says whose a report is, or what it says"),
    (f"{EVALUATE} by=Impression", "by: 'Impression' says whose a report is, or what it says"),
    (f"{EVALUATE} predictions=few.jsonl", "few.jsonl: no prediction for 19 reports of labels.csv (reports=FILE scores"),
    (f"{EVALUATE} compare=few.jsonl", "few.jsonl: no prediction for 19 reports of labels.csv (reports=FILE scores its"),
    (f"{EVALUATE} gold_column=lables", "no column 'lables'"),
    (f"{EVALUATE} task=open_ended", "a row of task 'multiple_choice', expected 'open_ended'"),
    (f"{EVALUATE} errors=errors.jsonl", "errors needs the texts: give reports=reports.jsonl"),
    (f"{EVALUATE} output=labels.csv", "would overwrite labels.csv"),
    (f"{EVALUATE} gold_names.Effusion=Edema", "labels.csv: no column 'Effusion'"),
    (f"{EVALUATE} gold_names.Edema=Oedema", "gold_names: multiple_choice has no class 'Oedema'; did you mean 'Edema'?"),
    (f"{EVALUATE} gold_names.Edema=Edema gold_column=Edema", "gold_names is of a label table, no JSONL, and goes with"),
    (f"{EVALUATE} gold_names.Edema=Edema gold=predictions.jsonl", "gold_names is of a label table, no JSONL"),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mistakes")
    shutil.copy("data/synthetic_reports.jsonl", folder / "reports.jsonl")
    ids = [json.loads(line)["report_id"] for line in (folder / "reports.jsonl").open(encoding="utf-8")]
    answers = {"predictions": ("multiple_choice", "Edema"), "phrases": ("open_ended", "edema")}
    for name, (task, label) in answers.items():
        rows = ({"report_id": report_id, "task": task, "labels": [label], "status": "ok"} for report_id in ids)
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = label_columns(load_task("multiple_choice"))
    header = ",".join(["report_id", *columns])
    first, *lines = (",".join([report_id, "1", *["0"] * (len(columns) - 1)]) for report_id in ids)
    texts = {
        "labels.csv": [header, first, *lines], "others.csv": [header, *(f"x{line}" for line in lines)],
        "twice.csv": [header, first, *lines, first], "values.csv": [header, first.replace(",1,0", ",2,0"), *lines],
        "notes.csv": ["NOTE_ID,NOTE", "1,No effusion."], "header.csv": ["report_id,text"],
        "texts.csv": ["NOTE_ID,NOTE", "1,The heart is of normal size and the lungs are clear without any infiltrate."],
        "codes.csv": ["name,icd10", "Nodule,R91.7"],
        "tab.yaml": ["reports:", "\t- a"], "typo.yaml": ["report: a.jsonl"], "list.yaml": ["- a"],
        "gold.csv": ["report_id,text,Edema", "1,Edema.,1"], "braces.jsonl": ["{}"],
        "opacity.csv": ["report_id,labels", "1,Edema", "2,Airspace Opacity"],
        "odd.tsv": ["", "No effusion.\tEffusion=0"], "odder.tsv": ["No effusion.\tPleural Effusion=2"],
    }  # fmt: skip
    for name, content in texts.items():
        (folder / name).write_text("\n".join(content) + "\n")
    for name, data in {"empty.jsonl": b"", "empty.csv": b"", "reports.pdf": b"%PDF", "binary.csv": bytes(256)}.items():
        (folder / name).write_bytes(data)
    (folder / "few.jsonl").write_text((folder / "predictions.jsonl").read_text().partition("\n")[0])
    (folder / "link.csv").symlink_to("labels.csv")
    (folder / "shots").mkdir()
    Image.new("L", (8, 8)).save(folder / "shots" / "a.png")
    (folder / "mini").symlink_to(Path("data/mini").resolve())
    for name in ("merged/config.json", "adapter/adapter_config.json"):
        (folder / "training" / name).parent.mkdir(parents=True)
        (folder / "training" / name).write_text("{}")
    return folder


@pytest.mark.parametrize(("mistake", "message"), MISTAKES, ids=[mistake for mistake, _ in MISTAKES])
def test_a_mistake_is_one_line_that_says_what_to_do(
    files: Path, run_here, monkeypatch: pytest.MonkeyPatch, mistake: str, message: str
) -> None:
    main, before = Path("radtune/__main__.py").resolve(), {path: path.lstat().st_mtime_ns for path in files.iterdir()}
    monkeypatch.chdir(files)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    ended = run_here(main, *mistake.split())
    assert ended.returncode == 2
    # The command may have said before what its input is.
    line = ended.stderr.splitlines()[-1]
    assert ended.stderr.count("error: ") == 1 and line.startswith("radtune") and message in line
    assert {path: path.lstat().st_mtime_ns for path in files.iterdir()} == before
