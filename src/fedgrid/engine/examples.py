"""Examples as they lie on the device, and how they become a model's inputs."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Inputs:
    """How stored examples x (n, …) become a model's inputs: by `prepare(x)`.

    distort: what is done instead in training, given also `draws` random numbers from 0 to 1 for each example, float32
    (n, draws); None where nothing is random.
    """

    prepare: Callable[[Tensor], Tensor]
    distort: Callable[[Tensor, Tensor], Tensor] | None = None
    draws: int = 0


@dataclass(frozen=True)
class Examples:
    """Examples on the device, as stored.

    x: (n, …); y: integers (n, …), their classes, −1 where none is to be learnt.
    """

    x: Tensor
    y: Tensor
    inputs: Inputs

    @property
    def positions(self) -> int:
        """How many classes an example has room for, learnt or not: 1, or a text's steps. Its loss is their mean."""
        return self.y[0].numel()

    def __getitem__(self, chosen: slice) -> tuple[Tensor, Tensor]:
        """Inputs and classes (n, …) of those examples."""
        return self.inputs.prepare(self.x[chosen]), self.y[chosen].long()

    def trained_on(self, chosen: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """The same of indices of any shape, (*shape, …), distorted by the draws (*shape, draws)."""
        x, y = (tensor.index_select(0, chosen.flatten()) for tensor in (self.x, self.y))
        distort = self.inputs.distort
        x = distort(x, draws.flatten(0, -2)) if distort else self.inputs.prepare(x)
        return x.unflatten(0, chosen.shape), y.long().unflatten(0, chosen.shape)
