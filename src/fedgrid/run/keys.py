"""Keys that sign statements of records: a private one for each site, in its user's folder, and a project's public ones.

The private key never lies in a repository, and nothing here prints it or passes it on. Public keys are files that git
keeps, results/keys/<site>.pem: who may add one there vouches for it.
"""

import hashlib
import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEYS = Path("results/keys")
VARIABLE = "FEDGRID_KEY"  # the path of another private key


def place() -> Path | None:
    """Where this user's private key lies, or would; None where the user has no home."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    try:
        config = os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
    except RuntimeError:  # a uid that no passwd file knows
        return None
    return Path(config, "fedgrid", "key.pem")


def make() -> Path:
    """The path of this user's private key, which is made if there is none; only its user can read it.

    ValueError where it would lie in a git repository, or the user has no home.
    """
    path = place()
    if path is None:
        raise ValueError(f"no home folder for a key; name a file for it in {VARIABLE}")
    refuse_repository(path)
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    written = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(written)
    return path


def refuse_repository(path: Path) -> None:
    """ValueError where the path lies in a git repository: what is in one may be committed, or told in a patch."""
    for folder in path.resolve().parents:
        if (folder / ".git").exists():
            raise ValueError(f"{path}: in the git repository {folder}; name a file outside it in {VARIABLE}")


def there(path: Path) -> bool:
    """Whether there is such a file that this user may see."""
    try:
        return path.is_file()
    except PermissionError:
        return False


def private() -> Ed25519PrivateKey | None:
    """This user's private key; None where there is none.

    ValueError where the one that FEDGRID_KEY names is missing, it lies in a git repository, others can read it, or it
    is no Ed25519 key in PEM.
    """
    path = place()
    if path is None or not (there(path) or os.environ.get(VARIABLE)):
        return None
    if not there(path):
        raise ValueError(f"{path}: no such key; `python -m fedgrid key` makes it")
    refuse_repository(path)
    if path.stat().st_mode & 0o077:
        raise ValueError(f"{path}: others can read this private key; chmod 600 it")
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # what it says may show what is in the file
        raise ValueError(f"{path}: no private key in PEM without a password; move it, and make another") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{path}: no Ed25519 key; move it, and make one with `python -m fedgrid key`")
    return key


def identity(key: Ed25519PublicKey) -> str:
    """What a public key is called: sha256 of its DER form, in hexadecimal."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).hexdigest()


def pem(key: Ed25519PublicKey) -> str:
    """The public key as a file in results/keys."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, form).decode()


def public(folder: Path = KEYS) -> dict[str, tuple[str, Ed25519PublicKey]]:
    """The project's public keys by their identities, each with its site; ValueError naming a file that is none."""
    found = {}
    for path in sorted(folder.glob("*.pem")):
        try:
            key = serialization.load_pem_public_key(path.read_bytes())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ValueError(f"{path}: no public key in PEM; `python -m fedgrid key` prints one") from error
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError(f"{path}: no Ed25519 key; `python -m fedgrid key` prints one")
        found[identity(key)] = path.stem, key
    return found
