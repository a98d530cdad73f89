"""A model that is any torch.nn.Module: run over the replica axis by torch.func, its backward pass found by autograd.

Slower than fused layers (docs/performance.md says how much): every gradient exists before it is subtracted, and weights
are copied at each step, since autograd takes none of the engine's inference tensors. To do without inference mode would
cost the fused layers more.
"""

import threading
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import KW_ONLY, dataclass, field
from functools import cache, cached_property
from inspect import isclass, isfunction
from math import prod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from fedgrid.engine.layers import Shape
from fedgrid.engine.memory import Held
from fedgrid.engine.model import Weights, flat, stacked


@dataclass(frozen=True, repr=False)
class Module:
    """A model that an nn.Module's class, or a function without arguments that makes one, describes.

    Of examples, `forward` takes (batch, *inputs), to which stored ones are reshaped, and returns logits
    (batch, classes). Of texts of `unroll` tokens below `classes`, it takes int64 (batch, steps) of that many steps or
    fewer, reads them from first to last, and returns (batch, steps, classes). ValueError, naming the class, where it
    does not, and where what it computes depends on more than its parameters and one example.
    """

    make: Callable[[], nn.Module]
    _: KW_ONLY
    classes: int
    inputs: Shape = ()
    unroll: int = 1
    empty: nn.Module = field(init=False, compare=False)  # on the meta device: shapes, no numbers
    batched: bool = field(init=False, compare=False)  # whether vmap has a rule for each of its operations
    fused: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not (isclass(self.make) or isfunction(self.make)):
            given = type(self.make).__name__
            raise ValueError(
                f"Module({given}): give an nn.Module's class, or a function that returns one, not a {given}"
            )
        if bool(self.inputs) == (self.unroll > 1):
            raise ValueError(f"{self.name}: give inputs, the shape of an example, or unroll, the steps of a text")
        if not (isinstance(self.inputs, tuple) and all(isinstance(size, int) for size in self.inputs)):
            raise ValueError(f"{self.name}: inputs is {self.inputs!r}; it is a tuple of sizes, such as (1, 28, 28)")
        net = self.made(0)
        if fault := unfit(net):
            raise ValueError(f"{self.name}: {fault}")
        object.__setattr__(self, "empty", emptied(net))
        try:
            self.try_out()
        except Exception as error:  # whatever another's code raises
            raise ValueError(f"{self.name}: {' '.join(str(error).split()) or type(error).__name__}") from error
        object.__setattr__(self, "batched", self.is_batched())

    @property
    def name(self) -> str:
        """Module and name of what makes it."""
        return f"{self.make.__module__}.{self.make.__qualname__}"

    def __repr__(self) -> str:
        shape = f"unroll={self.unroll}" if self.unroll > 1 else f"inputs={self.inputs}"
        return f"Module({self.make.__qualname__}, classes={self.classes}, {shape})"

    def made(self, seed: int) -> nn.Module:
        """The module with the weights that it gives itself, by that seed alone; ValueError where it is none."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            try:
                net = self.make()
            except Exception as error:
                mend = "give a class or a function that needs no arguments"
                raise ValueError(f"{self.name}: not to be made ({' '.join(str(error).split())}); {mend}") from error
        if not isinstance(net, nn.Module):
            raise ValueError(f"{self.name} makes {type(net).__name__}, not an nn.Module")
        return net

    def drawn(self, rng: np.random.Generator) -> Tensor:
        """w_0 as the module draws it, seeded from the stream: float64 (parameters,)."""
        net = self.made(int(rng.integers(2**63)))
        return torch.cat([weight.detach().double().flatten() for weight in net.parameters()])

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """The shapes of its parameters, by name."""
        return {name: tuple(one.shape) for name, one in self.empty.named_parameters()}

    @property
    def parts(self) -> Sequence[object]:
        return self, self.make

    @cached_property
    def parameters(self) -> int:
        return sum(map(prod, self.shapes.values()))

    def weights(self, w: Tensor) -> Weights:
        parts = w.split([prod(shape) for shape in self.shapes.values()], -1)
        return [[part.view(*w.shape[:-1], *shape) for part, shape in zip(parts, self.shapes.values(), strict=True)]]

    def stacked(self, w: Tensor) -> Weights:
        return stacked(self.weights(w))

    def flat(self, weights: Weights) -> Tensor:
        return flat(weights)

    def call(self, weights: Sequence[Tensor], x: Tensor) -> Tensor:
        """The logits (batch, …, classes) of one replica."""
        net = of_this_thread(self, threading.get_ident())
        return functional_call(net, dict(zip(self.shapes, weights, strict=True)), (x,))

    def forward(self, weights: Weights, x: Tensor) -> tuple[Tensor, Any]:
        with torch.inference_mode(False), torch.enable_grad():
            leaves, x = [weight.clone().requires_grad_() for weight in weights[0]], x.clone()
            if self.inputs:
                x = x.reshape(*x.shape[:2], *self.inputs)
            if self.batched and len(x) > 1:
                logits = vmap(self.call)(leaves, x)
            else:
                logits = torch.stack([self.call(*one) for one in zip(zip(*leaves, strict=True), x, strict=True)])
        return logits.detach(), (leaves, logits)

    def descend(self, weights: Weights, into: Weights, kept: Any, delta: Tensor) -> None:
        leaves, logits = kept
        gradients = torch.autograd.grad(logits, leaves, delta, allow_unused=True, materialize_grads=True)
        for there, gradient in zip(into[0], gradients, strict=True):
            there.sub_(gradient)

    def penalties(self, weights: Weights, lr: Tensor) -> list[tuple[int, Tensor]]:
        return []

    def activations(self, weights: Weights, x: Tensor) -> int:
        """What a second example adds: weights are copied, too, once for all examples."""
        most = []
        for examples in (x, torch.cat([x, x], 1)):
            with Held((weights[0][0],)) as held:
                kept = self.forward(weights, examples)
            most.append(held.most)
            del kept
        return (most[1] - most[0]) // weights[0][0].element_size()

    def variant(self, lrn: bool, l2: bool) -> "Module":
        return self

    @cached_property
    def flops(self) -> int:
        return self.counted(backward=True)

    @cached_property
    def forward_flops(self) -> int:
        return self.counted(backward=False)

    def counted(self, backward: bool) -> int:
        """Floating-point operations in products and convolutions for one example, forward or both ways."""
        weights = self.stacked(torch.empty(1, self.parameters, device="meta"))
        with FlopCounterMode(display=False) as counter:
            logits, kept = self.forward(weights, self.example(1, self.unroll)[None])
            if backward:
                self.descend(weights, weights, kept, logits)
        return int(counter.get_total_flops())

    def example(self, batch: int, steps: int) -> Tensor:
        """Examples without numbers, of texts with that many steps."""
        if self.inputs:
            return torch.empty(batch, *self.inputs, device="meta")
        return torch.empty(batch, steps, dtype=torch.int64, device="meta")

    def try_out(self) -> None:
        """ValueError where the forward pass draws random numbers or gives other logits than are wanted."""
        weights = [torch.empty(shape, device="meta") for shape in self.shapes.values()]
        for steps in dict.fromkeys((self.unroll, 1)):
            with Seeded():
                logits = self.call(weights, self.example(2, steps))
            wanted = (2, self.classes) if self.inputs else (2, steps, self.classes)
            if not torch.is_tensor(logits) or logits.shape != wanted:
                found = tuple(logits.shape) if torch.is_tensor(logits) else type(logits).__name__
                raise ValueError(f"its forward gives {found} for {tuple(self.example(2, steps).shape)}, not {wanted}")

    def is_batched(self) -> bool:
        """Whether vmap runs it forward and backward; nn.LSTM, for one, has no rule there."""
        leaves = [torch.empty(2, *shape, device="meta", requires_grad=True) for shape in self.shapes.values()]
        try:
            logits = vmap(self.call)(leaves, torch.stack([self.example(2, self.unroll)] * 2))
            torch.autograd.grad(logits, leaves, logits, allow_unused=True)
        except Exception:  # alone it runs: `try_out`
            return False
        return True


def emptied(net: nn.Module) -> nn.Module:
    """A copy whose parameters have shapes and no numbers; those that are one stay one, as `to("meta")` has it not."""
    return deepcopy(net, {id(one): nn.Parameter(one.detach().to("meta")) for one in net.parameters()})


@cache
def of_this_thread(model: Module, thread: int) -> nn.Module:
    """The thread's own copy of the module: functional_call puts weights into it while it runs."""
    return deepcopy(model.empty)


class Seeded(TorchDispatchMode):
    """Refuses operations that draw random numbers."""

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in op.tags:
            says = "draws random numbers"
            raise ValueError(f"its forward {says} ({op}); take out dropout and noise, for a round must be repeatable")
        return op(*args, **(kwargs or {}))


def unfit(net: nn.Module) -> str | None:
    """What keeps the module from being trained by federated averaging as it is; None where nothing does."""
    weights = dict(net.named_parameters())
    if not weights:
        return "it has no parameters; there is nothing to train"
    if lazy := [name for name, one in weights.items() if is_lazy(one)]:
        return f"{lazy[0]} has no shape before its first input; give its layer the number of inputs"
    if frozen := [name for name, one in weights.items() if not one.requires_grad]:
        return f"{frozen[0]} does not require a gradient, but all weights are trained; make it in forward instead"
    if isolated := [name for name, one in net.named_modules() if isinstance(one, _BatchNorm)]:
        return f"{isolated[0]} is batch normalisation, which mixes examples; use group normalisation"
    if buffers := [name for name, _ in net.named_buffers()]:
        return f"it has the buffer {buffers[0]}, which no average is defined of; make it a parameter, or in forward"
    return None
