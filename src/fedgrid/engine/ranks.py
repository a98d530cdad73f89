"""Processes that share a cell, over GPUs and nodes: each computes a part of the work, and every one gets all results.

They are ranks as torch.distributed has them, which torchrun or srun starts; without such a launcher there is one, of
rank 0, and no group. A result reaches every rank as the bytes that it is, in the order of what was dealt: so each forms
the same sums, and on CPUs they are those of one process. Rank 0 alone writes files and speaks.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

Item = TypeVar("Item")
Result = TypeVar("Result")
Value = TypeVar("Value")

TIMEOUT = timedelta(minutes=30)  # of silence, after which a rank is taken for dead: more than a client's epochs take
WAITING = "waiting"  # what rank 0 says while it has nothing to say
PASSED = 2**24  # bytes of small results that a rank passes on at once
ALIGNED = 16  # bytes, of a tensor among others
TORCHRUN = ("RANK", "WORLD_SIZE")
SRUN = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")


def launched() -> tuple[int, int]:
    """This process's rank and how many there are, by torchrun's variables or srun's; 0 and 1 without a launcher."""
    for names in (TORCHRUN, SRUN):
        if all(name in os.environ for name in names):
            rank, count = (int(os.environ[name]) for name in names)
            return rank, count
    return 0, 1


def meeting_place() -> str:
    """The address at which ranks find one another: MASTER_ADDR and MASTER_PORT, or srun's first node and a free port.

    The port follows from the job's number and the step's.
    """
    if TORCHRUN[0] in os.environ:
        return "env://"
    first = re.match(r"(?:[^,[]|\[[^]]*\])+", os.environ["SLURM_STEP_NODELIST"])  # n[1-3,7],m4
    assert first
    host = os.environ.get("MASTER_ADDR", re.sub(r"\[(\w+)[^]]*\]", r"\1", first[0]))
    number = int(os.environ["SLURM_JOB_ID"]) + int(os.environ["SLURM_STEP_ID"])
    return f"tcp://{host}:{os.environ.get('MASTER_PORT', 15000 + number % 10000)}"


@contextmanager
def joined() -> Iterator[None]:
    """A block in which this process is one of those that its launcher started. One that fails in it ends the others."""
    place, count = launched()
    if count > 1:
        kind = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        with connected():
            dist.init_process_group(kind, meeting_place(), TIMEOUT, rank=place, world_size=count)
    yield
    if count > 1:
        dist.destroy_process_group()


@contextmanager
def connected() -> Iterator[None]:
    """ConnectionError, in a line, where another rank does not answer in the block."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise ConnectionError(
            f"rank {launched()[0]}: another process of this job has ended or does not answer; run it again, and it "
            f"goes on from its checkpoint ({reason})"
        ) from error


def size() -> int:
    """How many ranks there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this process is."""
    return dist.get_rank() if size() > 1 else 0


def first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return rank() == 0


def each(value: Value) -> list[Value]:
    """What each rank gives, in their order."""
    found = [value] * size()
    if size() > 1:
        with connected():
            dist.all_gather_object(found, value)
    return found


def greatest(number: int) -> int:
    """The greatest of what the ranks give."""
    found = torch.tensor(number)
    if size() > 1:
        with connected():
            dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)


def told(value: Any = None) -> Any:
    """What rank 0 gives; what others give is nothing."""
    found = [value]
    if size() > 1:
        with connected():
            dist.broadcast_object_list(found)
    return found[0]


def keep_waiting() -> None:
    """Rank 0 lets the others know that it waits for something, and lives."""
    told(WAITING)


def awaited() -> Any:
    """What rank 0 tells in the end, once it has waited for whatever it waits for."""
    while (value := told()) == WAITING:
        pass
    return value


def dealt(
    compute: Callable[[Sequence[Item]], Iterable[Result]], items: Sequence[Item], at_once: int
) -> Iterator[Result]:
    """The results of the items, in their order, at every rank; each computes at least that many of them at once.

    More, where results are small. At no time are there those of more than one rank beside one's own.
    """
    done = 0
    while done < len(items):
        shares = [items[start : start + at_once] for start in range(done, len(items), at_once)][: size()]
        mine = list(compute(shares[rank()])) if rank() < len(shares) else []
        parcel, packed = packed_up(mine)
        parcels = each(parcel)
        for source, sent in enumerate(parcels[: len(shares)]):
            yield from passed(source, sent, mine, packed)
        done += sum(map(len, shares))
        largest = max(sent.bytes // len(share) for sent, share in zip(parcels, shares, strict=False))
        even = -(-(len(items) - done) // size())
        at_once = max(at_once, min(PASSED // max(largest, 1), even))


@dataclass(frozen=True)
class Place:
    """Where a tensor lies in a buffer of bytes, and what it is."""

    start: int
    end: int
    shape: torch.Size
    dtype: torch.dtype

    def of(self, buffer: Tensor) -> Tensor:
        """The tensor in that buffer."""
        return buffer[self.start : self.end].view(self.dtype).view(self.shape)


@dataclass(frozen=True)
class Parcel:
    """Results with places for their tensors, and the buffer that holds these: its bytes and kind of device."""

    results: list[Any]
    bytes: int
    device: str


def packed_up(results: list[Any]) -> tuple[Parcel, Tensor]:
    """The results' parcel, and the buffer that goes with it."""
    tensors = [one for one in tree_leaves(results) if isinstance(one, Tensor)]
    end, places = 0, []
    for one in tensors:
        start = -(-end // ALIGNED) * ALIGNED
        end = start + one.nbytes
        places.append(Place(start, end, one.shape, one.dtype))
    buffer = torch.empty(end, dtype=torch.uint8, device=tensors[0].device if tensors else "cpu")
    for place, one in zip(places, tensors, strict=True):
        place.of(buffer).copy_(one)
    following = iter(places)
    return Parcel(tree_map_only(Tensor, lambda _: next(following), results), end, buffer.device.type), buffer


@torch.inference_mode()
def passed(source: int, parcel: Parcel, mine: list[Any], packed: Tensor) -> list[Any]:
    """The results of rank `source`, whose parcel is known: mine, if I am that one, and `packed` what holds them."""
    buffer = packed if source == rank() else torch.empty(parcel.bytes, dtype=torch.uint8, device=parcel.device)
    with connected():
        dist.broadcast(buffer, source)
    return mine if source == rank() else tree_map_only(Place, lambda place: place.of(buffer), parcel.results)
