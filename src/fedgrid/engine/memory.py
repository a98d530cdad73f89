"""How much is done at once: how many replicas step together, how many examples pass through a model together.

On a CPU what counts is the cache: replicas of small models are stacked, so that one batched product serves several;
those of large ones step one after another, each by native kernels with its weights nearest the core.
On a GPU what counts is its memory: everything is stacked that fits.
"""

from functools import cache
from math import prod

import torch
from torch import Tensor

from fedgrid.models import Model

STACKED = 2**20  # parameters, of all replicas together, that a CPU steps at once: 4 MiB in float32
SHARE = 0.8  # of the memory that is free on a GPU
# Bytes of activations made at once where weights stand still. Not what happens to be free: sums depend on it.
ROOM = {"cpu": 2**27, "cuda": 2**33}
PIECE = {"cpu": 1000, "cuda": 100_000}  # examples, at most: so that there is work for every thread


def replicas_at_once(model: Model, example: Tensor, B: int, rates: int) -> tuple[int, int]:
    """How many clients, and how many of the rates of each, step together in batches of B.

    example: (1, …), a prepared one, on the device. ValueError where a GPU has no room for a single replica.
    """
    if example.is_cuda:
        return fitting(model, example, B, rates, free(example.device))
    together = STACKED // model.parameters
    return (max(together // rates, 1), rates) if together > 1 else (1, 1)


def fitting(model: Model, example: Tensor, B: int, rates: int, room: int) -> tuple[int, int]:
    """How many clients, and how many of the rates of each, fit into that many bytes: all rates before more clients."""
    # weights, and as much for what is made of them; what the forward pass keeps, and as much on the way back
    each = 4 * (2 * model.parameters + 2 * B * activations(model, example.shape, example.dtype))
    if each > room:
        raise ValueError(
            f"a replica of {model.parameters} weights in batches of {B} takes {each >> 20} MiB, and the GPU has "
            f"{room >> 20} MiB to give; choose a smaller B or a larger GPU"
        )
    return max(room // each // rates, 1), min(room // each, rates)


def examples_at_once(model: Model, example: Tensor, rates: int) -> int:
    """How many examples pass through the model together where its weights stand still, each at that many rates."""
    kind = example.device.type
    each = 4 * 2 * activations(model, example.shape, example.dtype) * (rates if kind == "cuda" else 1)
    return min(max(ROOM[kind] // each, 1), PIECE[kind])


@cache
def activations(model: Model, shape: tuple[int, ...], dtype: torch.dtype) -> int:
    """How many numbers the forward pass of one example of shape (1, …) makes and keeps.

    It is asked of PyTorch's meta device, which has shapes and no numbers.
    """
    counted, x = 0, torch.empty(shape, dtype=dtype, device="meta").unsqueeze(0)
    w = torch.empty(1, model.parameters, dtype=dtype if dtype.is_floating_point else torch.float32, device="meta")
    for layer, weights in zip(model.layers, model.weights(w), strict=True):
        x, kept = layer.forward(weights, x)
        tensors = {id(one): one for one in (x, *(kept if isinstance(kept, tuple) else [kept])) if torch.is_tensor(one)}
        counted += sum(prod(one.shape) for one in tensors.values())
    return counted


def free(device: torch.device) -> int:
    """Bytes to fill on a GPU: what is free there, with what PyTorch keeps for itself, but for a reserve."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(SHARE * (torch.cuda.mem_get_info(device)[0] + kept))
