"""Grey images, each a row of pixels, and how they are scaled; the paper is silent."""

from collections.abc import Callable

import torch
from torch import Tensor

from fedgrid.engine.examples import Inputs
from fedgrid.tasks.datasets import Dataset

Scale = Callable[[Tensor], Tensor]


def unit(data: Dataset, dtype: torch.dtype) -> Scale:
    """Pixels to 0..1; measurements, whose white is 1, as they are."""
    return lambda x: x.to(dtype, copy=True).div_(data.white)


def centred(data: Dataset, dtype: torch.dtype) -> Scale:
    """Pixels to −½..½, as TensorFlow's convolutional MNIST tutorial of 2015 has them; measurements by ½ less."""
    return lambda x: x.to(dtype, copy=True).sub_(data.white / 2).div_(data.white)


def standard(data: Dataset, dtype: torch.dtype) -> Scale:
    """Pixels to mean 0 and variance 1 over the whole training set."""
    mean, std = float(data.train_x.mean()), float(data.train_x.std())
    return lambda x: x.to(dtype, copy=True).sub_(mean).div_(std)


SCALINGS: dict[str, Callable[[Dataset, torch.dtype], Scale]] = {"unit": unit, "centred": centred, "standard": standard}


def grey(data: Dataset, scaling: str, dtype: torch.dtype) -> Inputs:
    """Grey images, each a row of pixels, or measurements."""
    return Inputs(SCALINGS[scaling](data, dtype))
