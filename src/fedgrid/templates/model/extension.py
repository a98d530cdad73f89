"""NAME: a model of your own, any torch.nn.Module, as a task: it learns a dataset that is there.

Such a model runs by torch.func: several times slower than fedgrid's fused layers, equal to the specification like them.
What it computes depends on its parameters and one example alone: no batch normalisation, no dropout.
"""

from torch import Tensor, nn

from fedgrid.tasks import TASKS, Module, Task


class Name(nn.Module):
    """Two layers with a tanh between them; its initial weights are those that torch gives it."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(64, 32)
        self.classes = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """The logits (batch, classes) of images (batch, pixels)."""
        return self.classes(self.hidden(x).tanh())


# The dataset's name, and the shape that an example comes in.
TASKS.register("NAME")(Task("digits", Module(Name, inputs=(64,), classes=10)))
