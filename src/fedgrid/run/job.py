"""Runs a cell as one process: reads its data, resumes from its checkpoint, shows its progress, writes its record."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedgrid import files, partitions
from fedgrid.curves import best_rate, envelope
from fedgrid.engine import products, ranks
from fedgrid.engine.precision import PRECISIONS
from fedgrid.grid.cells import Cell, Interpolation, Race
from fedgrid.numerics import PORTABLE
from fedgrid.partitions import Division, Partition
from fedgrid.rng import stream
from fedgrid.run import checkpoint, interpolation, keys, locks, provenance, race, record, sources, statements
from fedgrid.run.effort import moved
from fedgrid.tasks import TASKS
from fedgrid.tasks.datasets import DATASETS, ENCODED, RAW, Dataset

PARTITIONS = Path("data/partitions")
CHECKPOINTS = Path("results/checkpoints")
CHECKPOINT_SECONDS = 60
PROGRESS_SECONDS = 5


def load_data(name: str, raw: Path = RAW) -> Dataset:
    """The dataset of that name from its fetched files, a corpus from its encoded ones beside them.

    ValueError naming the file that is missing or damaged.
    """
    info = DATASETS[name]
    folder, verb = (raw.parent / ENCODED.name / name, "encode") if info.posts else (raw / name, "fetch")
    try:
        for archive in folder.glob("*.npz"):
            files.arrays(archive)
        return info.load(folder)
    except FileNotFoundError as error:
        raise ValueError(f"{error.filename}: no such data; {verb} it with `python -m fedgrid {verb} {name}`") from error


def draw_partition(dataset: Dataset, division: Division, K: int, seed: int) -> Partition:
    """The partition of that dataset, drawn from its own named stream."""
    return partitions.draw(division, dataset.train_y, K, stream(seed, "partition"), dataset.clients)


def write_partition(drawn: Partition, dataset: Dataset, path: Path) -> None:
    """Keeps a partition as a file: its name, indices, offsets and the digest of the dataset that it divides."""
    with files.whole(path) as partial, partial.open("wb") as file:
        name, data = np.array(path.stem), np.array(dataset.digest)
        np.savez(file, name=name, indices=drawn.indices, offsets=drawn.offsets, data=data)


def read_partition(path: Path, dataset: Dataset) -> Partition:
    """The partition at path; ValueError where it is damaged or divides another dataset."""
    try:
        kept = files.arrays(path)
        drawn = Partition(kept["indices"], kept["offsets"])
        name, data = str(kept["name"]), str(kept["data"])
    except FileNotFoundError:
        raise ValueError(f"{path}: no partition; draw it with `python -m fedgrid partition {path.stem}`") from None
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path}: no partition ({error}); delete it to draw it again") from error
    if name != path.stem:
        raise ValueError(f"{path}: it is the partition {name}; delete it to draw the right one")
    if data != dataset.digest:
        raise ValueError(f"{path}: a partition of another dataset ({data[:12]}, not {dataset.digest[:12]}); delete it")
    return drawn


def partition_of(cell: Cell, dataset: Dataset, folder: Path = PARTITIONS) -> Partition:
    """The partition that the cell trains on; ValueError where its file is not what is drawn today.

    A user's own partition may have been written anew since.
    """
    path = folder / f"{cell.partition_name}.npz"
    kept = read_partition(path, dataset)
    if kept.digest != draw_partition(dataset, cell.partition, cell.K, cell.seed).digest:
        raise ValueError(f"{path}: it is not what the sources draw now; delete it to draw it again")
    return kept


def device(cell: Cell) -> torch.device:
    """Where the cell is computed: on a GPU if this process sees one. ValueError where the cell's precision needs one.

    CUDA_VISIBLE_DEVICES decides which one, and hides all if it is empty. Portable numbers are a CPU's.
    """
    if cell.numerics == PORTABLE:
        return race.CPU
    if torch.cuda.is_available():
        _, products = PRECISIONS[cell.precision]
        torch.backends.cuda.matmul.fp32_precision = products
        torch.backends.cudnn.conv.fp32_precision = products  # type: ignore[attr-defined]  # tf32 unless told
        torch.backends.cudnn.deterministic = True  # of an nn.Module; fused layers use none of its kernels
        return torch.device("cuda")
    if cell.precision == "tf32":
        raise ValueError(f"{cell.name}: precision tf32 needs a GPU, and this process sees none")
    return race.CPU


def workers(cell: Cell) -> int:
    """How many threads share a cell's work: one where a GPU trains its clients together.

    On a CPU it is OMP_NUM_THREADS, which a rule's `threads` sets; 1 if it is unset. Each computes alone, so that a
    curve depends neither on their number nor on what runs beside them.
    """
    if device(cell) != race.CPU:
        return 1
    wanted = os.environ.get("OMP_NUM_THREADS", "1")
    if not (wanted.isdecimal() and int(wanted)):
        raise ValueError(f"OMP_NUM_THREADS is {wanted!r}; it must be a whole number from 1")
    return int(wanted)


def identity(cell: Cell, dataset: Dataset, drawn: Partition) -> dict[str, str]:
    """What makes two races the same race."""
    return {
        "name": cell.name,
        "engine": sources.digest(cell),
        "data": dataset.digest,
        "partition": drawn.digest,
        "torch": torch.__version__,
        "device": provenance.device_name(device(cell)),
    } | instructions(cell)


def agree(who: dict[str, str]) -> None:
    """ValueError where another rank is at another race."""
    for rank, other in enumerate(ranks.each(who)):
        for key in who:
            if other.get(key) != who[key]:
                raise ValueError(
                    f"rank {rank} has the {key} {other.get(key)}, rank {ranks.rank()} the {key} {who[key]}; give a job "
                    "processes of one cell, on nodes of one kind"
                )


def instructions(cell: Cell) -> dict[str, str]:
    """The kernels that a CPU sums by; a GPU has them by its name."""
    if device(cell) != race.CPU:
        return {}
    portable = f"portable, numpy {np.__version__}"
    return {"instruction set": portable if cell.numerics == PORTABLE else torch.backends.cpu.get_cpu_capability()}


@contextmanager
def terminated() -> Iterator[list[int]]:
    """A list that SIGTERM and SIGINT fill with their numbers; the process goes on, to leave at a round's end."""
    caught: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, lambda number, frame: caught.append(number))
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def progress(cell: Race, lap: race.Lap, pace: float) -> str:
    """One line: rounds, best accuracy and its rate, pace and the time to the horizon; pace in rounds per second."""
    curves = [rate.test_accuracy for rate in lap.rates]
    best = envelope(curves)
    reached = f"best {best[-1]:.4f} at lr {best_rate(cell.lr, curves):g}" if len(best) else "not yet evaluated"
    hours, minutes = divmod(round((cell.rounds - lap.t) / pace / 60), 60)
    left = f"at most {hours} h {minutes:02} min left"
    return f"{cell.name}: round {lap.t}/{cell.rounds}, {reached}, {pace:.3g} rounds/s, {left}"


def settled(cells: Sequence[Cell]) -> Iterator[Path]:
    """The path of each cell's record, once it is there; of several processes that share it, at the first alone."""
    if not cells:
        return
    with ranks.joined():
        for cell in cells:
            if ranks.first():
                yield settle(cell)
            elif ranks.awaited():
                with locks.own_gpu():
                    run(cell)


def settle(cell: Cell) -> Path:
    """The path of the cell's record, which is made if there is none; ValueError where a damaged one lies there.

    A record is never replaced: whoever wants another deletes it. So a job that is tried again, requeued or submitted
    twice costs nothing that was done before.
    """
    place = record.path(cell.name)
    with locks.alone(CHECKPOINTS / f"{cell.name}.lock"):
        files.sweep(place)
        files.sweep(statements.path(place))
        files.sweep(CHECKPOINTS / cell.name)
        if place.is_file():
            record.read(place)
            print(f"{place}: it is there; delete it to run the cell again", file=sys.stderr)
            ranks.told(False)
        else:
            key = keys.private()  # one that can't be read is refused now, not after the race
            ranks.told(True)
            with locks.own_gpu():
                made = run(cell)
            if fault := next(record.faults(json.loads(record.text(made))), None):
                raise ValueError(f"{cell.name}: no record: {fault}; mend the extension that gave it and run it again")
            if key is None:
                print(f"{place}: its statement is unsigned; `python -m fedgrid key` makes a key", file=sys.stderr)
            statements.write(made, key)  # first: a record that is there has its statement
            record.write(made)
        for begun in CHECKPOINTS.glob(f"{cell.name}.*npz*"):  # of any device, damaged ones too
            begun.unlink()
    return place


def run(cell: Cell, raw: Path = RAW, partitions: Path = PARTITIONS, checkpoints: Path = CHECKPOINTS) -> dict[str, Any]:
    """The cell's record. SIGTERM or Ctrl-C writes a checkpoint and raises SystemExit(128 + its number).

    The same call later resumes there.
    """
    torch.set_num_threads(1)  # within an operation: there, threads would wait for one another
    if cell.numerics == PORTABLE:
        products.portable()
    here = provenance.hardware(device(cell), workers(cell))
    dataset = load_data(cell.dataset, raw)
    TASKS[cell.task].check(dataset)
    drawn = partition_of(cell, dataset, partitions)
    who = identity(cell, dataset, drawn)
    agree(who)
    here = provenance.beside(ranks.each(here))
    # of the sources as imported, not as they may be edited meanwhile
    commit, (patched, patch) = provenance.commit(), provenance.patch()
    if isinstance(cell, Interpolation):
        outcome = run_interpolation(cell, dataset, drawn, here)
    elif isinstance(cell, Race):
        place = checkpoint.path(checkpoints, cell.name, who["device"])
        outcome = run_race(cell, dataset, drawn, place, who, here)
    origin = commit | {"patch": patched} | {key: who[key] for key in ("engine", "data", "partition")}
    outcome["provenance"] = origin | outcome["provenance"] | taken(device(cell))
    return {"schema": record.SCHEMA, "name": cell.name, "settings": cell.recorded} | outcome | {"patch": patch}


def run_interpolation(
    cell: Interpolation, dataset: Dataset, drawn: Partition, here: checkpoint.Machine
) -> dict[str, Any]:
    """Result, curves and provenance of Figure 1's averages; short enough to need no checkpoint."""
    began = time.monotonic()
    initial, final = interpolation.parents(cell, dataset, drawn, device(cell))
    curves = interpolation.averages(cell, dataset, final, interpolation.mixing_weights(cell), here["threads"])
    examples = cell.E * sum(len(drawn[k]) for k in (0, 1))
    cost = effort(time.monotonic() - began, examples)
    made = weights(initial, final) | cost | computed([here])
    return {"result": interpolation.result(curves), "curves": curves, "provenance": made}


def run_race(
    cell: Race,
    dataset: Dataset,
    drawn: Partition,
    place: Path,
    who: dict[str, str],
    here: checkpoint.Machine,
) -> dict[str, Any]:
    """Result, curves and provenance of a race, begun or resumed; its progress goes to stderr."""
    kept = ranks.told(checkpoint.read(place, who, cell) if ranks.first() else None)
    own = checkpoint.beside(place) if ranks.first() else None  # the others keep what clients keep for themselves
    lap, before, machines = kept or (race.start(cell, own), 0.0, [])
    machines = [*machines, here]
    first, began = lap.t, time.monotonic()
    saved = shown = began
    with terminated() as signals:
        for lap in race.laps(cell, dataset, drawn, lap, device(cell), here["threads"]):  # noqa: B020  # the race goes on from where it stood
            now = time.monotonic()
            stop = ranks.greatest(max(signals, default=0))  # all in the same round
            if ranks.first() and (stop or now - saved >= CHECKPOINT_SECONDS):
                keep(place, who, lap, before + now - began, machines)
                saved = now
            if stop:
                ranks.told()  # a launcher ends those that are left when the first has ended
                raise SystemExit(128 + stop)
            if ranks.first() and now - shown >= PROGRESS_SECONDS:
                print(progress(cell, lap, (lap.t - first) / (now - began)), file=sys.stderr, flush=True)
                shown = now
    return {
        "result": race.result(cell, lap),
        "curves": {"rounds": list(lap.rounds), "rates": [finite(asdict(rate)) for rate in lap.rates]},
        "provenance": weights(race.start(cell).w[:1], lap.w)
        | effort(before + time.monotonic() - began, lap.examples)
        | computed(machines)
        | moved(cell, lap.t)
        | {"test_examples": int((dataset.test_y >= 0).sum())},  # what an accuracy is a share of: of a text, its steps
    }


def keep(
    place: Path, who: dict[str, str], lap: race.Lap, seconds: float, machines: Sequence[checkpoint.Machine]
) -> None:
    """Writes the checkpoint; where there is no room for it, the race goes on without, and an older one stays."""
    try:
        checkpoint.save(place, who, lap, seconds, machines)
    except OSError as error:
        print(f"{place}: not written ({error.strerror or error}); the race goes on", file=sys.stderr, flush=True)


def weights(initial: torch.Tensor, final: torch.Tensor) -> dict[str, str]:
    """The digests of the weights that training began and ended with."""
    digest = provenance.tensor_digest
    return {"initial_weights": digest(initial), "final_weights": digest(final)}


def computed(machines: Sequence[checkpoint.Machine]) -> dict[str, Any]:
    """The versions and the hardware that the record was made with; a race may have gone from machine to machine."""
    return {"libraries": provenance.libraries(), "hardware": provenance.together(machines)}


def taken(device: torch.device) -> dict[str, Any]:
    """What this process asked for, and the most memory that it held; of a resumed race, the last process."""
    return {"peak_memory_bytes": provenance.peak_memory(device), "requested": provenance.requested()}


def effort(seconds: float, examples: int) -> dict[str, Any]:
    """What the record cost: seconds, evaluation included, and examples trained on, over all rates."""
    return {"seconds": round(seconds, 1), "examples": examples, "examples_per_second": round(examples / seconds)}


def finite(rate: dict[str, Any]) -> dict[str, Any]:
    """The rate with null for a loss that overflowed, for JSON has no infinity; `pruned` only of one that was."""
    losses = {key: [x if np.isfinite(x) else None for x in rate[key]] for key in ("test_loss", "train_loss")}
    return {key: value for key, value in rate.items() if (key, value) != ("pruned", None)} | losses
