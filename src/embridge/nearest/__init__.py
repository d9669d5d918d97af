"""Exact nearest neighbours: `top_k` by row, `search` by id, `rerank` among given rows."""

from embridge.nearest.exact import Engine, Hits, Ranking, rerank, search, top_k

__all__ = ["Engine", "Hits", "Ranking", "rerank", "search", "top_k"]
