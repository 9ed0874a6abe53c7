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


def test_prints_precision_and_recall_of_both_halves(tmp_path: Path, capsys) -> None:
    gold = tmp_path / "gold_labels.csv"
    texts = ["Small effusion.", "No effusion.", "Effusion.", "Possible effusion."]
    reports = [report_from_sections(str(i), None, f"{i} mm.", text, "test") for i, text in enumerate(texts)]
    truth = [1, 1, 0, ""]
    rows = "".join(f"{report.report_id},{label}\n" for report, label in zip(reports, truth, strict=True))
    gold.write_text(f"uid,Pleural Effusion\n{rows}", encoding="utf-8")
    bench.print_accuracy(reports, tmp_path)
    printed = capsys.readouterr().out
    totals = [list(map(int, line.split()[-3:])) for line in printed.splitlines() if line.startswith("all")]
    assert [sum(column) for column in zip(*totals, strict=True)] == [2, 2, 2]  # one of each in both readings
    assert "dev, " in printed and "held-out, " in printed


def test_copies_share_no_sentence() -> None:
    report = report_from_sections("a", None, "", "Small effusion. No edema.", "test")
    texts = [copy.text for copy in bench.marked_copies([report])]
    assert len(set(texts)) == len(texts) == bench.COPIES
