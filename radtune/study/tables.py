"""All tables of a study."""

from radtune.study.comparison_table import comparison_table
from radtune.study.dataset_table import dataset_table
from radtune.study.detail_tables import agreement_table, detail_table
from radtune.study.error_tables import class_error_table, error_table, wording_table
from radtune.study.reported import Reported
from radtune.study.results import Results
from radtune.study.score_tables import class_table, figure_3_table, figure_4_table, paper_table, score_table
from radtune.study.status_table import status_table
from radtune.study.table import Table


def all_tables(results: Results, reported: Reported) -> list[Table]:
    """Every table of a study in the order of the paper, then ours; those that would be empty left out."""
    found = [dataset_table(results.study, reported)]
    for task in results.tasks:
        found.append(score_table(results, reported, task))
        if not reported.has_mixes(results):
            found.append(paper_table(reported, task))
    found += [error_table(results, reported), wording_table(results), figure_3_table(results), figure_4_table(results)]
    found += [comparison_table(results), class_table(results), status_table(results), class_error_table(results)]
    found += [detail_table(results), agreement_table(results, reported)]
    return [table for table in found if table.rows]
