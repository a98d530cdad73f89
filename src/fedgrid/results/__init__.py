"""Records → what people read: rounds to target, learning curves, tables, figures, claims. Trains nothing.

Imports `run.record`, `grid` and what lies below it.
"""
