"""Table of two upgrades in a row."""

from benchmarks.rendering.retrieval import gap_closed

TABLES = {"flickr8k-chain": lambda: gap_closed("flickr8k_chain")}
