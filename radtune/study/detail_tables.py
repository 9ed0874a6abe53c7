"""Tables that the paper has no place for: every cell with its stricter scores, and who agrees with whom."""

from radtune.labels import Status
from radtune.study.plan import Kind
from radtune.study.reported import Reported
from radtune.study.results import Results
from radtune.study.table import MISSING, Column, Table, Value
from radtune.tasks import multiple_choice


def detail_table(results: Results) -> Table:
    """Every cell and task: reports, what became of the model calls, and the stricter scores."""
    seen = {status for metrics in results.metrics.values() for status in metrics.status_counts}
    statuses = [str(status) for status in Status if status in seen]
    columns = [
        Column("cell", "Cell", text=True),
        Column("task", "Task", text=True),
        Column("reports", "Reports"),
        *(Column(status, status, "Answers") for status in statuses),
        Column("f1", "micro", "F1"),
        Column("f1_one_to_one", "one-to-one", "F1"),
        Column("f1_exact", "exact", "F1"),
        Column("f1_tokens", "words", "F1"),
        Column("f1_codes", "codes", "F1"),
        Column("f1_macro", "macro", "F1"),
        Column("kappa", "Kappa"),
        Column("other_names", "Other names"),
    ]
    rows: list[list[Value]] = []
    for cell in results.cells:
        for task in cell.tasks:
            metrics = results.metrics.get((cell.name, task))
            if metrics is None:
                rows.append([cell.name, task, MISSING, *[None] * (len(columns) - 3)])
                continue
            rows.append(
                [
                    cell.name,
                    task,
                    metrics.n_reports,
                    *(metrics.status_counts.get(status, 0) for status in statuses),
                    metrics.micro.f1,
                    metrics.one_to_one.f1 if metrics.one_to_one else None,
                    metrics.exact.f1 if metrics.exact else None,
                    metrics.tokens.f1 if metrics.tokens else None,
                    metrics.codes.code.f1 if metrics.codes else None,
                    metrics.macro.get("f1"),
                    metrics.agreement[0].kappa if metrics.agreement else None,
                    sum(metrics.other_names["predictions"].values()) if metrics.macro else None,
                ]
            )
    return Table("cells", "Every cell", columns, rows, sortable=True)


def agreement_table(results: Results, reported: Reported) -> Table:
    """Cohen's kappa between rule labeler, annotators and gold, beside those that the paper gives in its text."""
    rules = results.only(Kind.RULE_LABELER, multiple_choice.NAME)
    rows: list[list[Value]] = []
    for pair in rules.agreement if rules else []:
        names = ("Rule labeler" if name == "predictions" else name for name in (pair.a, pair.b))
        rows.append(["this study", *names, pair.n_reports, pair.kappa, pair.agreement, pair.exact])
    if rows:
        rows += [["paper", pair.a, pair.b, pair.reports, pair.kappa, None, None] for pair in reported.agreement]
    columns = [
        Column("source", "Source", text=True),
        Column("a", "One", text=True),
        Column("b", "Other", text=True),
        Column("reports", "Reports"),
        Column("kappa", "Kappa"),
        Column("agreement", "Equal labels"),
        Column("exact", "Equal reports"),
    ]
    return Table("agreement", "Agreement on the 13 findings", columns, rows)
