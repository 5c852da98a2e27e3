"""Figures that anyone can print again. What they were, and where, is in RESULTS.md."""
