"""The precision of products: a setting of a cell. Weights and sums are float32."""

from pathlib import Path

import torch

from fedgrid.numerics import CPUINFO, flags

# The precision of products, and what PyTorch calls that of a GPU's float32 products. Weights and sums are float32.
PRECISIONS: dict[str, tuple[torch.dtype, str]] = {
    "float32": (torch.float32, "ieee"),
    "tf32": (torch.float32, "tf32"),
    "bf16": (torch.bfloat16, "ieee"),
}
BF16 = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16"}  # instructions that multiply it, as Linux calls them


def bf16_is_slow(cpuinfo: Path = CPUINFO) -> str:
    """That bf16 does not pay on this CPU, and why, in a sentence; nothing where it may."""
    if BF16.keys() & flags(cpuinfo):
        return ""
    has_not = " or ".join(BF16.values())
    return f"bf16 does not pay on this CPU: without {has_not}, its products are no faster than float32's"
