"""Training losses, one paper a file: plain torch modules, for any loop, whose terms sum to the loss."""
