"""A cell as a process: its race or Figure 1's interpolation, checkpoint, locks, record, statement, provenance, pace.

Imports `grid` and what lies below it; on a compute node, with torch, numpy, PyYAML, filelock and cryptography alone.
"""
