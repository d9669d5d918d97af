"""Old and new combined at query time: fused queries, cascades, and search of a partly backfilled gallery."""

from embridge.query.arrays import Over, Search, over
from embridge.query.calibration import Calibration, CalibrationKind, Curve, fit_calibration, isotonic
from embridge.query.cascade import Cascade, Encode, Price
from embridge.query.choose import GRID, choose_alpha, split_support
from embridge.query.fusion import Fusion, FusionKind, adaptive_alpha, cosines, interpolate_scores, nlerp, slerp
from embridge.query.mixed import Merge, MixedSearch, Plain
from embridge.query.vector_cache import VectorCache

__all__ = [
    "GRID",
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
    "choose_alpha",
    "cosines",
    "fit_calibration",
    "interpolate_scores",
    "isotonic",
    "nlerp",
    "over",
    "slerp",
    "split_support",
]
