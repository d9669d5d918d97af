"""Table of finetuning on photos that the new model was trained on, and on others."""

from benchmarks.rendering.retrieval import gap_closed

TABLES = {"flickr8k-unseen": lambda: gap_closed("flickr8k_unseen")}
