"""What a command does, callable from Python: one job a file."""
