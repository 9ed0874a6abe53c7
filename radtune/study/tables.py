"""All tables of a study: the paper's with its numbers beside ours, those behind its figures, and more of our own."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from radtune.label_files import LabelFile, joined_to
from radtune.labels import Status
from radtune.score.copies import NAME as COPIES
from radtune.score.copies import Copies, copy_rows, read_copies
from radtune.score.evaluation import Metrics
from radtune.sources.table import reports_of
from radtune.study.cells import Kind, rate_text
from radtune.study.findings import class_table, error_tables, group_tables, status_table
from radtune.study.formats import MISSING, NOT_TRAINED, Key, Row, Spread, Table, slug
from radtune.study.plan import Study
from radtune.study.results import Reported, Results, gold_of, reports_per_second
from radtune.study.settings import ALL, Cohort, Test, is_synthetic
from radtune.study.titles import (
    DATA,
    FIGURES,
    SCORES,
    TRAINING,
    figure_names,
    labeler_title,
    lower_first,
    row_label,
    rows_of_task,
    system_title,
    told_apart,
)
from radtune.tasks import shows_images

RULE_TITLES = {"name": "Name", "code": "Code", "category": "Category", "code_side": "Code and side"}
_DIFFERENCES: tuple[Key, ...] = ("ΔF1", "95 % CI", ("Paper", "ΔF1"))
_SIZES = "Fine-tuning data"


def all_tables(results: Results, reported: Reported) -> list[Table]:
    """Every table in the order of the paper, then ours, but for ensembles'; those that would be empty left out."""
    study, tests = results.study, results.study.tests.values()
    found = [dataset_table(study, reported)]
    for test in tests:
        found += [score_table(results, reported, test), paper_table(study, reported, test)]
    found.append(per_report_table(results, reported))
    found += [table for test in tests for table in error_tables(results, reported, test)]
    found += [learning_rate_table(results, reported, test) for test in tests]
    found += [separate_table(results, reported), comparison_table(results), *copies_tables(study)]
    found += [table for test in tests for table in (class_table(results, test), status_table(results, test))]
    found += [table for test in tests for table in group_tables(results, test)]
    found += [cell_table(results), *(agreement_table(results, reported, test) for test in tests)]
    return [table for table in found if table.rows]


def dataset_table(study: Study, reported: Reported) -> Table:
    """Table 1: which reports the study trains on and scores, and who labelled them, beside the paper's."""
    left = {cohort.name: cohort for cohort in study.used_cohorts}
    taken = {name: [cell.rows.get(name, 0) for cell in study.cells if not cell.fold] for name in left}
    most: dict[str, int | str] = {name: ALL if None in n else max(filter(None, n)) for name, n in taken.items()}
    parts: list[Cohort | Test] = []
    for test in study.tests.values():
        parts += [left.pop(name) for name, cohort in list(left.items()) if cohort.task.name == test.task.name]
        parts.append(test)
    rows = [_dataset_row(study, reported, part, most.get(part.name)) for part in [*parts, *left.values()]]
    name, title = ("table_1", "Table 1: reports") if reported.datasets else ("reports", "Reports")
    return Table(name, f"{title} and their labels", DATA, rows, printed=True)


def _dataset_row(study: Study, reported: Reported, part: Cohort | Test, most: int | str | None) -> Row:
    if isinstance(part, Test):
        usage = "validation" if part.name in study.settings.validations else "evaluation"
        title, reports, labels = part.title, study.test_reports(part.name), part.gold
        annotator = "Known truth" if is_synthetic(part) else labels.name
    else:
        usage, title, reports = "training", part.task.title, study.cohort_file(part.name, "reports.jsonl")
        labels = study.weak_labels(part)
        annotator = labeler_title(study, part.labels) or labels.name
    source = str(part.source.get("source", "table"))
    given = Path(str(part.source.get("input", reports))).name
    counts: Row = {"Reports": MISSING, "Patients": None, "Words": None, "Labels": None}
    if reports.exists() and labels.exists():
        found = gold_of(part) if isinstance(part, Test) else part.read_labels(labels)
        counts = _counts(reports, found)
    row: Row = {
        "Task": title, "Usage": usage, "Dataset": given if source == "table" else source.replace("_", " ").capitalize(),
        "Annotator": annotator, "Reports": counts.pop("Reports"),
        "Trained on": NOT_TRAINED if isinstance(part, Test) else most, **counts,
    }  # fmt: skip
    if not reported.datasets:
        return row
    theirs = next((row for row in reported.datasets if (row["task"], row["usage"]) == (part.task.name, usage)), {})
    return row | {("Paper", name): theirs.get(name.lower()) for name in ("Dataset", "Annotator", "Reports")}


def _counts(reports: Path, given: LabelFile) -> Row:
    """Reports, patients (None where unknown), median words of a report, mean labels of one that has been labelled."""
    answers = joined_to(given, [report.report_id for report in reports_of(reports)])[0].answers
    patients, words, labels = set[str | None](), list[int](), list[int]()
    for report in reports_of(reports):
        patients.add(report.patient_id)
        words.append(len(report.text.split()))
        if report.report_id in answers:
            labels.append(len(answers[report.report_id].labels))
    return {
        "Reports": len(words),
        "Patients": None if None in patients else len(patients),
        "Words": int(statistics.median(words)) if words else None,
        "Labels": statistics.fmean(labels) if labels else None,
    }


def _sizes(titles: Mapping[str, str], rows: Mapping[str, int | None] | None) -> Row:
    """Rows in total and by cohort, whose titles are given; of None, that it has nothing to do with fine-tuning."""
    counts = {title: (rows or {}).get(name, 0) for name, title in titles.items()}
    whole = None in counts.values()
    total = {"Total": None if whole else sum(count or 0 for count in (rows or {}).values())}
    shown = {title: ALL if count is None else count for title, count in (total | counts).items()}
    return {(_SIZES, title): NOT_TRAINED if rows is None else count for title, count in shown.items()}


def _scores(scores: Sequence[Metrics]) -> Row:
    """Precision, recall, F1 and its interval; of several seeds mean and standard deviation."""
    names = ("Precision", "Recall", "F1")
    if not scores:
        return dict.fromkeys((*names, "F1 95 % CI"), MISSING)
    if len(scores) == 1:
        micro = scores[0].micro
        return {name: getattr(micro, name.lower()) for name in names} | {"F1 95 % CI": tuple(micro.ci95["f1"])}
    found = {name: [getattr(metrics.micro, name.lower()) for metrics in scores] for name in names}
    spread: Row = {name: Spread(statistics.fmean(some), statistics.stdev(some)) for name, some in found.items()}
    return spread | {"F1 95 % CI": NOT_TRAINED, "Seeds": len(scores)}


def score_table(results: Results, reported: Reported, test: Test) -> Table:
    """Table 3 or 4: precision, recall and F1 of base, mixes, labelers and teacher, beside the paper's."""
    rows: list[Row] = []
    kinds = (
        Kind.BASE, Kind.MIX, Kind.ENSEMBLE, Kind.LINEAR, Kind.RULE_LABELER, Kind.ANNOTATOR, Kind.TEACHER
    )  # fmt: skip
    for kind in kinds:
        for cell, scores in results.groups(kind, test.name):
            paper = reported.row(cell, test.task.name)
            learns = kind in (Kind.BASE, Kind.MIX, Kind.LINEAR)
            sizes = _sizes(results.study.titles, cell.rows if learns else None)
            row = {"Model": row_label(results.study, cell), **sizes, **_scores(scores)}
            if test.task.name in reported.tables:
                row |= {("Paper", name): getattr(paper, name.lower(), None) for name in ("Precision", "Recall", "F1")}
                f1 = statistics.fmean(metrics.micro.f1 for metrics in scores) if scores else None
                row["Paper", "ΔF1"] = f1 - paper.f1 if f1 is not None and paper else None
            rows.append(row)
            seeded = [each for each in results.of_kind(kind, test.name) if each.group == cell.group]
            rates = [reports_per_second(results, each, test.name) for each in seeded]
            if known := [rate for rate in rates if rate is not None]:
                row["Reports/s"] = statistics.fmean(known)
    numbered = reported.tables.get(test.task.name) if test.name == test.task.name else None
    title = f"{numbered.title}: {lower_first(test.title)}" if numbered else test.title
    name = slug(numbered.title) if numbered else f"scores_{test.name}"
    return Table(name, f"{title}, micro-averaged", SCORES, rows, signed=_DIFFERENCES, printed=True)


def paper_table(study: Study, reported: Reported, test: Test) -> Table:
    """The paper's own table, whole, for studies that train on other amounts; of any other without a row."""
    table = reported.tables.get(test.task.name)
    if table is None or test.name != test.task.name or reported.has_mixes(study):
        return Table("", "", SCORES, [])
    titles = {name: study.titles.get(name, name.upper()) for row in table.rows for name in row.mix}
    rows: list[Row] = []
    for row in table.rows:
        sizes = _sizes(titles, row.mix if row.kind in (Kind.BASE, Kind.MIX) else None)
        rows.append({"Model": row.model, **sizes, "Precision": row.precision, "Recall": row.recall, "F1": row.f1})
    title = f"{table.title} as reported ({reported.source}, section {table.section})"
    return Table(f"{slug(table.title)}_paper", title, SCORES, rows, printed=True)


def per_report_table(results: Results, reported: Reported) -> Table:
    """Of a study that shows images: names, codes and sides averaged over reports, with published numbers."""
    study, rows = results.study, list[Row]()
    for cell, name in study.scores if any(shows_images(test.task) for test in study.tests.values()) else ():
        metrics = results.metrics.get((cell.name, name))
        for rule, mean in metrics.codes.per_report.items() if metrics and metrics.codes else ():
            row: Row = {
                "Asked": study.tests[name].title,
                "Model": row_label(study, cell),
                "Right by": RULE_TITLES[rule],
            }
            row |= {"Precision": mean.precision, "Recall": mean.recall, "F1": mean.f1, "F1 95 % CI": mean.ci95["f1"]}
            rows.append(row | {"Made up a report": metrics.codes.hallucinated if rule == "name" else None})
    for test in study.tests.values() if rows else ():
        for theirs in reported.per_report.get(test.task.name, ()):
            row = {"Asked": test.title, "Model": theirs["model"], "Right by": RULE_TITLES[str(theirs["rule"])]}
            rows.append(row | {name: theirs[name.lower()] for name in ("Precision", "Recall", "F1")})
    return Table("per_report", "Averaged over reports, with published numbers", SCORES, rows, printed=True)


def learning_rate_table(results: Results, reported: Reported, test: Test) -> Table:
    """What Figure 3 shows: scores by learning rate."""
    rows: list[Row] = []
    for cell, scores in results.groups(Kind.LEARNING_RATE, test.name):
        used = " + ".join(results.study.titles[name] for name, count in cell.rows.items() if count != 0)
        row: Row = {"Learning rate": rate_text(cell.learning_rate or 0), f"{used} rows": cell.total}
        rows.append(row | _scores(scores))
    name, title = figure_names(reported, Kind.LEARNING_RATE, test)
    return Table(name, f"{title} by learning rate", FIGURES, rows)


def separate_table(results: Results, reported: Reported) -> Table:
    """What Figure 4 shows: each task trained alone, and jointly, by rows of that task."""
    rows: list[Row] = []
    for test in (results.study.tests[name] for name in results.study.settings.separate):
        for kind, training in ((Kind.SEPARATE, "separate"), (Kind.MIX, "joint")):
            for cell, scores in results.groups(kind, test.name):
                row: Row = {"Task": test.title, "Training": training}
                row["Rows of the task"] = rows_of_task(results.study, cell, test)
                rows.append(row | _scores(scores))
    numbers = {figure.title.rstrip("abcdefgh") for figure in reported.figures if figure.kind == Kind.SEPARATE}
    number = min(numbers, default="Separate")
    return Table(slug(number), f"{number}: joint against separate training", FIGURES, rows)


def comparison_table(results: Results) -> Table:
    """Systems compared on the same reports, with p-values of the paired bootstrap and of approximate randomization."""
    study = results.study
    rows: list[Row] = []
    for test in study.tests.values():
        for cell in (study.cell(name) for name, tested in results.comparisons if tested == test.name):
            against = results.comparisons[cell.name, test.name]
            titles = told_apart(study, [study.cell(other) for other in against])
            for title, found in zip(titles, against.values(), strict=True):
                if found.comparison is None:
                    continue
                f1 = found.comparison.f1
                row: Row = {"Task": test.title, **_sizes(study.titles, cell.rows)}
                row |= {"System": system_title(study, cell), "Against": title, "F1": found.micro.f1}
                row |= {"ΔF1": f1.value, "95 % CI": tuple(f1.ci95)}
                # Three decimals; what is below the smallest of them as such.
                for name, p in (("bootstrap", f1.p_bootstrap), ("randomization", f1.p_randomization)):
                    row["p", name] = "<0.001" if p < 0.001 else f"{p:.3f}"
                rows.append(row)
    title = "Systems compared on the same reports"
    return Table("comparisons", title, SCORES, rows, signed=_DIFFERENCES, prose=("System",), printed=True)


def copies_tables(study: Study) -> Iterator[Table]:
    """What scripts/verify_model.py has found, where its ``output=`` is a folder in the study's."""
    for path in sorted(study.run_dir.glob(f"*/{COPIES}")):
        yield copies_table(slug(path.parent.name), read_copies(path))


def copies_table(name: str, found: Copies) -> Table:
    """How far copies of one model answer alike, and what each takes."""
    title = f"Copies of one model, {found.task}: {found.n_reports:,} reports, each copy beside the first"
    return Table(name, title, SCORES, copy_rows(found), signed=("ΔF1", "95 % CI of ΔF1"))


def cell_table(results: Results) -> Table:
    """Every cell and test: reports, what became of the model calls, and the stricter scores."""
    seen = {status for metrics in results.metrics.values() for status in metrics.status_counts}
    rows: list[Row] = []
    for cell, test in results.study.scores:
        row: Row = {"Cell": cell.name, "Task": test, "Reports": MISSING}
        if metrics := results.metrics.get((cell.name, test)):
            row["Reports"] = metrics.n_reports
            row |= {("Answers", s.value): metrics.status_counts.get(s.value, 0) for s in Status if s.value in seen}
            row["F1", "micro"] = metrics.micro.f1
            for title, score in (
                ("one-to-one", metrics.one_to_one), ("exact", metrics.exact), ("words", metrics.tokens),
                ("codes", metrics.codes and metrics.codes.code),
            ):  # fmt: skip
                row["F1", title] = score.f1 if score else None
            row["F1", "macro"] = metrics.macro.get("f1")
            row["Kappa"] = metrics.agreement[0].kappa if metrics.agreement else None
            row["Other names"] = sum(metrics.other_names["predictions"].values()) if metrics.macro else None
        rows.append(row)
    return Table("cells", "Every cell", TRAINING, rows, sortable=True)


def agreement_table(results: Results, reported: Reported, test: Test) -> Table:
    """Cohen's kappa between rule labeler, gold and annotators, beside those that the paper gives in its text."""
    labeler, rules = next(iter(results.scored(Kind.RULE_LABELER, test.name)), (None, None))
    any_metrics = next((metrics for (_, name), metrics in results.metrics.items() if name == test.name), None)
    shown = rules or any_metrics
    rows: list[Row] = []
    for pair in shown.agreement if shown else ():
        if rules is None and "predictions" in (pair.a, pair.b):
            continue
        title = row_label(results.study, labeler) if labeler else ""
        one, other = (title if name == "predictions" else name for name in (pair.a, pair.b))
        row: Row = {"Source": "this study", "One": one, "Other": other, "Reports": pair.n_reports}
        rows.append(row | {"Kappa": pair.kappa, "Equal labels": pair.agreement, "Equal reports": pair.exact})
    for theirs in reported.agreement if rows else ():
        if theirs["task"] == test.task.name:
            row = {"Source": "paper", "One": theirs["a"], "Other": theirs["b"], "Reports": theirs["reports"]}
            rows.append(row | {"Kappa": theirs["kappa"]})
    return Table(f"agreement_{test.name}", f"{test.title}: agreement on {len(test.task.classes)} classes", DATA, rows)
