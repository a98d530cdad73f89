"""Laws of keys and statements: what a site signs is its record, and a stranger needs openssl alone to see it."""

import base64
import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedgrid import files
from fedgrid.__main__ import main
from fedgrid.audit.explain import explain
from fedgrid.grid.cells import cell
from fedgrid.run import job, keys, record, statements
from tests import campaigns, handmade
from tests.test_job import PLAIN
from tests.test_record import AVERAGED, NAME, OLD, RECORD

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A project in a folder of its own, and a user without a key."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("FEDGRID_KEY", raising=False)
    return tmp_path


def site(name="lab"):
    """A new private key whose public one the project knows as that site's."""
    key = Ed25519PrivateKey.generate()
    files.write(keys.KEYS / f"{name}.pem", keys.pem(key.public_key()))
    return key


def made(key, one=RECORD):
    """The record and its statement, written; the path of the record."""
    statements.write(one, key)
    return record.write(one)


def envelope(place):
    return json.loads(statements.path(place).read_text())


def stated(place):
    return json.loads(base64.b64decode(envelope(place)["payload"]))


# What is stated


@pytest.mark.parametrize("one", [RECORD, AVERAGED], ids=["a race", "averages"])
def test_a_statement_is_in_totos_of_the_records_file_and_says_what_it_depends_on(one):
    place = made(site(), one)
    said = stated(place)
    assert statements.path(place) == Path(f"results/statements/digits_2nn/{NAME}.json")
    assert (said["_type"], said["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "https://slsa.dev/provenance/v1",
    )
    assert said["subject"] == [{"name": f"{NAME}.json", "digest": {"sha256": files.sha256(place)}}]
    definition, details = said["predicate"]["buildDefinition"], said["predicate"]["runDetails"]
    assert definition["externalParameters"] == {"cell": NAME, "settings": one["settings"]}
    digests = {one["name"]: one["digest"] for one in definition["resolvedDependencies"]}
    origin = one["provenance"]
    assert {name: digests[name] for name in ("data", "partition", "engine", "patch")} == {
        name: {"sha256": origin[name]} for name in ("data", "partition", "engine", "patch")
    }
    assert digests["constraints.txt"] == {"sha256": files.sha256(ROOT / "constraints.txt")}
    assert digests["sources"] == {"gitCommit": origin["commit"]}
    assert details["builder"]["id"] == f"urn:fedgrid:site:{envelope(place)['signatures'][0]['keyid']}"
    version = details["builder"]["version"]
    assert version["torch"] == "2.13.0" and version["processor"] == "Z80" and version["device"] == "cpu"


def test_without_commit_and_patch_nothing_is_stated_of_them():
    one = RECORD | {"provenance": RECORD["provenance"] | {"commit": None, "patch": None}, "patch": None}
    place = made(site(), one)
    names = [one["name"] for one in stated(place)["predicate"]["buildDefinition"]["resolvedDependencies"]]
    assert names == ["data", "partition", "engine", "constraints.txt"]
    assert statements.verified(place) == "signed by lab"


# What is verified


def test_a_record_is_signed_by_a_known_key_or_unsigned():
    place = made(site())
    assert statements.verified(place) == "signed by lab"
    assert statements.verified(made(None)) == "unsigned"
    statements.path(place).unlink()
    assert statements.verified(place) == "unsigned"


@pytest.mark.parametrize("one", OLD.values(), ids=OLD)
def test_a_record_of_schema_1_is_unsigned(one):
    assert statements.verified(record.write(one)) == "unsigned"


def test_a_project_may_be_made_at_several_sites():
    first, second = site("lab"), site("cluster")
    assert statements.verified(made(second)) == "signed by cluster"
    assert statements.verified(made(first)) == "signed by lab"


def rewritten(place, change):
    """Alters the envelope of the record's statement."""
    whole = envelope(place)
    change(whole)
    statements.path(place).write_text(json.dumps(whole, indent=1))


def restated(place, change):
    """Alters the statement within its envelope."""
    said = stated(place)
    change(said)
    rewritten(place, lambda whole: whole.update(payload=base64.b64encode(json.dumps(said).encode()).decode()))


def lie(where):
    def told(said):
        holder = said["predicate"]
        for key in where[:-1]:
            holder = holder[key]
        holder[where[-1]] = "lie"

    return lambda place: restated(place, told)


FORGERIES = {
    "an accuracy": lambda place: place.write_text(place.read_text().replace("0.3333", "0.9333", 1)),
    "a blank": lambda place: place.write_text(place.read_text() + " "),
    "a byte that is no text": lambda place: place.write_bytes(place.read_bytes() + b"\xff"),
    "another record": lambda place: place.write_text(record.text(AVERAGED)),
    "another cell stated": lie(("buildDefinition", "externalParameters", "cell")),
    "another engine stated": lie(("buildDefinition", "resolvedDependencies", 2, "name")),
    "another builder stated": lie(("runDetails", "builder", "version")),
    "no subject": lambda place: restated(place, lambda said: said.pop("subject")),
    "a statement that is a list": lambda place: rewritten(place, lambda whole: whole.update(payload="W10=")),
    "another signature": lambda place: rewritten(
        place, lambda whole: whole["signatures"][0].update(sig=base64.b64encode(bytes(64)).decode())
    ),
    "a signature cut short": lambda place: rewritten(
        place, lambda whole: whole["signatures"][0].update(sig=whole["signatures"][0]["sig"][:40])
    ),
    "a signature that is none": lambda place: rewritten(place, lambda whole: whole.update(signatures=[7])),
    "its signature gone": lambda place: rewritten(place, lambda whole: whole.update(signatures=[])),
    "a keyid of two lines": lambda place: rewritten(
        place, lambda whole: whole["signatures"][0].update(keyid="x\n  statement  signed by lab")
    ),
    "signatures that are none": lambda place: rewritten(place, lambda whole: whole.update(signatures="none")),
    "another kind of payload": lambda place: rewritten(place, lambda whole: whole.update(payloadType="text/plain")),
    "an empty statement": lambda place: statements.path(place).write_text(""),
    "half a statement": lambda place: statements.path(place).write_text(statements.path(place).read_text()[:200]),
    "a number": lambda place: statements.path(place).write_text("7"),
    "depth": lambda place: statements.path(place).write_text("[" * 100_000),
    "bytes": lambda place: statements.path(place).write_bytes(b"\xff\xfe"),
    "no key": lambda place: (keys.KEYS / "lab.pem").unlink(),
    "a key that is another's": lambda place: site("lab"),
    "a key that is none": lambda place: (keys.KEYS / "other.pem").write_text("none"),
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_what_does_not_agree_is_false_in_one_line(forge):
    place = made(site())
    assert statements.verified(place) == "signed by lab"
    forge(place)
    verdict = statements.verified(place)
    assert verdict.startswith(f"false: {statements.path(place)}: ") and "\n" not in verdict


def test_whoever_has_no_key_can_state_what_he_likes_and_not_sign_it():
    place = made(site())
    signatures, altered = envelope(place)["signatures"], copy.deepcopy(RECORD)
    altered["curves"]["rates"][0]["test_accuracy"][1] = 0.99
    made(None, altered)
    assert statements.verified(place) == "unsigned"
    rewritten(place, lambda whole: whole.update(signatures=signatures))
    assert "none by the key of lab" in statements.verified(place)


def test_a_statement_that_another_site_signed_is_false():
    first, second = site("lab"), site("cluster")
    place = made(first)
    payload = base64.b64decode(envelope(place)["payload"])
    theirs = {
        "keyid": keys.identity(second.public_key()),
        "sig": base64.b64encode(second.sign(statements.signed(payload))).decode(),
    }
    rewritten(place, lambda whole: whole.update(signatures=[theirs]))
    assert "not signed by the site that it names" in statements.verified(place)


def test_a_signature_by_an_unknown_key_names_it():
    key = Ed25519PrivateKey.generate()
    assert f"unknown key, {keys.identity(key.public_key())!r}" in statements.verified(made(key))


# A stranger's way: docs/auditing.md


def commands():
    """The commands by which docs/auditing.md verifies a statement by hand."""
    text = (ROOT / "docs/auditing.md").read_text()
    (block,) = re.findall(r"```sh\n(record=.*?)```", text, re.DOTALL)
    return block


def by_hand(place, public):
    """What the documented commands print, and whether they found the statement true."""
    lines = commands().splitlines()
    assert lines[0].startswith("record=") and lines[1].startswith("key=")
    script = "\n".join(["set -e", f"record={place}", f"key={public}", *lines[2:]])
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    return done.stdout + done.stderr, done.returncode == 0


def test_the_documented_commands_verify_a_statement_without_fedgrid():
    place = made(site())
    said, true = by_hand(place, "results/keys/lab.pem")
    assert true and "Signature Verified Successfully" in said and f"{NAME}.json: OK" in said
    assert keys.identity(next(iter(keys.public().values()))[1]) in said


@pytest.mark.parametrize("forgery", ["an accuracy", "a blank", "another signature", "another cell stated"])
def test_the_documented_commands_find_a_forgery(forgery):
    place = made(site())
    FORGERIES[forgery](place)
    assert not by_hand(place, "results/keys/lab.pem")[1]


def test_the_documented_commands_refuse_another_key():
    place = made(site("lab"))
    site("other")
    assert not by_hand(place, "results/keys/other.pem")[1]


# Keys


def test_a_key_is_made_once_its_public_half_is_printed_and_nobody_else_can_read_the_other(here, capsys):
    main(["key"])
    first, said = capsys.readouterr()
    private = here / "config/fedgrid/key.pem"
    assert private.stat().st_mode & 0o777 == 0o600 and private.parent.stat().st_mode & 0o077 == 0
    main(["key"])
    assert capsys.readouterr() == (first, said)
    files.write(keys.KEYS / "lab.pem", first)
    (identity,) = keys.public()
    assert identity in said and str(private) in said
    secret = "".join(private.read_text().splitlines()[1:-1])
    assert secret and secret not in first + said
    place = made(keys.private())
    assert statements.verified(place) == "signed by lab"
    assert all(secret not in path.read_text() for path in Path().rglob("*") if path.is_file())


def test_the_key_that_is_named_is_used(here, monkeypatch, capsys):
    monkeypatch.setenv("FEDGRID_KEY", str(here / "another.pem"))
    main(["key"])
    assert keys.identity(keys.private().public_key()) in capsys.readouterr().err
    assert (here / "another.pem").exists() and not (here / "config").exists()


def refusal(function):
    with pytest.raises(ValueError) as caught:
        function()
    text = str(caught.value)
    assert "\n" not in text and "PRIVATE" not in text
    return text


def test_no_key_is_no_fault_and_a_named_one_that_is_missing_is(here, monkeypatch):
    assert keys.private() is None
    monkeypatch.setenv("FEDGRID_KEY", str(here / "none.pem"))
    assert refusal(keys.private).startswith(f"{here / 'none.pem'}: no such key")


def test_a_user_without_a_home_has_no_key(monkeypatch):
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    assert keys.private() is None
    assert "FEDGRID_KEY" in refusal(keys.make)


def test_a_key_is_never_made_in_a_repository(monkeypatch):
    subprocess.run(["git", "init", "-q"], check=True)
    monkeypatch.setenv("FEDGRID_KEY", "deep/key.pem")
    assert refusal(keys.make).startswith("deep/key.pem: in the git repository")
    assert not Path("deep").exists()


def test_a_key_in_a_repository_is_neither_used_nor_made_behind_a_link(here, monkeypatch):
    (here / "dotfiles/config").mkdir(parents=True)
    (here / "config").symlink_to(here / "dotfiles/config")
    monkeypatch.setenv("FEDGRID_KEY", str(here / "config/key.pem"))
    keys.make()
    assert keys.private() is not None
    subprocess.run(["git", "init", "-q", str(here / "dotfiles")], check=True)
    for refused in (keys.make, keys.private):
        assert f"in the git repository {here / 'dotfiles'}" in refusal(refused)


def test_a_home_that_its_user_may_not_see_is_one_without_a_key(monkeypatch):
    def closed(self, **_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "stat", closed)  # as root may see everything
    assert keys.private() is None


def secret_of(key, *form):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, *form)


UNFIT = {
    "others can read": lambda: (secret_of(Ed25519PrivateKey.generate(), serialization.NoEncryption()), 0o640),
    "without a password": lambda: (
        secret_of(Ed25519PrivateKey.generate(), serialization.BestAvailableEncryption(b"x")),
        0o600,
    ),
    "no private key": lambda: (b"none", 0o600),
    "no Ed25519 key": lambda: (secret_of(generate_private_key(SECP256R1()), serialization.NoEncryption()), 0o600),
}


@pytest.mark.parametrize("says", UNFIT)
def test_a_private_key_that_is_unfit_is_refused_by_its_file(here, monkeypatch, says):
    content, mode = UNFIT[says]()
    path = here / "key.pem"
    path.write_bytes(content)
    path.chmod(mode)
    monkeypatch.setenv("FEDGRID_KEY", str(path))
    refused = refusal(keys.private)
    assert refused.startswith(f"{path}: ") and says in refused


def test_no_committed_file_holds_a_private_key():
    begins = "-----BEGIN " + "PRIVATE KEY"
    done = subprocess.run(["git", "-C", ROOT, "grep", "-lI", "--cached", begins], capture_output=True, text=True)
    assert done.stdout == ""


def test_every_committed_public_key_is_one():
    keys.public(ROOT / keys.KEYS)


# Where it is shown and made


def test_explain_shows_who_signed_a_record(here):
    hand = handmade.declare(Path.cwd())
    records = handmade.write(hand, Path.cwd())
    text = explain(hand, records, "E=1 B=∞ iid")
    assert re.search(r"^    statement +unsigned$", text, re.MULTILINE)


def test_a_record_that_is_made_is_signed_with_its_users_key_and_without_one_it_is_told(here, capsys):
    main(["key"])
    files.write(keys.KEYS / "lab.pem", capsys.readouterr().out)
    campaigns.make(Path.cwd(), small=campaigns.SMALL, averaged=campaigns.AVERAGED)
    assert "unsigned" not in capsys.readouterr().err
    places = sorted(record.CELLS.glob("*/*.json"))
    assert len(places) == 3 and {statements.verified(place) for place in places} == {"signed by lab"}
    (here / "config/fedgrid/key.pem").unlink()
    places[0].unlink()
    main(["run", places[0].stem])
    assert f"{places[0]}: its statement is unsigned" in capsys.readouterr().err
    assert statements.verified(places[0]) == "unsigned" and record.read(places[0])


def test_a_key_that_cannot_be_read_is_refused_before_the_race(here, monkeypatch):
    monkeypatch.setenv("FEDGRID_KEY", str(here / "none.pem"))
    monkeypatch.setattr(job, "run", lambda cell: sys.exit("trained"))
    assert "no such key" in refusal(lambda: job.settle(cell(PLAIN)))
