"""Old and new combined at query time: fused queries, cascades, and search of a partly backfilled gallery.

A server needs this room and no judgements. `embridge.evaluation` measures by the same functions, and chooses on judged
queries how to combine.
"""

from embridge.query.arrays import Over, Search, over
from embridge.query.calibration import Calibration, CalibrationKind, Curve
from embridge.query.cascade import Cascade, Encode, Price, rank_again
from embridge.query.fusion import Fusion, FusionKind, adaptive_alpha, cosines, interpolate_scores, nlerp, slerp
from embridge.query.merging import Merge, Plain, best_of_both, comparable
from embridge.query.mixed import MixedSearch
from embridge.query.vector_cache import VectorCache

__all__ = [
    "Calibration",
    "CalibrationKind",
    "Cascade",
    "Curve",
    "Encode",
    "Fusion",
    "FusionKind",
    "Merge",
    "MixedSearch",
    "Over",
    "Plain",
    "Price",
    "Search",
    "VectorCache",
    "adaptive_alpha",
    "best_of_both",
    "comparable",
    "cosines",
    "interpolate_scores",
    "nlerp",
    "over",
    "rank_again",
    "slerp",
]
