"""Measuring an upgrade."""

from embridge.evaluation.compatibility import compatible, flip_rates
from embridge.evaluation.evaluate import Side, evaluate
from embridge.evaluation.metrics import recall_at_k
from embridge.evaluation.relevance import Relevance
from embridge.evaluation.report import Cell, Report
from embridge.evaluation.statistics import Interval, bootstrap_mean
from embridge.evaluation.verdict import Verdict, decide

__all__ = [
    "Cell",
    "Interval",
    "Relevance",
    "Report",
    "Side",
    "Verdict",
    "bootstrap_mean",
    "compatible",
    "decide",
    "evaluate",
    "flip_rates",
    "recall_at_k",
]
