"""What params files declare: cells, tables and figures, the paper's numbers beside them, what a cell costs.

Imports `tasks` and what lies below it.
"""
