"""What training, benchmarks and the demo read."""
