"""Shakespeare's Complete Works (Project Gutenberg's ebook 100): the lines of every speaking role of every play.

Section 3 of the paper: a client is a role of a play with at least two lines; the first four fifths of its lines are for
training, the last fifth, at least one line, for testing. Which lines of the file are a speech's is told by the rules of
LEAF (Caldas et al. 2018, two authors of the paper among them). On the posting of 1 September 2011 they give the paper's
1146 clients: names in another case are other roles, roles of two lines are left out, and in The Comedy of Errors, where
nothing is indented, all lines between speeches are taken along, Gutenberg's notice and empty ones included.

An example is a line. Its bytes are read one by one, and after each the next is predicted, after the last the END, after
that the PADDING, which is learnt like any character but never tested.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from fedgrid.tasks.datasets.dataset import NOTHING, Dataset

UNROLL = 80  # characters that are read of a line; one line is longer, by one
END, PADDING = 256, 257  # characters of their own: with the bytes, the 258 that the paper's count needs
CLIENTS = 1146
FEWEST = 3  # lines of a role
FEWEST_ROLES = 2  # of a play: the sonnets and poems have none

BYLINE = b"by William Shakespeare"
UNINDENTED = b"THE COMEDY OF ERRORS"
SPEECH, GOES_ON = re.compile(rb"  ([a-zA-Z][a-zA-Z ]*)\. (.*)"), re.compile(rb"    (.*)")
SPEECH_UNINDENTED, GOES_ON_UNINDENTED = re.compile(rb"([a-zA-Z][a-zA-Z ]*)\. (.*)"), re.compile(rb"(.*)")
SILENCE_UNINDENTED = b"ACT ", b"<"  # a new act, or a notice of Gutenberg's

Lines = list[bytes]


def works(file: Lines) -> Iterator[tuple[bytes, Lines]]:
    """The title and the lines of each play or poem after the sonnets: what stands between two bylines.

    A title is the nearest line with words above its byline.
    """
    bylines = [number for number, line in enumerate(file) if BYLINE in line]
    for begins, ends in pairwise(bylines[1:]):  # the first is the sonnets', the last one Gutenberg's
        yield next(line.strip() for line in reversed(file[:begins]) if line.strip()), file[begins + 1 : ends]


def speeches(title: bytes, lines: Lines) -> dict[bytes, Lines]:
    """The lines of each role of a play, by the role's name, in the play's order."""
    indented = title != UNINDENTED
    speech, goes_on = (SPEECH, GOES_ON) if indented else (SPEECH_UNINDENTED, GOES_ON_UNINDENTED)
    spoken: dict[bytes, Lines] = {}
    speaker: Lines | None = None
    for line in lines:
        if not indented and line.startswith(SILENCE_UNINDENTED):
            speaker = None
        elif begun := speech.match(line):
            speaker = spoken.setdefault(begun[1], [])
            speaker.append(begun[2])
        elif speaker is not None and (further := goes_on.match(line)):
            speaker.append(further[1])
    return spoken


def roles(file: Lines) -> Iterator[tuple[bytes, bytes, Lines]]:
    """Every client: its play, its name and its lines."""
    for title, lines in works(file):
        spoken = speeches(title, lines)
        if len(spoken) >= FEWEST_ROLES:
            yield from ((title, name, said) for name, said in spoken.items() if len(said) >= FEWEST)


def split(lines: Lines) -> tuple[Lines, Lines]:
    """A role's lines for training, and its last fifth, at least one, for testing."""
    test = max(len(lines) // 5, 1)
    return lines[:-test], lines[-test:]


def tokens(lines: Lines) -> tuple[np.ndarray, np.ndarray]:
    """What is read of each line, and what comes next: two int16 (lines, UNROLL)."""
    text = np.full((len(lines), UNROLL + 1), PADDING, np.int16)
    for row, line in zip(text, lines, strict=True):
        whole = [*line, END][: UNROLL + 1]
        row[: len(whole)] = whole
    return text[:, :-1].copy(), text[:, 1:].copy()


def load(folder: Path) -> Dataset:
    """The lines of all roles from the folder's pg100.txt: training lines client by client, test lines by length.

    ValueError naming the file where it is another posting of the ebook.
    """
    path = folder / "pg100.txt"
    parts = [split(lines) for _, _, lines in roles(path.read_bytes().splitlines())]
    if len(parts) != CLIENTS:
        raise ValueError(
            f"{path}: {len(parts)} roles, not the {CLIENTS} of the posting of 1 September 2011; fetch that"
        )
    train, test = ([line for part in parts for line in part[which]] for which in (0, 1))
    test.sort(key=len)  # lines of one length are evaluated together, without padding
    clients = np.cumsum([0, *(len(lines) for lines, _ in parts)])
    read, follows = tokens(test)
    follows[follows == PADDING] = NOTHING
    return Dataset("shakespeare", *tokens(train), read, follows, clients=clients)
