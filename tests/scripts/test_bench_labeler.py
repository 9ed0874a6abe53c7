from pathlib import Path

import bench_labeler as bench

from radtune.report import report_from_sections


def test_the_same_words_are_in_the_same_half() -> None:
    halves = []
    for number in range(40):
        sections = (f"Nodule of {number} mm.", "Small effusion.")
        report = report_from_sections("a", None, *sections, "test")
        louder = report_from_sections("b", "p", *(section.upper().replace(".", " !") for section in sections), "test")
        assert bench.half(report) == bench.half(louder)
        halves.append(bench.half(report))
    assert {"dev", "held-out"} == set(halves)


def test_prints_scores_of_both_halves_and_speed(tmp_path: Path, succeeds) -> None:
    texts = ["Small effusion.", "No effusion.", "Effusion.", "Possible effusion."] * 6
    columns = sorted({column for columns in bench.NIH_COLUMNS.values() for column in columns})
    seen = ",".join(str(int(column == "Effusion")) for column in columns)
    files = {
        "reports.csv": ["uid,findings,impression", *(f"{i},{i} mm.,{text}" for i, text in enumerate(texts))],
        bench.GOLD: ["uid,Pleural Effusion", *(f"{i},{label}" for i, label in enumerate(["1", "1", "0", ""] * 6))],
        bench.NIH_GOLD: [f"uid,{','.join(columns)}", *(f"{i},{seen}" for i in range(4))],
    }
    for name, lines in files.items():
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
    said = succeeds("benchmarks/bench_labeler.py", f"openi={tmp_path}", "runs=1", "characters=2000").stdout
    totals = [list(map(int, line.split()[-3:])) for line in said.splitlines() if line.startswith("all")]
    # In both readings: of MeSH's six of each, of NIH's two of four, as a possible one is not positive.
    assert [sum(column) for column in zip(*totals, strict=True)] == [2 * (6 + 2), 2 * 6, 2 * (6 + 2)]
    assert len(totals) == 8
    dev, held_out = said[: said.index("held-out")], said[said.index("held-out") :]
    assert "Pleural Effusion" in dev and "Pleural Effusion" not in held_out
    assert "one core: " in held_out and held_out.count("2,000 characters, ") == 4


def test_copies_share_no_sentence() -> None:
    report = report_from_sections("a", None, "", "Small effusion. No edema.", "test")
    texts = [copy.text for copy in bench.marked_copies([report])]
    assert len(set(texts)) == len(texts) == bench.COPIES
