"""Load: many callers at once against a stack of its own, every job accounted for. `python -m load --help`."""
