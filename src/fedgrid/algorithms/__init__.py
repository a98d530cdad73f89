"""Federated algorithms, one file per paper: ALGORITHMS, and MESSAGES, what is done to an update before it is sent.

`fedavg.py` is the specification. Imports `registry` alone.
"""

from fedgrid.algorithms.fedavg import FedAvg
from fedgrid.algorithms.fedavgm import FedAvgM
from fedgrid.algorithms.fedprox import FedProx
from fedgrid.algorithms.messages import Clip, Transformation
from fedgrid.algorithms.sgd import SGD
from fedgrid.registry import Registry

ALGORITHMS: Registry[type[FedAvg]] = Registry("algorithm")
ALGORITHMS |= {"fedavg": FedAvg, "sgd": SGD, "fedprox": FedProx, "fedavgm": FedAvgM}

MESSAGES: Registry[type[Transformation]] = Registry("transformation")
MESSAGES |= {"clip": Clip}

__all__ = ["ALGORITHMS", "MESSAGES", "FedAvg", "Transformation"]
