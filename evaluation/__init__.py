"""Measures what the method does: the paper's tables for any model, side by side with the paper, from one
command."""
