"""Tables of what a model finds and misses: its errors, classes and groups of reports."""

from collections import Counter
from collections.abc import Iterator, Sequence

from radtune.label_files import joined_to
from radtune.labels import Answer, State
from radtune.score.errors import FALSE_NEGATIVE, FALSE_POSITIVE, ErrorKind, LabelError
from radtune.score.evaluation import Group, Metrics
from radtune.study.cells import Cell, Kind
from radtune.study.formats import NOT_TRAINED, Key, Row, Table, slug
from radtune.study.results import Reported, Results, gold_of, predictions_of, read_errors
from radtune.study.settings import Test
from radtune.study.titles import BASE_TITLE, ERRORS, FINDINGS, lower_first, mix_text, row_label

SIDE_TITLES = {FALSE_POSITIVE: "False positive", FALSE_NEGATIVE: "False negative"}
KIND_TITLES = {
    ErrorKind.MISSPELLING: "Misspelling",
    ErrorKind.DESCRIPTION: "Device, place or side described differently",
    ErrorKind.CONJUNCTION: "Conjunction split or joined",
    ErrorKind.PARAPHRASE: "Other paraphrase",
    ErrorKind.UNCERTAIN: "Uncertain: “possibly”, “likely”, …",
    ErrorKind.NEGATED: "Negated in the report",
    ErrorKind.NOT_IN_REPORT: "Not in the report",
    ErrorKind.NOT_IN_GOLD: "In the report, not in gold",
    ErrorKind.MISSED: "Missed",
}
# What the paper calls a paraphrase, one kind in its Table 5, and takes apart in its Table 6.
WORDINGS = (ErrorKind.MISSPELLING, ErrorKind.DESCRIPTION, ErrorKind.CONJUNCTION, ErrorKind.PARAPHRASE)
# A page with more would be slow on a phone; errors.jsonl has them all.
MOST_LISTED = 1000
_STATES = {
    State.PRESENT: "positive", State.UNCERTAIN: "uncertain", State.ABSENT: "negative", None: "not mentioned"
}  # fmt: skip
# Where scores stand by value of a column, those of all reports.
_WHOLE = "all"


def error_tables(results: Results, reported: Reported, test: Test) -> Iterator[Table]:
    """Table 5, the best mix's errors by kind, and of phrases Table 6, why labels that mean the same do not match."""
    found = read_errors(results, test.name)
    if found is None:
        return
    cell, errors = found
    show, classes = results.study.settings.show_text, test.task.classes
    paper = next((p for p in reported.errors if p.task == test.task.name == test.name), None)
    title, name = (f"{paper.title}: {lower_first(test.title)}", slug(paper.title)) if paper else (
        test.title, f"errors_{test.name}"
    )  # fmt: skip
    whose = f"{results.study.settings.model_name}, {f'fine-tuned on {mix_text(cell)}' if cell.is_tuned else 'base'}"
    kinds = [(kind,) for kind in ErrorKind if classes or kind not in WORDINGS]
    rows: list[Row] = []
    for side, side_title in SIDE_TITLES.items():
        for group in kinds if classes else [WORDINGS, *kinds]:
            some = [error for error in errors if error.side == side and error.kind in group]
            known = paper.rows if paper else ()
            theirs = [int(row["count"]) for row in known if (row["side"], set(row["kinds"])) == (side, {*group})]
            if not some and not theirs:
                continue
            wordings = f"Paraphrase, see {paper.wordings if paper else 'the wordings below'}"
            row: Row = {"Error": side_title, "Kind": wordings if group == WORDINGS else KIND_TITLES[group[0]]}
            row |= {"Count": len(some), "Share": len(some) / len(errors) if errors else None}
            if paper:
                row["Paper", "Count"] = sum(theirs) or None
            if classes or show:
                shown = Counter(text for error in some if (text := _shown(test, error, show)))
                row["Most often" if classes else "Example"] = next((text for text, _ in shown.most_common(1)), None)
            rows.append(row)
    yield Table(
        name, f"{title}, errors of {whose}", ERRORS, rows, prose=("Example",), quotes=("Example",), printed=not classes
    )
    if not classes:
        title, name = (paper.wordings, slug(paper.wordings)) if paper else (test.title, f"wordings_{test.name}")
        rows = [_wording_row([error for error in errors if error.kind == kind], kind, show) for kind in WORDINGS]
        examples: tuple[Key, ...] = (("Example", "Generated"), ("Example", "Gold"))
        yield Table(
            name, f"{title}: paraphrases by reason", ERRORS, rows, prose=examples, quotes=examples, printed=True
        )


def _wording_row(errors: Sequence[LabelError], kind: ErrorKind, show: bool) -> Row:
    row: Row = {"Reason": KIND_TITLES[kind]}
    row |= {f"{title}s": sum(error.side == side for error in errors) for side, title in SIDE_TITLES.items()}
    if show:
        pair = next(((e.label, e.other, e.side) for e in errors if e.label and e.other), (None, None, ""))
        generated, gold = pair[:2] if pair[2] != FALSE_NEGATIVE else pair[1::-1]
        row |= {("Example", "Generated"): generated, ("Example", "Gold"): gold}
    return row


def error_list(results: Results) -> tuple[Table, int]:
    """Every error of the best mixes, one a row, at most :data:`MOST_LISTED` a test; and how many there are beyond.

    Names of classes are shown always, phrases and sentences only where the study shows text.
    """
    show, unlisted = results.study.settings.show_text, 0
    rows: list[Row] = []
    for test in results.study.tests.values():
        _, errors = read_errors(results, test.name) or (None, [])
        unlisted += len(errors[MOST_LISTED:])
        for error in errors[:MOST_LISTED]:
            row: Row = {"Task": test.title, "Report": error.report_id, "Error": error.side.upper()}
            row |= {"Kind": KIND_TITLES[error.kind], "Label": _shown(test, error, show)}
            rows.append(row | ({"Other side": error.other, "Sentence": error.sentence} if show else {}))
    prose = ("Kind", "Label", "Other side", "Sentence")
    return Table("errors", "Every error", ERRORS, rows, sortable=True, prose=prose), unlisted


def _shown(test: Test, error: LabelError, show: bool) -> str | None:
    """A class by its name. Any other label is the model's own words, which it may have from the report."""
    if show or error.label in test.task.classes:
        return error.label
    return "another name" if test.task.classes else None


def class_cells(results: Results, test: str) -> Iterator[tuple[Cell, str, Metrics]]:
    """Base, best mix, rule labeler and teacher, those that are scored on a test: cell, title, scores."""
    yield from ((cell, BASE_TITLE, metrics) for cell, metrics in results.scored(Kind.BASE, test))
    if best := results.best_mix(test):
        yield best[0], f"Best mix ({mix_text(best[0])})", best[1]
    for kind in (Kind.RULE_LABELER, Kind.TEACHER):
        for cell, metrics in results.scored(kind, test)[:1]:
            yield cell, row_label(results.study, cell), metrics


def class_table(results: Results, test: Test) -> Table:
    """F1 by class of base, best mix, rule labeler and teacher."""
    shown = list(class_cells(results, test.name)) if test.task.classes else []
    rows: list[Row] = []
    for name in test.task.classes if shown else ():
        row: Row = {"Class": name, "Gold cases": shown[0][2].per_class[name].support}
        for _, title, metrics in shown:
            score = metrics.per_class[name]
            row["F1", title] = score.f1 if score.support + score.fp else NOT_TRAINED
        rows.append(row)
    return Table(f"classes_{test.name}", f"{test.title} by class", FINDINGS, rows, sortable=True)


def group_tables(results: Results, test: Test) -> list[Table]:
    """F1 by modality, or another column of the test's reports, of base, best mix, rule labeler and teacher.

    Micro, with its interval, and macro: as the sibling system's scores are given (docs/differential.md).
    """
    shown = list(class_cells(results, test.name))
    found = []
    for column in shown[0][2].by if shown else ():
        rows: list[Row] = []
        for value in (*shown[0][2].by[column], _WHOLE):
            for _, title, metrics in shown:
                whole = Group(metrics.n_reports, metrics.micro, metrics.macro.get("f1"))
                group = metrics.by[column].get(value, whole)
                row: Row = {column.capitalize(): value, "Reports": group.n_reports, "Model": title}
                row |= {"Micro F1": group.micro.f1, "95 % CI": tuple(group.micro.ci95["f1"]), "Macro F1": group.macro}
                rows.append(row)
        found.append(Table(f"{slug(column)}_{test.name}", f"{test.title} by {column}", FINDINGS, rows, printed=True))
    return found


def status_table(results: Results, test: Test) -> Table:
    """A confusion matrix over all pairs of a test report and a class: what becomes of findings in doubt.

    Rows are the rule labeler's states, columns those of gold (a list of labels has two: named or not), and the share of
    a row's pairs that each model names.
    """
    title = f"{test.title}: states by the rule labeler, in gold, and what the models name"
    rows: list[Row] = []
    # Of a task without rules of its own, those of the study's labelers.
    if labeled := results.scored(Kind.RULE_LABELER, test.name):
        shown = [pair for pair in class_cells(results, test.name) if pair[0].kind != Kind.RULE_LABELER]
        models = [(label, predictions_of(results.study, cell.name, test).answers) for cell, label, _ in shown]
        rules = predictions_of(results.study, labeled[0][0].name, test)
        gold = joined_to(gold_of(test), rules.answers)[0].answers
        pairs: dict[str, list[tuple[str, str]]] = {state: [] for state in _STATES.values()}  # by the rules' state
        for report_id, answer in rules.answers.items():
            for name in test.task.classes:
                pairs[_state(answer, name)].append((report_id, name))
        truth = {pair: _state(gold.get(pair[0]), pair[1]) for some in pairs.values() for pair in some}
        seen = [state for state in (*_STATES.values(), "named", "not named") if state in truth.values()]
        for state, some in ((state, some) for state, some in pairs.items() if some):
            counts = Counter(truth[pair] for pair in some)
            row: Row = {"Rule labeler": state, "Pairs": len(some)} | {("Gold", name): counts[name] for name in seen}
            for label, answers in models:
                named = sum(report_id in answers and name in answers[report_id].labels for report_id, name in some)
                row["Named by (share)", label] = named / len(some)
            rows.append(row)
    return Table(f"statuses_{test.name}", title, FINDINGS, rows)


def _state(answer: Answer | None, name: str) -> str:
    if answer is not None and answer.states is None:
        return "named" if name in answer.labels else "not named"
    return _STATES[answer.states.get(name) if answer and answer.states else None]
