"""Measuring an upgrade."""

from embridge.evaluation.agreement import NeighbourAgreement, neighbour_agreement_at_k
from embridge.evaluation.backfill_curve import Mixed, backfill_auc, backfill_curve, cut_offs
from embridge.evaluation.calibrate import fit_calibration, isotonic
from embridge.evaluation.cells import MORE_CELLS
from embridge.evaluation.choose_fusion import choose_alpha, split_support
from embridge.evaluation.compare import compare
from embridge.evaluation.compatibility import Comparison, compatible, flip_rates, flips
from embridge.evaluation.evaluate import evaluate
from embridge.evaluation.gates import GateResult, check_gates, require_gates
from embridge.evaluation.landmarks import (
    SETTINGS,
    LandmarkRelevance,
    Setting,
    landmark_average_precision,
    landmark_precision_at_k,
    without_junk,
)
from embridge.evaluation.measures import MEASURES, measure
from embridge.evaluation.metrics import average_precision, cmc_at_k, first_hits, mrr, ndcg_at_k, recall_at_k
from embridge.evaluation.ratios import break_even, p_1, p_comp, p_up, retention, update_gain
from embridge.evaluation.relevance import AnyRelevance, LabelRelevance, Relevance
from embridge.evaluation.report import Cell, Report, Task
from embridge.evaluation.report_files import load_report, load_summary, save_report
from embridge.evaluation.scope import CROSS_MODAL, Scope
from embridge.evaluation.score_shift import ks_distance, precision_above, threshold_for_precision
from embridge.evaluation.sequences import (
    average_accuracy,
    average_compatibility,
    backward_compatibility,
    forward_compatibility,
    sequence_matrix,
)
from embridge.evaluation.sides import Side
from embridge.evaluation.slices import frequency_slices
from embridge.evaluation.statistics import Interval, bootstrap_mean, queries_needed
from embridge.evaluation.summarise import summarise
from embridge.evaluation.summary import Summary
from embridge.evaluation.verdict import Verdict, decide
from embridge.evaluation.verification import tar_at_far

__all__ = [
    "CROSS_MODAL",
    "MEASURES",
    "MORE_CELLS",
    "SETTINGS",
    "AnyRelevance",
    "Cell",
    "Comparison",
    "GateResult",
    "Interval",
    "LabelRelevance",
    "LandmarkRelevance",
    "Mixed",
    "NeighbourAgreement",
    "Relevance",
    "Report",
    "Scope",
    "Setting",
    "Side",
    "Summary",
    "Task",
    "Verdict",
    "average_accuracy",
    "average_compatibility",
    "average_precision",
    "backfill_auc",
    "backfill_curve",
    "backward_compatibility",
    "bootstrap_mean",
    "break_even",
    "check_gates",
    "choose_alpha",
    "cmc_at_k",
    "compare",
    "compatible",
    "cut_offs",
    "decide",
    "evaluate",
    "first_hits",
    "fit_calibration",
    "flip_rates",
    "flips",
    "forward_compatibility",
    "frequency_slices",
    "isotonic",
    "ks_distance",
    "landmark_average_precision",
    "landmark_precision_at_k",
    "load_report",
    "load_summary",
    "measure",
    "mrr",
    "ndcg_at_k",
    "neighbour_agreement_at_k",
    "p_1",
    "p_comp",
    "p_up",
    "precision_above",
    "queries_needed",
    "recall_at_k",
    "require_gates",
    "retention",
    "save_report",
    "sequence_matrix",
    "split_support",
    "summarise",
    "tar_at_far",
    "threshold_for_precision",
    "update_gain",
    "without_junk",
]
