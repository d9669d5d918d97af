"""Upgrades in the terms of other libraries: one module a library, imported by its own name, each with its own extra."""
