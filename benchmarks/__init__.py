"""What is measured, one folder a benchmark; see README.md. Run ``python -m benchmarks.NAME.run`` from the repository root."""
