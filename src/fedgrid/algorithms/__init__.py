"""Federated algorithms, one file per paper; `fedavg.py` is the specification. Imports `partitions` at most."""
