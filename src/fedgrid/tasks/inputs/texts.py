"""Texts: characters or words by their places in a vocabulary."""

import torch

from fedgrid.engine.examples import Inputs
from fedgrid.tasks.datasets import Dataset


def text(data: Dataset, scaling: str, dtype: torch.dtype) -> Inputs:
    """Characters or words, int64; 0, the unknown word's place, where there is none: nothing is learnt there."""
    return Inputs(lambda x: x.long().clamp_(min=0))
