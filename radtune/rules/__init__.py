"""The rule labeler: finds the 13 classes in a report and decides positive, negative or uncertain, as NegBio does.

What it knows stands in two files that a radiologist can read and extend: ``lexicon.toml`` (phrases of each class) and
``cues.toml`` (negation, uncertainty, history, and where each ends).
"""

from radtune.rules.engine import Mention, ReportLabels, label_report
from radtune.rules.labeling import label_reports
from radtune.rules.rules import OTHER, load_rules

__all__ = ["OTHER", "Mention", "ReportLabels", "label_report", "label_reports", "load_rules"]
