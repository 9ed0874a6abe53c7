"""Positive, negative, uncertain, not mentioned: what rules, gold and models make of the same findings."""

from collections import Counter

from radtune.findings import FINDINGS, NEGATIVE, POSITIVE, UNCERTAIN, LabelTable, read_label_table
from radtune.study import paths
from radtune.study.plan import Kind
from radtune.study.results import Results, read_predictions, read_study_gold
from radtune.study.score_tables import class_cells
from radtune.study.table import Column, Table, Value
from radtune.tasks import multiple_choice

_TITLES = {POSITIVE: "positive", UNCERTAIN: "uncertain", NEGATIVE: "negative", None: "not mentioned"}
_NAMED, _NOT_NAMED = "named", "not named"


def status_table(results: Results) -> Table:
    """A confusion matrix over all pairs of a test report and a finding.

    Rows are the rule labeler's statuses, columns those of gold (a list of labels has two: named or not), and the share
    of a row's pairs that each model names. So it can be read off what becomes of findings in doubt.
    """
    title = "Status of each finding in each report: by the rule labeler, in gold, and what the models name"
    if not results.scored(Kind.RULE_LABELER, multiple_choice.NAME):
        return Table("statuses", title, [], [])
    rules = read_label_table(paths.rule_labels(results.study))
    gold = _gold(results, rules)
    models = [(cell, label) for cell, label, _ in class_cells(results) if cell.kind != Kind.RULE_LABELER]
    answers = [read_predictions(results.study, cell, multiple_choice.NAME) for cell, _ in models]
    seen = [status for status in (*_TITLES.values(), _NAMED, _NOT_NAMED) if status in gold.values()]
    columns = [Column("rule_labeler", "Rule labeler", text=True), Column("pairs", "Pairs")]
    columns += [Column(f"gold_{status.replace(' ', '_')}", status, "Gold") for status in seen]
    columns += [Column(f"share_{cell.name}", label, "Named by (share)") for cell, label in models]
    by_status: dict[str, list[tuple[str, str]]] = {status: [] for status in _TITLES.values()}
    for report_id, values in rules.rows.items():
        for name, value in zip(FINDINGS, values, strict=False):
            by_status[_TITLES[value]].append((report_id, name))
    rows: list[list[Value]] = []
    for status, pairs in by_status.items():
        if pairs:
            counts = Counter(gold[pair] for pair in pairs)
            shares = (
                sum(r in reports.answers and name in reports.answers[r].labels for r, name in pairs) / len(pairs)
                for reports in answers
            )
            rows.append([status, len(pairs), *(counts[status] for status in seen), *shares])
    return Table("statuses", title, columns, rows)


def _gold(results: Results, rules: LabelTable) -> dict[tuple[str, str], str]:
    """Gold's status of each report and finding that the rule labeler has."""
    gold = read_study_gold(results.study, multiple_choice.NAME)
    pairs = [(report_id, name) for report_id in rules.rows for name in FINDINGS]
    if not gold.has_states:
        named = {(r, name) for r, answer in gold.answers.items() for name in answer.labels}
        return {pair: _NAMED if pair in named else _NOT_NAMED for pair in pairs}
    rows = read_label_table(gold.path, results.study.tests[multiple_choice.NAME].get("id_column")).rows
    empty = (None,) * len(FINDINGS)
    return {(r, name): _TITLES[rows.get(r, empty)[FINDINGS.index(name)]] for r, name in pairs}
