"""Shapes are checked in every call of the library; one torch thread; no network."""

import os

os.environ["EMBRIDGE_CHECK_SHAPES"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from jaxtyping import install_import_hook

install_import_hook("embridge", "shape_checker.check")
