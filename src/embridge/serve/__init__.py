"""Serving: the embeddings API that OpenAI's clients speak, searches and writes as a rollout stands, and a page for people."""
