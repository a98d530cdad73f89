"""How stored examples become a model's inputs, on the device: what the paper's section 3 does, or is silent about.

One file per kind of example. `scaling` is how grey pixels are scaled; the others have no choice.
"""

from fedgrid.tasks.inputs.colour_images import colour
from fedgrid.tasks.inputs.grey_images import SCALINGS, grey
from fedgrid.tasks.inputs.texts import text

__all__ = ["SCALINGS", "colour", "grey", "text"]
