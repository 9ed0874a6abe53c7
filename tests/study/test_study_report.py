import dataclasses
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import yaml
from hypothesis import given
from hypothesis import strategies as st
from torchtune.training.metric_logging import DiskLogger

from radtune.files import write_bytes, write_jsonl
from radtune.score.calibration import Bin, Calibration, HandedOver
from radtune.study.drawing import INK, PAPER, Drawing
from radtune.study.figures import calibration_figures, f1_by_size, newest_curve
from radtune.study.plan import Study, study_from_mapping
from radtune.study.report import inline_svg, report_html, write_report
from radtune.study.results import read_reported, read_results
from radtune.study.tables import all_tables

ROOT = Path(__file__).resolve().parents[2]
# Phrases of the made-up reports.
WORDS = ("small pleural effusion", "enlarged cardiac silhouette", "left basal opacity", "degenerative spine changes")


class Balance(HTMLParser):
    """Collects ids and links, and fails on tags that close in the wrong order."""

    VOID = ("meta", "wbr")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.ids += [value for name, value in attributes if name == "id" and value]
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href") and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_whole_and_loads_nothing(page: str, scored_study: Study) -> None:
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert len(set(parser.ids)) == len(parser.ids)
    within = [link for link in parser.links if link.startswith("#")]
    assert within
    assert all(link[1:] in parser.ids for link in within)
    # The only others are for a click: each table's file beside the page.
    others = {link for link in parser.links if not link.startswith("#")}
    tables = all_tables(read_results(scored_study), read_reported(scored_study.settings.reported))
    assert others == {f"tables/{table.name}.csv" for table in tables}
    assert set(re.findall(r"url\(#([^)]*)\)", page)) <= set(parser.ids)
    assert "@import" not in page
    assert page.count("<script") == 1


def test_page_says_what_matters(page: str, scored_study: Study) -> None:
    best = read_results(scored_study).best_mix("multiple_choice")
    assert best is not None
    assert f"{best[1].micro.f1:.2f}" in page
    assert re.search(r"For comparison: base model 0\.\d\d, rule labeler 0\.\d\d, teacher 0\.\d\d<", page)
    assert "Paper: 0.67 on 9,000 rows; base model 0.54, rule labeler 0.63, teacher 0.86<" in page
    for text in ("its scores say nothing about the 8B model", "Table 3 as reported", "Pleural Effusion", "truncated"):
        assert text in page, text
    # As metrics.json has it.
    assert "Macro averages the classes that have a gold case." in page
    assert page.count("<svg") == 9
    assert "missing</td>" not in page


def test_page_quotes_reports_only_with_leave(page: str, telling_page: str) -> None:
    phrases = ("small pleural effusion", "degenerative spine changes", "No hiatal hernia")
    assert not [phrase for phrase in phrases if phrase in page]
    assert "This page holds no report text." in page
    assert [phrase for phrase in phrases if phrase in telling_page]
    assert "This page quotes test reports" in telling_page


NASTY = """<script>alert(1)</script></style><img src="x" onerror='alert(1)'>{{ 7 * 7 }}{% raw %}&amp;"""


def test_page_takes_no_name_for_markup(scored_study: Study, tmp_path: Path) -> None:
    settings = dataclasses.replace(
        scored_study.settings, model_name=NASTY, note=NASTY, name=NASTY, show_text=True
    )  # fmt: skip
    study = dataclasses.replace(
        scored_study, run_dir=tmp_path, settings=settings, values={"name": NASTY, "note": NASTY, "model_name": NASTY}
    )
    results = dataclasses.replace(read_results(scored_study), study=study)
    best = results.best_mix("open_ended")
    assert best is not None
    error = {"report_id": NASTY, "side": "fp", "kind": "paraphrase", "label": NASTY, "other": NASTY, "sentence": NASTY}
    write_jsonl(study.evaluation(best[0].name, "open_ended", "errors.jsonl"), [error])
    page = report_html(results, read_reported(study.settings.reported), [], [])
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert not [link for link in parser.links if not link.startswith("#")]
    assert page.count("<script") == page.count("<style") == 1
    assert page.count("{{ 7 * 7 }}{% raw %}&amp;amp;") >= 7


def test_figures_take_names_as_they_stand(scored_study: Study) -> None:
    settings = dataclasses.replace(scored_study.settings, model_name="a$b_1$c <d>")
    results = dataclasses.replace(
        read_results(scored_study), study=dataclasses.replace(scored_study, settings=settings)
    )
    figure = f1_by_size(results, read_reported(scored_study.settings.reported), scored_study.tests["open_ended"])
    assert figure is not None
    assert ">a$b_1$c &lt;d&gt;, fine-tuned</text>" in figure.svg


def test_page_has_a_place_for_every_table_and_figure(page: str, scored_study: Study, figures: list[Drawing]) -> None:
    for table in all_tables(read_results(scored_study), read_reported(scored_study.settings.reported)):
        assert f'id="{table.name}-list"' in page, table.name
    for figure in figures:
        assert f'aria-label="{figure.title}"' in page, figure.name


def test_what_a_study_has_no_more_leaves_its_folders(study_values: dict) -> None:
    study = study_from_mapping(study_values)
    old = [study.run_dir / f"tables/scores_old.{form}" for form in ("csv", "md", "tex")]
    old += [study.run_dir / f"figures/f1_old.{form}" for form in ("svg", "png")]
    own = [study.run_dir / name for name in ("tables/mine.txt", "tables/mine.csv", "figures/mine.png")]
    for path in (*old, *own):
        write_bytes(path, b"")
    write_report(read_results(study), read_reported(None))
    assert not any(path.exists() for path in old) and all(path.exists() for path in own)
    assert (study.run_dir / "tables" / "reports.csv").exists()


def test_page_of_a_study_that_has_not_run(study_values: dict) -> None:
    study_values["note"] = "a <b>note</b>"
    study = study_from_mapping(study_values)
    results, reported = read_results(study), read_reported(study.settings.reported)
    page, tables = write_report(results, reported)
    text = page.read_text()
    assert "0 of 26 scores" in text
    assert "no mix scored yet" in text
    assert '<td class="missing">missing</td>' in text
    assert "a &lt;b&gt;note&lt;/b&gt;" in text
    assert "<svg" not in text
    assert all((page.parent / "tables" / f"{table.name}.tex").exists() for table in tables)


def test_figures_are_those_of_the_study(scored_study: Study, figures: list[Drawing]) -> None:
    assert [figure.name for figure in figures] == [
        "f1_by_size_multiple_choice", "f1_by_size_open_ended", "figure_3", "figure_4a", "figure_4b",
        "f1_by_class_multiple_choice", "curves_mixes", "curves_learning_rates", "curves_one_task_alone",
    ]  # fmt: skip
    for figure in figures:
        assert ElementTree.fromstring(figure.svg).tag.endswith("svg")  # noqa: S314  (ours)
        assert figure.png.startswith(b"\x89PNG")
    results, reported = read_results(scored_study), read_reported(scored_study.settings.reported)
    assert f1_by_size(results, reported, scored_study.tests["multiple_choice"]) == figures[0]
    assert "Rule labeler" in figures[0].svg
    assert "Rule labeler" not in figures[1].svg


def test_scores_that_are_calibrated_are_drawn(scored_study: Study) -> None:
    results, test = read_results(scored_study), scored_study.tests["multiple_choice"]
    assert calibration_figures(results, test) == []
    curve = [HandedOver(share, 0.8 + share / 4, (0.7, 0.9)) for share in (0.0, 0.25, 0.5)]
    found = Calibration(0.123, (0.1, 0.2), [Bin(0.05, 0.1, 90), Bin(0.9, 0.7, 10)], curve)
    scored = ("base", "constrained", "mix_200_100", "mix_600_300")
    metrics = {
        place: dataclasses.replace(one, calibration=found) if place[0] in scored else one
        for place, one in results.metrics.items()
    }
    drawn = calibration_figures(dataclasses.replace(results, metrics=metrics), test)
    assert [one.name for one in drawn] == ["reliability_multiple_choice", "handed_over_multiple_choice"]
    assert drawn[0].svg.count("error 0.123") == 4 and "50%" in drawn[1].svg
    assert all(f"Fine-tuned by our recipe ({name}): error" in drawn[0].svg for name in scored[2:])
    # Of fewer scores a share says little, and the figure says that they are not drawn.
    assert "(of 10 or more)" in drawn[0].svg


def test_inline_figures_take_the_page_s_colours(figures: list[Drawing]) -> None:
    svg = inline_svg(figures[0])
    assert INK not in svg
    assert PAPER not in svg
    assert "currentColor" in svg
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", svg)


def test_command(few_values: dict, tmp_path: Path, score: Callable[..., None], run_here: Callable) -> None:
    few_values["mixes"] = [[100, 50]]
    study_file = tmp_path / "study.yaml"
    score(study_from_mapping(few_values), skip=("teacher",))

    def report(values: dict) -> SimpleNamespace:
        study_file.write_text(yaml.safe_dump(values, sort_keys=False))
        return run_here("scripts/study_report.py", f"study={study_file}")

    done = report(few_values | {"modelname": "x"})
    assert done.returncode == 2
    assert done.stderr.strip().endswith("unknown key 'modelname'; did you mean 'model_name'?")
    assert not (tmp_path / "run" / "report.html").exists()
    done = report(few_values | {"show_text": True})
    assert done.returncode == 0, done.stderr
    # A terminal's scrollback and a job's output are kept elsewhere: they quote no report.
    quoted = (tmp_path / "run" / "tables" / "table_5.csv").read_text()
    assert "small pleural effusion" in quoted or "enlarged cardiac silhouette" in quoted
    assert not [phrase for phrase in WORDS if phrase in done.stdout]
    lines = done.stdout.splitlines()
    titles = [line[:7] for line in lines if line.startswith("Table ")]
    assert titles == ["Table 1", "Table 3", "Table 3", "Table 4", "Table 4", "Table 5", "Table 6"]
    assert lines[-1] == str(tmp_path / "run" / "report.html")
    assert any("missing" in line for line in lines)
    assert any("0.83    0.89  0.86" in line for line in lines)
    manifest = json.loads((tmp_path / "run" / "report.html.manifest.json").read_text())
    assert len(manifest["inputs"]) == 6


def test_losses_are_read_from_either_recipes_log(tmp_path: Path) -> None:
    assert newest_curve(tmp_path) is None
    assert newest_curve(tmp_path / "absent") is None
    logger = DiskLogger(str(tmp_path / "logs"))
    for step in range(1, 4):
        logger.log_dict({"loss": 1 / step, "lr": 1e-4, "tokens_per_second_per_gpu": 70.5}, step)
    logger.log("validation_loss", 0.7, 3)
    logger.close()
    curve = newest_curve(tmp_path)
    assert curve is not None
    assert curve.training == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert curve.validation == [(3, 0.7)]
    (tmp_path / "logs" / "log_9.txt").write_text("Step 1 | loss:2.0 lr:0.1 \n")
    (tmp_path / "logs" / "notes.txt").write_text("no losses here\n")
    curve = newest_curve(tmp_path)
    assert curve is not None
    assert curve.training == [(1, 2.0)]
    # A history holds what was before a stop, too; the last line of a training that was killed is torn.
    rows = [{"step": 1, "loss": 0.9}, {"step": 2, "validation_loss": 0.85}, {"event": "saved"}]
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 3, "lo')
    curve = newest_curve(tmp_path)
    assert curve is not None
    assert (curve.training, curve.validation) == ([(1, 0.9)], [(2, 0.85)])


@given(points=st.lists(st.tuples(st.integers(0, 10**6), st.floats()), min_size=1))
def test_losses_that_are_no_numbers_are_left_out(tmp_path_factory, points) -> None:
    folder = tmp_path_factory.mktemp("logs")
    (folder / "log.txt").write_text("".join(f"Step {step} | loss:{loss} lr:nan \n" for step, loss in points))
    finite = [point for point in points if abs(point[1]) < float("inf")]
    curve = newest_curve(folder)
    assert (curve.training if curve else []) == finite
