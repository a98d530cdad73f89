"""The precision of products: a setting of a cell. Weights and sums are float32."""

import torch

# The precision of products, and what PyTorch calls that of a GPU's float32 products. Weights and sums are float32.
PRECISIONS: dict[str, tuple[torch.dtype, str]] = {
    "float32": (torch.float32, "ieee"),
    "tf32": (torch.float32, "tf32"),
    "bf16": (torch.bfloat16, "ieee"),
}
