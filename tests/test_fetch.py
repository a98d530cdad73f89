"""Laws of the download: a file is whole, checked and in place, or the place is as it was.

The hosts are real HTTP servers on the loopback.
"""

import hashlib
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from fedgrid.tasks import fetch
from fedgrid.tasks.datasets import DATASETS, digits, mnist

PARAMS = Path(__file__).parents[1] / "params" / "datasets.yaml"
MIRROR = os.environ.get("FEDGRID_MIRROR")  # before the tests take it away
FILES = {"a.gz": bytes(range(256)) * 1024, "b.gz": b"two"}
MNIST_SHAPES = {"train_x": (60000, 784), "train_y": (60000,), "test_x": (10000, 784), "test_y": (10000,)}


@pytest.fixture(autouse=True)
def loopback_without_proxy_mirror_or_pause(monkeypatch):
    monkeypatch.delenv("FEDGRID_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(fetch, "PAUSE", 0.0)


@pytest.fixture
def bring(tmp_path):
    """Declares the dataset "toy" of FILES at those sources, and fetches it."""

    def bring(*sources, name="toy"):
        pins = {file: hashlib.sha256(content).hexdigest() for file, content in FILES.items()}
        (tmp_path / "datasets.yaml").write_text(
            yaml.safe_dump({"toy": {"train": 9, "sources": [*sources], "files": pins}})
        )
        return fetch.fetch(name, tmp_path / "raw", tmp_path / "datasets.yaml")

    return bring


@pytest.fixture
def toy(tmp_path):
    return tmp_path / "raw" / "toy"


def held(folder):
    """What lies in the folder, hidden files included."""
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def refusal(call, *args, **kwargs):
    """The one line that the call says when it fails."""
    with pytest.raises(ValueError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_download_is_every_declared_file_and_nothing_else(host, bring, toy):
    assert bring(host(FILES).url) == [toy / "a.gz", toy / "b.gz"]
    assert held(toy) == FILES


def test_one_file_can_be_fetched_alone(host, bring, toy):
    one = host(FILES)
    assert bring(one.url, name="toy/b.gz") == [toy / "b.gz"]
    assert one.asked == ["b.gz"]
    assert "'c.gz'; it has a.gz, b.gz" in refusal(bring, one.url, name="toy/c.gz")


def test_progress_and_the_url_are_shown(host, bring, capfd):
    url = host(FILES).url
    bring(url)
    shown = capfd.readouterr().err
    assert f"{url}a.gz" in shown and "100%" in shown


def test_others_may_read_what_was_fetched(host, bring):
    mask = os.umask(0o022)
    try:
        assert [path.stat().st_mode & 0o777 for path in bring(host(FILES).url)] == [0o644, 0o644]
    finally:
        os.umask(mask)


def test_a_wrong_checksum_is_refused_and_leaves_nothing(host, bring, toy):
    url = host(FILES | {"a.gz": b"another file"}).url
    said = refusal(bring, url)
    assert str(toy / "a.gz") in said and url.rstrip("/") in said
    assert f"sha256 is {hashlib.sha256(b'another file').hexdigest()[:12]}" in said
    assert "set FEDGRID_MIRROR to a folder or URL that holds toy/a.gz" in said
    assert held(toy) == {}


def test_a_body_cut_in_the_middle_is_refused_and_leaves_nothing(host, bring, toy):
    one = host(FILES, cut={"a.gz": fetch.ATTEMPTS})
    assert "IncompleteRead" in refusal(bring, one.url)
    assert one.asked == ["a.gz"] * fetch.ATTEMPTS
    assert held(toy) == {}


def test_a_body_cut_once_is_asked_for_again(host, bring, toy):
    one = host(FILES, cut={"a.gz": 1})
    bring(one.url)
    assert one.asked == ["a.gz", "a.gz", "b.gz"]
    assert held(toy) == FILES


def test_a_missing_file_is_not_asked_for_again(host, bring, toy):
    one = host({})
    assert "404 Client Error" in refusal(bring, one.url)
    assert one.asked == ["a.gz"]


def test_a_dead_host_is_named(bring, toy, dead):
    said = refusal(bring, dead)
    assert dead in said and "Connection refused" in said
    assert held(toy) == {}


def test_a_silent_host_is_given_up(host, bring, toy, monkeypatch):
    monkeypatch.setattr(fetch, "TIMEOUT", (0.2, 0.2))
    one = host(FILES, cut={"a.gz": fetch.ATTEMPTS}, stall=True)
    assert "timed out" in refusal(bring, one.url)
    assert held(toy) == {}


def test_the_next_host_is_asked_where_the_first_is_dead_or_wrong(host, bring, toy, dead):
    wrong, good = host({"a.gz": b"wrong"}), host(FILES)
    bring(dead, wrong.url, good.url)
    assert held(toy) == FILES
    assert wrong.asked == good.asked == ["a.gz", "b.gz"]


def test_the_error_tells_what_happened_at_each_source(host, bring, dead):
    wrong, without = host({"a.gz": b"wrong"}).url, host({}).url
    said = refusal(bring, dead, wrong, without)
    at = [said.index(part) for part in (dead, "refused", wrong[:-1], "sha256 is", without[:-1], "404 Client Error")]
    assert at == sorted(at)


def test_a_mirror_folder_is_asked_before_any_host(host, bring, toy, tmp_path, monkeypatch):
    (tmp_path / "mirror" / "toy").mkdir(parents=True)
    (tmp_path / "mirror" / "toy" / "a.gz").write_bytes(FILES["a.gz"])
    monkeypatch.setenv("FEDGRID_MIRROR", str(tmp_path / "mirror"))
    one = host(FILES)
    bring(one.url)
    assert one.asked == ["b.gz"]
    assert held(toy) == FILES


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_mirror_url_is_asked_before_any_host(host, bring, toy, monkeypatch, slash):
    mirror, one = host({"store/toy/a.gz": FILES["a.gz"]}), host(FILES)
    monkeypatch.setenv("FEDGRID_MIRROR", f"{mirror.url}store{slash}")
    bring(one.url)
    assert mirror.asked == ["store/toy/a.gz", "store/toy/b.gz"]
    assert one.asked == ["b.gz"]
    assert held(toy) == FILES


def test_a_mirror_folder_that_is_not_there_is_named(bring, toy, dead, tmp_path, monkeypatch):
    monkeypatch.setenv("FEDGRID_MIRROR", str(tmp_path / "nowhere"))
    said = refusal(bring, dead)
    assert f"{tmp_path / 'nowhere' / 'toy'}: [Errno 2] No such file" in said and "refused" in said
    assert held(toy) == {}


def test_a_wrong_file_in_a_mirror_folder_is_refused(bring, toy, dead, tmp_path, monkeypatch):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "a.gz").write_bytes(FILES["a.gz"][:-1])
    monkeypatch.setenv("FEDGRID_MIRROR", str(tmp_path))
    assert "sha256 is" in refusal(bring, dead)
    assert held(toy) == {}


def test_the_pinned_file_in_place_is_left_as_it_is(host, bring, toy, dead):
    bring(host(FILES).url)
    before = {path: path.stat() for path in toy.iterdir()}
    bring(dead)
    assert {path: path.stat() for path in toy.iterdir()} == before


def test_another_file_in_place_is_named_and_not_overwritten(host, bring, toy):
    toy.mkdir(parents=True)
    (toy / "a.gz").write_bytes(b"mine")
    one = host(FILES)
    said = refusal(bring, one.url)
    assert str(toy / "a.gz") in said and "delete it" in said
    assert one.asked == []
    assert held(toy) == {"a.gz": b"mine"}


@pytest.mark.fault
def test_a_download_killed_in_mid_transfer_leaves_nothing_in_place_and_the_next_succeeds(host, bring, toy, tmp_path):
    one = host(FILES, cut={"a.gz": 1}, stall=True)
    bring(one.url, name="toy/b.gz")  # also writes the declaration that the other process reads
    code = "import sys, pathlib, fedgrid.tasks.fetch as f; f.fetch('toy', *map(pathlib.Path, sys.argv[1:]))"
    command = [sys.executable, "-c", code, toy.parent, tmp_path / "datasets.yaml"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 30
        while not any(path.stat().st_size for path in toy.glob(".a.gz.*.partial")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (toy / "a.gz").exists()
    bring(one.url)
    assert (toy / "a.gz").read_bytes() == FILES["a.gz"]


def test_an_unpinned_file_is_refused_until_the_sha256_that_is_told_is_pinned(host, toy, tmp_path):
    declared, one = tmp_path / "datasets.yaml", host(FILES)

    def bring(pin):
        declared.write_text(yaml.safe_dump({"toy": {"train": 9, "sources": [one.url], "files": {"a.gz": pin}}}))
        return fetch.fetch("toy", tmp_path / "raw", declared)

    said = refusal(bring, fetch.UNPINNED)
    assert f"{toy / 'a.gz'}: no sha256 of it is pinned" in said
    assert f"put it there, from {one.url[:-1]}, and fetch" in said
    assert one.asked == [] and held(toy) == {}
    toy.mkdir(parents=True)
    (toy / "a.gz").write_bytes(b"mine")
    told = refusal(bring, fetch.UNPINNED).rpartition("if you trust it, pin its sha256, ")[2]
    assert held(toy) == {"a.gz": b"mine"} and told == hashlib.sha256(b"mine").hexdigest()
    assert bring(told) == [toy / "a.gz"]


def test_an_unknown_dataset_is_named_with_those_there_are(bring):
    assert refusal(bring, name="tony").startswith("unknown dataset 'tony'; ")
    assert refusal(bring, name="tony").endswith(" has toy")


@pytest.mark.parametrize(
    "text",
    [
        "toy: {sources: [",
        "[toy]",
        "toy:",
        "toy: {files: {a: x}}",
        "toy: {sources: [], files: {}}",
        "toy: {sources: http://127.0.0.1/, files: {a: x}}",
        "toy: {sources: [http://127.0.0.1/], files: {a: 123}}",
        f"toy: {{sources: [http://127.0.0.1/], files: {{../a: {'0' * 63}a}}}}",
    ],
)
def test_a_malformed_declaration_is_named(tmp_path, text):
    declared = tmp_path / "datasets.yaml"
    declared.write_text(text)
    assert refusal(fetch.fetch, "toy", tmp_path / "raw", declared).startswith(f"{declared}: ")
    assert not (tmp_path / "raw").exists()


def test_a_missing_declaration_is_named(tmp_path):
    declared = tmp_path / "datasets.yaml"
    assert refusal(fetch.fetch, "toy", tmp_path / "raw", declared).startswith(f"{declared}: ")


def test_every_dataset_is_declared():
    assert set(yaml.safe_load(PARAMS.read_text())) == set(DATASETS)


def test_the_embedded_digits_need_no_source_but_the_library(tmp_path, monkeypatch, dead):
    monkeypatch.setenv("FEDGRID_MIRROR", dead)
    assert fetch.fetch("digits", tmp_path, PARAMS) == [tmp_path / "digits" / "digits.npz"]
    assert digits.load(tmp_path / "digits").train_x.shape == (1500, 64)


def test_digits_without_the_library_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    said = refusal(fetch.fetch, "digits", tmp_path, PARAMS)
    assert "scikit-learn: " in said and said.endswith("pip install fedgrid[workflow]")
    assert held(tmp_path / "digits") == {}


def test_what_is_pinned_of_an_npz_is_its_arrays_not_its_bytes(tmp_path):
    (path,) = fetch.fetch("digits", tmp_path, PARAMS)
    with np.load(path) as arrays:
        x, y = arrays["x"], arrays["y"]
    np.savez_compressed(path, y=y, x=x)
    fetch.fetch("digits", tmp_path, PARAMS)
    for damage in (lambda: np.savez(path, x=x, y=y[::-1]), lambda: path.write_bytes(path.read_bytes()[:-9])):
        damage()
        assert "delete it" in refusal(fetch.fetch, "digits", tmp_path, PARAMS)


def test_an_npz_with_a_flipped_bit_is_none_or_holds_the_same_arrays_and_no_bit_is_an_error(tmp_path):
    """Every bit: of names, headers, sums, what is compressed, and how."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.arange(4))
    sound, whole = fetch.digest(path, ".npz"), path.read_bytes()
    found = set()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        found.add(fetch.digest(path, ".npz"))
    assert found == {sound, "of no .npz file"}


BLOGS = {"blogs/1.xml": b"one", "blogs/2.xml": b"two", "blogs/10.xml": b"ten"}


def zipped(path, members, compression=zipfile.ZIP_DEFLATED, year=2004):
    """A zip of those members, in that order, at that path."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0)), content, compression)
    return path


@pytest.fixture
def members_pin(tmp_path):
    """What `sha256sum` tells of BLOGS in their folder."""
    (tmp_path / "blogs").mkdir()
    for name, content in BLOGS.items():
        (tmp_path / name).write_bytes(content)
    command = "LC_ALL=C sha256sum *.xml | sha256sum"
    told = subprocess.run(command, shell=True, cwd=tmp_path / "blogs", capture_output=True, text=True, check=True)
    return f"members {told.stdout.split()[0]}"


@pytest.mark.parametrize(
    ("members", "how"),
    [
        (BLOGS, {}),
        (dict(reversed(BLOGS.items())), {}),
        (BLOGS, {"compression": zipfile.ZIP_STORED}),
        (BLOGS, {"compression": zipfile.ZIP_BZIP2, "year": 2021}),
        ({"blogs/": b"", **BLOGS}, {}),
        ({name.partition("/")[2]: content for name, content in BLOGS.items()}, {}),
    ],
    ids=["as it was", "another order", "stored", "another compression and time", "with its folder", "without a folder"],
)
def test_any_zip_of_the_pinned_members_will_do(tmp_path, members_pin, members, how):
    place = zipped(tmp_path / "blogs.zip", members, **how)
    assert fetch.bring(place, members_pin, []) == place


@pytest.mark.parametrize(
    ("members", "count"),
    [
        (BLOGS | {"blogs/2.xml": b"TWO"}, 3),
        (BLOGS | {"blogs/3.xml": b"three"}, 4),
        (dict(list(BLOGS.items())[:2]), 2),
        ({"blogs/1.xml": b"two", "blogs/2.xml": b"one", "blogs/10.xml": b"ten"}, 3),
        ({name.replace("10", "11"): content for name, content in BLOGS.items()}, 3),
        (BLOGS | {"more/2.xml": b"two"}, 4),
    ],
    ids=["changed", "one more", "one less", "exchanged", "renamed", "one twice"],
)
def test_a_zip_of_other_members_is_refused(tmp_path, members_pin, members, count):
    place = zipped(tmp_path / "blogs.zip", members)
    said = refusal(fetch.bring, place, members_pin, [])
    assert said.startswith(f"{place}: the sha256 of its {count} members is ")
    assert said.endswith(f", not {members_pin.split()[1]} as pinned; delete it and fetch again")


def test_a_member_whose_name_holds_the_sums_of_others_is_not_mistaken_for_them(tmp_path, members_pin):
    hidden = f"1.xml\n{hashlib.sha256(b'ten').hexdigest()}  10.xml"
    place = zipped(tmp_path / "blogs.zip", {hidden: b"one", "2.xml": b"two"})
    assert "the sha256 of its 2 members is " in refusal(fetch.bring, place, members_pin, [])


def test_what_is_no_zip_has_no_members(tmp_path, members_pin):
    place = zipped(tmp_path / "blogs.zip", BLOGS)
    for content in (place.read_bytes()[:-9], b"no zip"):
        place.write_bytes(content)
        assert "the sha256 of its 0 members is none, not " in refusal(fetch.bring, place, members_pin, [])


def test_of_several_pins_one_will_do_and_where_none_does_each_is_told(tmp_path, members_pin):
    place = zipped(tmp_path / "blogs.zip", BLOGS)
    whole = hashlib.sha256(place.read_bytes()).hexdigest()
    for pins in ([whole], [members_pin], ["0" * 64, members_pin], [whole, f"members {'0' * 64}"]):
        assert fetch.bring(place, pins, []) == place
    said = refusal(fetch.bring, place, ["0" * 64, f"members {'1' * 64}"], [])
    assert f"its sha256 is {whole}, not {'0' * 64}; the sha256 of its 3 members is " in said


@pytest.mark.parametrize("pin", [[], ["unpinned"], ["members"], f"members {'0' * 63}", f"Members {'0' * 64}", [1]])
def test_several_pins_and_one_of_members_are_well_written(tmp_path, pin):
    declared = tmp_path / "datasets.yaml"
    declared.write_text(yaml.safe_dump({"toy": {"train": 9, "sources": ["."], "files": {"a.zip": pin}}}))
    said = refusal(fetch.fetch, "toy", tmp_path / "raw", declared)
    assert "which is not a file's name and sha256" in said and "'a.zip'" in said


@pytest.mark.skipif(not MIRROR or not Path(MIRROR, "mnist").is_dir(), reason="FEDGRID_MIRROR is no folder with MNIST")
def test_the_pinned_mnist_is_the_real_one(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDGRID_MIRROR", str(MIRROR))
    fetch.fetch("mnist", tmp_path, PARAMS)
    loaded = mnist.load(tmp_path / "mnist")
    assert {name: getattr(loaded, name).shape for name in MNIST_SHAPES} == MNIST_SHAPES
