"""Colour images: CIFAR-10 as TensorFlow's tutorial has it, distorted at random in training."""

import torch
from torch import Tensor

from fedgrid.engine.examples import Inputs
from fedgrid.tasks.datasets import Dataset

SIZE, CROP = 32, 24  # height and width of CIFAR-10's images, and of what the model sees of them
BRIGHTNESS = 63.0  # of 255, at most
CONTRAST = 0.2, 1.8


def colour(data: Dataset, scaling: str, dtype: torch.dtype) -> Inputs:
    """CIFAR-10 as TensorFlow's tutorial has it: 24×24 pixels, each image to mean 0 and variance 1.

    In training they are cropped at random, flipped left to right or not, and their brightness and contrast changed;
    otherwise they are the middle ones.
    """
    middle = (SIZE - CROP) // 2

    def prepare(x: Tensor) -> Tensor:
        images = x.view(-1, SIZE, SIZE, 3)[:, middle : middle + CROP, middle : middle + CROP]
        return whitened(images.float()).to(dtype)

    def distort(x: Tensor, draws: Tensor) -> Tensor:
        top, left, mirror, bright, contrast = draws.unbind(-1)
        images = brightened(cropped(x.view(-1, SIZE, SIZE, 3), top, left, mirror < 0.5).float(), bright, contrast)
        return whitened(images).to(dtype)

    return Inputs(prepare, distort, draws=5)


def cropped(images: Tensor, top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
    """A window of CROP × CROP of each image, at the places that draws from 0 to 1 choose, mirrored or not."""
    places = SIZE - CROP + 1
    window = torch.arange(CROP, device=images.device)
    rows = (top * places).long().unsqueeze(1) + window
    columns = (left * places).long().unsqueeze(1) + torch.where(mirrored.unsqueeze(1), window.flip(0), window)
    each = torch.arange(len(images), device=images.device).view(-1, 1, 1)
    return images[each, rows.unsqueeze(2), columns.unsqueeze(1)]


def brightened(images: Tensor, bright: Tensor, contrast: Tensor) -> Tensor:
    """The images with another brightness, then another contrast about each channel's mean, by draws from 0 to 1."""
    low, high = CONTRAST
    images = images + BRIGHTNESS * (2 * bright - 1).view(-1, 1, 1, 1)
    mean = images.mean((1, 2), keepdim=True)
    return (images - mean) * (low + (high - low) * contrast).view(-1, 1, 1, 1) + mean


def whitened(images: Tensor) -> Tensor:
    """Each image to mean 0 and variance 1 over its numbers, as TensorFlow does it: a flat one divided by √numbers⁻¹."""
    mean, least = images.mean((1, 2, 3), keepdim=True), images[0].numel() ** -0.5
    return (images - mean) / images.std((1, 2, 3), correction=0, keepdim=True).clamp(min=least)
