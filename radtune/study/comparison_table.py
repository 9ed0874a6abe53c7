"""Whether a mix is better than the base model, and than the rules that labelled its data, on the same test reports."""

from radtune.score.evaluation import read_metrics
from radtune.study import paths
from radtune.study.plan import Kind, opponents
from radtune.study.results import Results
from radtune.study.table import TASK_TITLES, Column, Table, Value

_TITLES: dict[str, str] = {Kind.BASE: "Base model", Kind.RULE_LABELER: "Rule labeler"}


def comparison_table(results: Results) -> Table:
    """Difference of F1 with its interval, and p-values of the paired bootstrap and of approximate randomization."""
    rows: list[list[Value]] = []
    for task in results.tasks:
        for cell, _ in results.scored(Kind.MIX, task):
            for other in opponents(cell, task):
                path = paths.comparison(results.study, cell, task, other)
                found = read_metrics(path).comparison if path.exists() else None
                if found is not None:
                    f1 = found.f1
                    sizes = [cell.total, cell.wcm, cell.mimic]
                    p_values = [_p_text(f1.p_bootstrap), _p_text(f1.p_randomization)]
                    rows.append([TASK_TITLES[task], *sizes, _TITLES[other], f1.value, f1.ci95, *p_values])
    columns = [
        Column("task", "Task", text=True),
        Column("total", "Total", "Fine-tuning data"),
        Column("wcm", "WCM", "Fine-tuning data"),
        Column("mimic", "MIMIC", "Fine-tuning data"),
        Column("against", "Against", text=True),
        Column("f1_difference", "ΔF1", signed=True),
        Column("f1_difference_ci95", "95 % CI", interval=True, signed=True),
        Column("p_bootstrap", "bootstrap", "p"),
        Column("p_randomization", "randomization", "p"),
    ]
    return Table("comparisons", "Fine-tuned models against others on the same reports", columns, rows)


def _p_text(p: float) -> str:
    """Three decimals; what is below the smallest of them as such."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"
