"""The training loop on Lightning, for every kind of training."""
