"""Contract suites: what every adapter, encoder, method and store must do, for those who write their own.

Each raises `AssertionError` saying what was expected and what came, and returns the checks it skipped, with the reason.
They need no test framework.
"""

from embridge.testing.adapters import check_adapter
from embridge.testing.encoders import check_encoder
from embridge.testing.methods import check_method
from embridge.testing.stores import check_store

__all__ = ["check_adapter", "check_encoder", "check_method", "check_store"]
