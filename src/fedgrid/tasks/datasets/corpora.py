"""Corpora of posts by author, which may stand in for the paper's private one: raw files → (author, text), streamed.

Nothing is written under a name that an archive gives, and no file is read whole but a single blog. What a file has that
its format has not is a ValueError of one line that names file and line and says what to do.
"""

import csv
import html
import io
import json
import lzma
import re
import shutil
import sqlite3
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from fedgrid.rng import stream

Post = tuple[str, str]  # its author and its text

# What parsers raise over a damaged file, or another one.
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, KeyError, csv.Error, sqlite3.Error)
TWEETS = "training.1600000.processed.noemoticon.csv"
USER, TEXT, COLUMNS = 4, 5, 6
BLOG = re.compile(r"(?:.*/)?(\w[^./]*)[^/]*\.xml")
BLOG_POST = re.compile(rb"<post>(.*?)(?=</?post>|<date>|</Blog>|\Z)", re.DOTALL)
LINE = '{"author": "…", "posts": ["…", "…"]}'


@contextmanager
def sound(path: Path) -> Iterator[None]:
    """A block that reads the file; ValueError naming it where it turns out to be damaged."""
    try:
        yield
    except DAMAGE as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: damaged, or another file ({reason}); delete it and fetch it again") from error


def sentiment140(folder: Path) -> Iterator[Post]:
    """1.6 million tweets and their users (Go, Bhayani & Huang 2009), from a CSV in trainingandtestdata.zip."""
    path = folder / "trainingandtestdata.zip"
    with sound(path), zipfile.ZipFile(path) as archive, archive.open(TWEETS) as file:
        rows = csv.reader(io.TextIOWrapper(file, "latin-1", newline=""))
        for row in rows:
            if len(row) != COLUMNS:
                found = f"{path}: {TWEETS}:{rows.line_num}: {len(row)} columns, not {COLUMNS}"
                raise ValueError(f"{found}; delete {path.name} and fetch it again")
            yield row[USER], html.unescape(row[TEXT])


def blogs(folder: Path) -> Iterator[Post]:
    """The Blog Authorship Corpus (Schler et al. 2006): blogs.zip, a file <blogger>.<…>.xml for each of 19,320 bloggers.

    The files are no XML: they hold bare ampersands, control characters and several encodings. A post is what stands
    after its tag, up to the next one. It is UTF-8 or, where it can't be, Windows' Western European.
    """
    path = folder / "blogs.zip"
    with sound(path), zipfile.ZipFile(path) as archive:
        for blog in filter(None, map(BLOG.fullmatch, sorted(archive.namelist()))):
            for post in BLOG_POST.findall(archive.read(blog[0])):
                yield blog[1], html.unescape(decoded(post))


def decoded(text: bytes) -> str:
    """The text, in whichever of the two encodings it is; a byte that is in neither belongs to no word."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("cp1252", "replace")


def stackoverflow(folder: Path) -> Iterator[Post]:
    """Stack Overflow by user as TensorFlow Federated has it: the split "train" of stackoverflow.sqlite.lzma.

    A row of its table `examples` is a sentence: a tf.train.Example whose feature "tokens" is the text. The database is
    unpacked into the folder while it is read.
    """
    path = folder / "stackoverflow.sqlite.lzma"
    scratch = tempfile.TemporaryDirectory
    with sound(path), lzma.open(path) as packed, scratch(dir=folder, prefix=".", suffix=".partial") as unpacked:
        database = Path(unpacked) / "stackoverflow.sqlite"
        with database.open("wb") as file:
            shutil.copyfileobj(packed, file, 2**20)
        with closing(sqlite3.connect(database)) as connection:
            query = "SELECT rowid, client_id, serialized_example_proto FROM examples WHERE split_name = 'train'"
            for row, author, example in connection.execute(query):
                yield author, feature(example, b"tokens", f"{path}: examples:{row}")


def json_lines(folder: Path) -> Iterator[Post]:
    """Anyone's own posts: posts.jsonl, in UTF-8, whose lines are {"author": …, "posts": [...]}."""
    path = folder / "posts.jsonl"
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                found = json.loads(line.decode())
            except UnicodeDecodeError as error:
                reason = f"not UTF-8 from byte {error.start + 1} of the line"
                raise ValueError(f"{path}:{number}: {reason}; convert the file to UTF-8") from error
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}:{number}: not JSON ({error}); write {LINE}") from error
            match found:
                case {"author": str(author), "posts": [*posts]} if all(isinstance(post, str) for post in posts):
                    yield from ((author, post) for post in posts)
                case _:
                    raise ValueError(f"{path}:{number}: not of the form {LINE}; mend that line")


# A dataset's folder → its posts, as often as they are asked for.
READERS: dict[str, Callable[[Path], Iterator[Post]]] = {
    "sentiment140": sentiment140,
    "blogs": blogs,
    "stackoverflow": stackoverflow,
    "posts": json_lines,
    "generated": json_lines,
}


def feature(example: bytes, key: bytes, place: str) -> str:
    """The first text of that feature of a serialized tf.train.Example; ValueError naming the place where it has none.

    Example{1: Features{1: repeated entry{1: key, 2: Feature{1: BytesList{1: text}}}}}: every level is length-delimited.
    """
    try:
        for entry in (entry for features in fields(example, 1) for entry in fields(features, 1)):
            if next(fields(entry, 1)) == key:
                return next(fields(next(fields(next(fields(entry, 2)), 1)), 1)).decode()
        reason = "no such feature"
    except (StopIteration, IndexError, TypeError, UnicodeDecodeError) as error:
        reason = str(error) or "it has none"
    mend = "delete the file and fetch it again"
    raise ValueError(f"{place}: no tf.train.Example with text as {key.decode()} ({reason}); {mend}")


def fields(message: bytes, number: int) -> Iterator[bytes]:
    """The length-delimited fields of that number in a protocol buffer that has no others (wire type 2)."""
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        size, at = varint(message, at)
        if tag & 7 != 2 or at + size > len(message):
            raise IndexError("not length-delimited")
        if tag >> 3 == number:
            yield message[at : at + size]
        at += size


def varint(message: bytes, at: int) -> tuple[int, int]:
    """The number in base 128, least digit first, that begins at that place, and the place after it."""
    value = shift = 0
    while True:
        digit = message[at]
        value, shift, at = value | (digit & 127) << shift, shift + 7, at + 1
        if digit < 128:
            return value, at


WORDS, AUTHORS, POSTS, LENGTH = 12_000, 400, 40, 12  # of the generated corpus
LIKELY, SECOND = 0.6, 0.2  # how often a word is followed by either of its two own successors


def generate(path: Path) -> None:
    """Writes a corpus that can be learnt, as JSON Lines: a Markov chain over invented words, seed 0.

    Each word has two successors, which follow it 60 and 20 % of the time; otherwise any word does, in proportion to
    1 / rank (Zipf). Who knows the chain is right 60 % of the time, on the test set 58 %: there the word before may be
    unknown. The most frequent word is 8 % of all. A post begins with the next word of the list, so every word occurs.
    """
    draw = stream(0, "generated").random
    successors = (WORDS ** draw((WORDS, 2))).astype(int) - 1
    chances, others = draw((AUTHORS * POSTS, LENGTH)), (WORDS ** draw((AUTHORS * POSTS, LENGTH))).astype(int) - 1
    with path.open("w") as file:
        for author in range(AUTHORS):
            mine = range(author * POSTS, (author + 1) * POSTS)
            posts = [sentence(post % WORDS, successors, chances[post], others[post]) for post in mine]
            file.write(json.dumps({"author": f"author{author}", "posts": posts}) + "\n")


def sentence(word: int, successors: Any, chances: Any, others: Any) -> str:
    """A walk of the chain from that word."""
    said = []
    for chance, other in zip(chances, others, strict=True):
        said.append(spelling(word))
        own = successors[word]
        word = own[0] if chance < LIKELY else own[1] if chance < LIKELY + SECOND else other
    return " ".join(said)


def spelling(word: int) -> str:
    """An invented word: its rank in syllables of base 100."""
    digits = word // 10_000, word // 100 % 100, word % 100
    return "".join("bdfghjklmnprstvwxzcq"[digit // 5] + "aeiou"[digit % 5] for digit in digits)
