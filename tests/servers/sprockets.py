"""A toy: two tasks, rules, truths and reports of an organ that nobody has, all written as files; no line of Python.

150 classes, two of them parents of others, rules for some and names for the rest; phrases of the same reports; and a
table with columns of its own.
"""

import csv
import json
import random
from pathlib import Path

KINDS = (
    "Wug", "Dax", "Fep", "Blick", "Toma", "Zorp", "Gorp", "Pim", "Lorch", "Nib", "Quax", "Sneb", "Tulver", "Vosk", "Yib"
)  # fmt: skip
PLACES = ("apex", "base", "rim", "hub", "axle", "spoke", "tooth", "chain", "pin", "bore")
PARENTS = ("Wug", "Dax")
CLASSES = (*PARENTS, *[f"{kind} {place}" for kind in KINDS for place in PLACES][:148])
# Said in other words than its name, which only the lexicon knows.
REWORDED = {"Fep rim": "feppy edge", "Toma hub": "tomatous hub"}
TASK = """
name: sprocket
title: Sprocket signs
kind: classes
none: Sound
rules: sprocket_rules
prompts:
  training: Which signs does the sprocket show?
  inference: |-
    Which of these signs does the sprocket show? Answer with a list.
    {classes}
classes:
"""
LEXICON = """
["Fep rim"]
mentions = ["feppy (rim|edge)"]
["Toma hub"]
mentions = ["tomatous hub*"]
normal = ["hub is plain"]
[Other]
mentions = ["rust*"]
"""
PHRASE_TASK = """
name: sprocket_phrases
title: Sprocket phrases
kind: phrases
examples: {file: examples.jsonl, shown: 1, drawn_for: [labelling]}
prompts:
  inference: "List what is wrong with the sprocket. {examples}"
"""
ROOT = Path(__file__).resolve().parents[2]


def is_child(name: str) -> bool:
    return name.split()[0] in PARENTS and " " in name


def spoken(name: str) -> str:
    return REWORDED.get(name, name.lower())


def write_jsonl(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_jsonl(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_table(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def write_toy(folder: Path) -> Path:
    """Writes the toy's files, beside what a checkout has: 60 reports in shop.csv, their gold and their phrases."""
    for name in ("configs", "data", "scripts", "recipes", *(path.name for path in ROOT.glob("*.py"))):
        (folder / name).symlink_to(ROOT / name)
    entries = [f"  - {{name: {name}{f', parent: {name.split()[0]}' if is_child(name) else ''}}}\n" for name in CLASSES]
    (folder / "sprocket.yaml").write_text(TASK + "".join(entries))
    (folder / "sprocket_rules").mkdir()
    (folder / "sprocket_rules" / "lexicon.toml").write_text(LEXICON)
    (folder / "sprocket_phrases.yaml").write_text(PHRASE_TASK)
    examples = [
        {"example_id": str(n), "text": f"Worn {n}.", "labels": [f"worn {n}"], "fixed": n == 0} for n in range(3)
    ]
    write_jsonl(folder / "examples.jsonl", examples)
    chance, rows, gold, phrases = random.Random(4), [], [], []  # noqa: S311
    for number in range(60):
        absent, unsure, *labels = chance.sample(CLASSES, chance.randint(2, 4))
        said = [f"{spoken(name)} is seen." for name in labels]
        text = " ".join(["FINDINGS:", *said, f"No {spoken(absent)}.", f"{spoken(unsure)} cannot be excluded."])
        rows.append({"Job": f"j{number}", "Owner": f"o{number // 2}", "Words": text})
        gold.append({"report_id": f"j{number}", "labels": labels})
        phrases.append({"report_id": f"j{number}", "phrases": [{"phrase": spoken(name)} for name in labels]})
    write_table(folder / "shop.csv", rows)
    write_jsonl(folder / "gold.jsonl", gold)
    write_jsonl(folder / "phrases.jsonl", phrases)
    return folder
