"""The dashboard: one page for people, about the rollout that is served."""
