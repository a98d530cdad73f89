"""Matrix products with the same bits on every x86-64 processor with AVX2: by numpy's OpenBLAS, whose kernels are fixed.

MKL, PyTorch's own library for them, has kernels that AMD's and Intel's processors share, but those are three to nine
times slower. OpenBLAS takes its kernels and its blocks by the name of a processor, and `fedgrid.numerics` names one,
the first with AVX2: so neither the instruction set at hand nor the size of a cache decides in which order it sums.
"""

import ctypes
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedgrid.numerics import CORE, PORTABLE, check, here

FLOAT = 4  # bytes
ROWS_FIRST, AS_IS, TRANSPOSED = 101, 111, 112  # as BLAS numbers them
INSTRUCTIONS = "AVX2"  # as PyTorch calls them
NEEDS = "numerics: portable needs"


@cache
def openblas() -> ctypes.CDLL:
    """The library that numpy computes with; ValueError where it is another one, or computes by other kernels."""
    folder = Path(np.__file__).parents[1] / "numpy.libs"
    found = next(folder.glob("libscipy_openblas64_*.so"), None)
    if found is None:
        raise ValueError(f"{NEEDS} numpy as PyPI has it for Linux on x86-64, with OpenBLAS; {folder} has none")
    library = ctypes.CDLL(str(found))
    library.scipy_openblas_get_corename64_.restype = ctypes.c_char_p
    kernels = library.scipy_openblas_get_corename64_().decode()
    if kernels != CORE:
        raise ValueError(f"{NEEDS} OpenBLAS's kernels {CORE}, and this process has {kernels}")
    integer, pointer, real = ctypes.c_int64, ctypes.c_void_p, ctypes.c_float
    sizes = [ctypes.c_int] * 3 + [integer] * 3
    library.scipy_cblas_sgemm64_.argtypes = [*sizes, real, pointer, integer, pointer, integer, real, pointer, integer]
    library.scipy_cblas_sgemm64_.restype = None
    return library


@cache
def portable() -> torch.library.Library:
    """PyTorch's products in this process, on a CPU and in float32, by OpenBLAS from now on.

    ValueError where the process cannot give the bits that every other one gives.
    """
    if not here(PORTABLE):
        raise ValueError(f"{NEEDS} a process that began with it; run its cells by `python -m fedgrid run`")
    check()
    if (capability := torch.backends.cpu.get_cpu_capability()) != INSTRUCTIONS:
        raise ValueError(f"{NEEDS} PyTorch's kernels of {INSTRUCTIONS}, and this process has those of {capability}")
    openblas()
    ours = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Warning only once for all operators")  # that one is overridden
        for name, function in PRODUCTS.items():
            ours.impl(name, function, "CPU", allow_override=True)
    return ours


def sgemm(out: Tensor, a: Tensor, b: Tensor, alpha: float, beta: float) -> None:
    """out ← alpha·a·b + beta·out, of float32 (R, m, k)·(R, k, n), the numbers of each row of `out` side by side."""
    (replicas, m, n), k = out.shape, a.shape[2]
    (a, turn_a, wide_a), (b, turn_b, wide_b) = laid(a), laid(b)
    wide = max(out.stride(1), n, 1)
    steps = [FLOAT * tensor.stride(0) for tensor in (a, b, out)]
    at_a, at_b, at_out = (tensor.data_ptr() for tensor in (a, b, out))
    product, (step_a, step_b, step_out) = openblas().scipy_cblas_sgemm64_, steps
    for _ in range(replicas):
        product(ROWS_FIRST, turn_a, turn_b, m, n, k, alpha, at_a, wide_a, at_b, wide_b, beta, at_out, wide)
        at_a, at_b, at_out = at_a + step_a, at_b + step_b, at_out + step_out


def laid(matrices: Tensor) -> tuple[Tensor, int, int]:
    """Matrices as BLAS reads them, copied at need: whether they are transposed, and how far apart their rows lie."""
    _, rows, columns = matrices.shape
    _, down, across = matrices.stride()
    if across == 1 and (down >= columns or rows == 1):
        return matrices, AS_IS, max(down, columns, 1)
    if down == 1 and (across >= rows or columns == 1):
        return matrices, TRANSPOSED, max(across, rows, 1)
    return matrices.contiguous(), AS_IS, max(columns, 1)


def bmm(a: Tensor, b: Tensor) -> Tensor:
    """a·b."""
    out = a.new_empty(a.shape[0], a.shape[1], b.shape[2])
    if a.dtype != torch.float32 or not fits(out, a, b):
        return torch.bmm(a, b, out=out)  # PyTorch's own
    sgemm(out, a, b, 1.0, 0.0)
    return out


def baddbmm(into: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta·into + alpha·a·b."""
    out = into.expand(a.shape[0], a.shape[1], b.shape[2]).clone(memory_format=torch.contiguous_format)
    return baddbmm_(out, a, b, beta=beta, alpha=alpha)


def baddbmm_(into: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """The same where `into` lies."""
    if a.dtype != torch.float32 or not fits(into, a, b):
        return torch.baddbmm(into, a, b, beta=beta, alpha=alpha, out=into)
    if into.stride(2) == 1 and (into.stride(1) >= into.shape[2] or into.shape[1] == 1):
        sgemm(into, a, b, alpha, beta)
        return into
    whole = into.contiguous()
    sgemm(whole, a, b, alpha, beta)
    return into.copy_(whole)


def mm(a: Tensor, b: Tensor) -> Tensor:
    """a·b, of single matrices."""
    return bmm(a.unsqueeze(0), b.unsqueeze(0)).squeeze(0)


def addmm(into: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta·into + alpha·a·b, of single matrices."""
    return baddbmm(into, a.unsqueeze(0), b.unsqueeze(0), beta=beta, alpha=alpha).squeeze(0)


def fits(out: Tensor, a: Tensor, b: Tensor) -> bool:
    """Whether the shapes are a product's; where not, PyTorch says so."""
    return len(a) == len(b) and a.shape[2] == b.shape[1] and out.shape == (len(a), a.shape[1], b.shape[2])


PRODUCTS: dict[str, Callable[..., Tensor]] = {
    "bmm": bmm,
    "baddbmm": baddbmm,
    "baddbmm_": baddbmm_,
    "mm": mm,
    "addmm": addmm,
}
