"""Threads and processes that share work, in pieces: each computes alone, and results come in the pieces' order."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from typing import TypeVar

import torch

from fedgrid.engine import ranks

Item = TypeVar("Item")
Result = TypeVar("Result")


def slices(n: int, size: int) -> list[slice]:
    """0 to n in pieces of that size, the last one maybe smaller."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def pieces(n: int, most: int, on_gpu: bool) -> list[slice]:
    """0 to n in pieces that ranks share, of that size; on a GPU, where all may fit in one, at least one for each.

    On a CPU they are those of one process: sums depend on them.
    """
    return slices(n, min(most, -(-n // ranks.size())) if on_gpu else most)


def spread(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """function of each item, in the items' order, by all ranks, at each of them by that many threads."""
    compute = partial(threaded, function, workers=workers)
    return compute(items) if ranks.size() == 1 else ranks.dealt(compute, items, workers)


def threaded(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """The same by the threads of this process, each of which computes alone."""
    if workers == 1:
        yield from map(function, items)
        return
    ahead: deque[Future[Result]] = deque()
    for item in items:
        ahead.append(threads(workers).submit(function, item))
        if len(ahead) > 2 * workers:  # so many results wait at most
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


@cache
def threads(workers: int) -> ThreadPoolExecutor:
    """That many threads, kept: new ones would begin each round with memory they have never touched."""
    return ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
