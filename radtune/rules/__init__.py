"""The rule labeler: finds a task's classes in a report and decides present, absent or uncertain, as NegBio does.

What it knows stands in two files of a folder, which a radiologist can read and extend: ``lexicon.toml`` (phrases of
each class) and ``cues.toml`` (negation, uncertainty, history, and where each ends).
"""

from radtune.rules.engine import NOT_CHEST, ReportLabels, label_report
from radtune.rules.labeling import label_if_meant, label_reports
from radtune.rules.lexicon import OTHER, Rules, load_rules, rules_for
from radtune.rules.sentence import Mention

__all__ = [
    "NOT_CHEST", "OTHER", "Mention", "ReportLabels", "Rules", "label_if_meant", "label_report", "label_reports",
    "load_rules", "rules_for",
]  # fmt: skip
