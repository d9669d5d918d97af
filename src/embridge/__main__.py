"""``python -m embridge``."""

from embridge.cli import main

main()
