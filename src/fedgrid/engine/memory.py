"""How much is done at once: how many replicas step together, how many examples pass through a model together.

On a CPU `width` measures how many replicas step together. On a GPU what counts is its memory: everything is stacked
that fits.
"""

import weakref
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from fedgrid.engine import ranks
from fedgrid.engine.model import Model
from fedgrid.engine.steps import descend
from fedgrid.engine.width import measured_width

SMALL = 2**19  # parameters of a model whose rates pass together where weights stand still: losses depend on it
SHARE = 0.8  # of the memory that is free on a GPU
# Bytes of activations made at once where weights stand still. Not what happens to be free: sums depend on it.
ROOM = {"cpu": 2**27, "cuda": 2**32}
PIECE = {"cpu": 1000, "cuda": 100_000}  # examples, at most: so that there is work for every thread


class Epoch(NamedTuple):
    """A client's epoch: of n examples at most, in batches of B at most; alike: every client takes as many steps."""

    B: int
    n: int
    alike: bool = True


def replicas_at_once(model: Model, example: Tensor, epoch: Epoch, rates: int) -> tuple[int, int]:
    """How many clients, and how many of the rates of each, step together through such an epoch.

    example: (1, …), a prepared one, on the device. ValueError where a GPU has no room for a single replica.
    """
    if example.is_cuda:
        return fitting(model, example, epoch, rates, free(example.device))
    return measured_width(model, tuple(example.shape), example.dtype, epoch.B, rates)


def rates_at_once(model: Model, example: Tensor, rates: int) -> int:
    """How many of the rates pass through the model together where its weights stand still."""
    if example.is_cuda:
        return fitting(model, example, Epoch(1, 1), rates, free(example.device))[1]
    return rates if model.parameters <= SMALL else 1


def fitting(model: Model, example: Tensor, epoch: Epoch, rates: int, room: int) -> tuple[int, int]:
    """How many clients, and how many of the rates of each, fit into that many bytes: all rates before more clients."""
    each = replica_bytes(model, example, epoch)
    if each > room:
        raise ValueError(
            f"a replica of {model.parameters} weights in batches of {epoch.B} takes {each >> 20} MiB, and the GPU has "
            f"{room >> 20} MiB to give; choose a smaller B or a larger GPU"
        )
    return max(room // each // rates, 1), min(room // each, rates)


def examples_at_once(model: Model, example: Tensor, rates: int) -> int:
    """How many examples pass through the model together where its weights stand still, each at that many rates."""
    kind = example.device.type
    stacked = rates if kind == "cuda" else 1
    each = 4 * 2 * activations(model, example.shape, example.dtype, stacked) * stacked
    return min(max(ROOM[kind] // each, 1), PIECE[kind])


def replica_bytes(model: Model, example: Tensor, epoch: Epoch) -> int:
    """Bytes that a replica takes on a GPU through such an epoch."""
    weights = 3 * 4 * model.parameters  # beside its own, its row of the flat vector, gathered twice
    examples = 2 * epoch.n + epoch.B  # its client's, the same for its rate, and those of the step
    inputs = examples * (example.nbytes + (8 + 4) * model.unroll)  # x, y and shares
    # While a narrower step is captured, the memory of the full one is its graph's.
    steps = (1 if epoch.alike else 2) * step_bytes(model, example.shape, epoch.B)
    return weights + inputs + steps


@cache
@torch.inference_mode()
def step_bytes(model: Model, shape: tuple[int, ...], B: int) -> int:
    """Bytes that a replica's step in a stack makes and holds at once, in batches of B examples of shape (1, …).

    It is taken on PyTorch's meta device, in single precision.
    """
    replicas = 2  # one alone has kernels of its own
    text = model.unroll > 1
    weights = model.stacked(torch.empty(replicas, model.parameters, device="meta"))
    x = torch.empty(replicas, B, *shape[1:], dtype=torch.int64 if text else torch.float32, device="meta")
    y = torch.empty(replicas, B, *([model.unroll] if text else []), 1, dtype=torch.int64, device="meta")
    share = torch.empty(y.shape, device="meta")
    with Held(one for mine in weights for one in mine) as held:
        descend(model, weights, weights, x, y, share)
    return held.most // replicas


class Held(TorchDispatchMode):
    """Counts the bytes of all tensors made within it that are there at once: `most`. Those given are not counted."""

    def __init__(self, given: Iterable[Tensor]) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known = {one.untyped_storage()._cdata for one in given}

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = op(*args, **(kwargs or {}))
        for one in tree_iter(made):
            if torch.is_tensor(one):
                self.count(one.untyped_storage())
        return made

    def count(self, storage: torch.UntypedStorage) -> None:
        """Counts it, if it is new, until it is freed."""
        if storage._cdata not in self.known:
            self.known.add(storage._cdata)
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self.freed, storage._cdata, storage.nbytes())

    def freed(self, key: int, size: int) -> None:
        """Forgets it: another may come to lie at its place."""
        self.known.discard(key)
        self.now -= size


@cache
def activations(model: Model, shape: tuple[int, ...], dtype: torch.dtype, replicas: int = 1) -> int:
    """How many numbers the forward pass of one example of shape (1, …) makes and keeps, for one of so many replicas.

    It is asked of PyTorch's meta device, which has shapes and no numbers.
    """
    x = torch.empty((replicas, *shape), dtype=dtype, device="meta")
    weights = dtype if dtype.is_floating_point else torch.float32
    w = torch.empty(replicas, model.parameters, dtype=weights, device="meta")
    return model.activations(model.weights(w), x) // replicas


def free(device: torch.device) -> int:
    """Bytes to fill on a GPU: what is free there, with what PyTorch keeps for itself, but for a reserve.

    Evaluation must find room in the reserve.
    """
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    there = torch.cuda.mem_get_info(device)[0] + kept
    return -ranks.greatest(-int(min(SHARE * there, there - ROOM["cuda"])))  # ranks deal out the same pieces
