"""What people read, made from records: rounds to target, learning curves, tables, figures, claims. Trains nothing.

Imports `run.record`, `run.sources`, `grid` and what lies below it.
"""
