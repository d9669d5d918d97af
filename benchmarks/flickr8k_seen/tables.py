"""Table of finetuning on photos that it learnt from."""

from benchmarks.rendering.retrieval import gap_closed

TABLES = {"flickr8k-seen": lambda: gap_closed("flickr8k_seen")}
