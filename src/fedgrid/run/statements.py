"""What a site states of a record that it made: in-toto's Statement v1, in a DSSE envelope, signed where there is a key.

Its subject is the record's file; its predicate, SLSA's provenance v1, says from what and on what the record was made. A
statement follows from the record and the digest of constraints.txt alone, so whoever reads it can tell whether both
agree. It lies beside the records, results/statements/<task>/<cell>.json.

in-toto: https://github.com/in-toto/attestation/tree/main/spec/v1. DSSE: https://github.com/secure-systems-lab/dsse.
SLSA: https://slsa.dev/spec/v1.0/provenance. docs/auditing.md verifies one with openssl, without this module.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedgrid import files, shipped
from fedgrid.run import keys, record

STATEMENT = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
BUILD, SITE = "urn:fedgrid:cell:1", "urn:fedgrid:site:"
PAYLOAD = "application/vnd.in-toto+json"
CONSTRAINTS = "constraints.txt"
UNSIGNED, FALSE = "unsigned", "false: "


def path(place: Path) -> Path:
    """Where the statement of the record at that path lies."""
    cells = place.parents[1]
    return cells.with_name("statements") / place.relative_to(cells)


def statement(made: Mapping[str, Any], site: str | None, constraints: str | None) -> dict[str, Any]:
    """What the site of that key, or an unnamed one, states of the record; constraints: sha256 of constraints.txt."""
    place = record.path(made["name"])
    origin = made["provenance"]
    hardware = {name: str(value) for name, value in origin["hardware"].items()}
    return {
        "_type": STATEMENT,
        "subject": [{"name": place.name, "digest": {"sha256": sha256(record.text(made).encode())}}],
        "predicateType": PROVENANCE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD,
                "externalParameters": {"cell": made["name"], "settings": made["settings"]},
                "resolvedDependencies": list(dependencies(origin, constraints)),
            },
            "runDetails": {"builder": {"id": f"{SITE}{site or UNSIGNED}", "version": origin["libraries"] | hardware}},
        },
    }


def dependencies(origin: Mapping[str, Any], constraints: str | None) -> Iterator[dict[str, Any]]:
    """What the record depends on, each by its digest: in-toto's resource descriptors."""
    found = {name: origin[name] for name in ("data", "partition", "engine")}
    found |= {CONSTRAINTS: constraints, "patch": origin["patch"]}
    yield from ({"name": name, "digest": {"sha256": one}} for name, one in found.items() if one)
    if origin["commit"]:
        yield {"name": "sources", "digest": {"gitCommit": origin["commit"]}}


def write(made: Mapping[str, Any], key: Ed25519PrivateKey | None, folder: Path = record.CELLS) -> Path:
    """Writes the statement of a record, signed by the key if there is one; its path."""
    constraints = shipped.ROOT / CONSTRAINTS
    pinned = files.sha256(constraints) if constraints.is_file() else None
    site = None if key is None else keys.identity(key.public_key())
    payload = json.dumps(statement(made, site, pinned), allow_nan=False).encode()
    signatures = [] if key is None else [{"keyid": site, "sig": text(key.sign(signed(payload)))}]
    envelope = {"payloadType": PAYLOAD, "payload": text(payload), "signatures": signatures}
    place = path(record.path(made["name"], folder))
    files.write(place, json.dumps(envelope, indent=1) + "\n")
    return place


def signed(payload: bytes) -> bytes:
    """What is signed of the payload: DSSE's pre-authentication encoding."""
    return f"DSSEv1 {len(PAYLOAD)} {PAYLOAD} {len(payload)} ".encode() + payload


def verified(place: Path) -> str:
    """ "signed by" the sites whose keys are in results/keys, "unsigned", or "false: " and why, of the record there."""
    beside = path(place)
    if not beside.is_file():
        return UNSIGNED
    try:
        envelope = json.loads(beside.read_text())
        payload = base64.b64decode(envelope["payload"], validate=True)
        if envelope["payloadType"] != PAYLOAD or not isinstance(envelope["signatures"], list):
            raise ValueError("its envelope is not DSSE's of an in-toto statement")
        agree(place, json.loads(payload))
        among = keys.public(place.parents[1].with_name(keys.KEYS.name))
        sites = [signer(payload, one, among) for one in envelope["signatures"]]
        named = json.loads(payload)["predicate"]["runDetails"]["builder"]["id"].removeprefix(SITE)
        if {one["keyid"] for one in envelope["signatures"]} != ({named} - {UNSIGNED}):
            raise ValueError(f"it is not signed by the site that it names, {named!r}")
    except ValueError as error:
        return f"{FALSE}{beside}: {error}"
    except (KeyError, TypeError, AttributeError, RecursionError):  # JSON of another form
        return f"{FALSE}{beside}: it is not of the form that a statement has"
    return f"signed by {', '.join(dict.fromkeys(sites))}" if sites else UNSIGNED


def agree(place: Path, said: Mapping[str, Any]) -> None:
    """ValueError where the statement is not that of the record at that path, as it is now."""
    content = place.read_bytes()
    if said["subject"] != [{"name": place.name, "digest": {"sha256": sha256(content)}}]:
        raise ValueError("the record is not the one that was stated: it was altered, or is another")
    definition = said["predicate"]["buildDefinition"]
    pinned = {one["name"]: one["digest"].get("sha256") for one in definition["resolvedDependencies"]}.get(CONSTRAINTS)
    site = said["predicate"]["runDetails"]["builder"]["id"].removeprefix(SITE)
    if said != statement(json.loads(content), None if site == UNSIGNED else site, pinned):
        raise ValueError("it says something else than its record does")


def signer(payload: bytes, signature: Mapping[str, str], among: Mapping[str, Any]) -> str:
    """The site that made the signature; ValueError where none of those did."""
    identity = signature["keyid"]
    if identity not in among:
        raise ValueError(f"signed by an unknown key, {identity!r}; {keys.KEYS} has none of that name")
    site, key = among[identity]
    try:
        key.verify(base64.b64decode(signature["sig"], validate=True), signed(payload))
    except InvalidSignature:
        raise ValueError(f"its signature is none by the key of {site}") from None
    return str(site)


def text(content: bytes) -> str:
    """Bytes in base64."""
    return base64.b64encode(content).decode()


def sha256(content: bytes) -> str:
    """Its sha256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
