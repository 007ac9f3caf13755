"""Whose change a directory of rule files is, told by a signature: a signed commit, or an Ed25519 signature over the files, by a pinned key."""

from __future__ import annotations

import base64
import binascii
import os
import re
import subprocess
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from router.governance.rules_values import NotAllowed

SIGNED_TEXT = b"task-sensitivity-router rules "
GIT_SECONDS = 30.0
ONLY_SSH = ("gpg.ssh.program=ssh-keygen", "gpg.program=false", "gpg.openpgp.program=false", "gpg.x509.program=false")
"""What the repository's own configuration would start instead decides nothing."""

_GOOD = re.compile(r'Good "git" signature for (\S+) with \S+ key (\S+)')
_ENVIRONMENT = ("PATH", "HOME")


class Signed(msgspec.Struct, frozen=True):
    """Who signed, and what with: `by` is the proposer of the pinned key, `proof` says which commit or key."""

    by: str
    proof: str


def digest_of(files: Mapping[str, str]) -> str:
    """SHA-256 over names and texts of rule files, as hexadecimal digits: what a proposer signs (`router rules digest`)."""
    digest = sha256()
    for name in sorted(files):
        for part in (name.encode(), files[name].encode()):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()


def by_key(files: Mapping[str, str], signature: str, pins: Path) -> Signed:
    """The proposer whose pinned Ed25519 key made this signature (base64) over the digest of the files. Raises NotAllowed."""
    try:
        raw = base64.b64decode(signature, validate=True)
    except (ValueError, binascii.Error):
        raise NotAllowed("the signature is no base64") from None
    digest = digest_of(files)
    text = SIGNED_TEXT + digest.encode()
    for proposer, key in _pinned(pins):
        try:
            key.verify(raw, text)
        except InvalidSignature:
            continue
        return Signed(proposer, f"an Ed25519 signature over the files, {digest}")
    raise NotAllowed(f"no key pinned in `{pins.name}` made this signature over these files")


def by_commit(directory: Path, files: Mapping[str, str], pins: Path) -> Signed:
    """The proposer whose pinned key signed the commit that a working tree stands at. Raises NotAllowed where the commit is not signed by one
    of them, and where the files are not exactly those of the commit."""
    commit = _git(directory, "rev-parse", "HEAD").strip()
    prefix = _git(directory, "rev-parse", "--show-prefix").strip()
    for name, text in files.items():
        if _git(directory, "cat-file", "blob", f"{commit}:{prefix}{name}") != text:
            raise NotAllowed(f"`{name}` is not what the commit {commit[:12]} holds: commit it, signed")
    settings = (
        f"gpg.ssh.allowedSignersFile={pins.absolute()}",
        *ONLY_SSH,
    )
    trusted = [word for setting in settings for word in ("-c", setting)]
    done = _run(directory, *trusted, "verify-commit", "--raw", commit)
    found = _GOOD.search(done.stderr + done.stdout)
    if done.returncode or found is None:
        raise NotAllowed(f"the commit {commit[:12]} is not signed by a key pinned in `{pins.name}`")
    return Signed(found[1].lower(), f"commit {commit}, key {found[2]}")


def _pinned(pins: Path) -> list[tuple[str, Ed25519PublicKey]]:
    """The Ed25519 keys of a file in the form of `ssh-keygen`'s allowed signers: proposer, options, key."""
    found = []
    try:
        lines = pins.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise NotAllowed(f"the pinned keys cannot be read ({type(error).__name__}): look at ROUTER_PROPOSERS") from None
    for line in lines:
        words = line.split()
        if not words or words[0].startswith("#") or "ssh-ed25519" not in words:
            continue
        at = words.index("ssh-ed25519")
        try:
            key = load_ssh_public_key(" ".join(words[at : at + 2]).encode())
        except ValueError:
            continue
        if isinstance(key, Ed25519PublicKey):
            found.append((words[0].split(",")[0].lower(), key))
    return found


def _git(directory: Path, *arguments: str) -> str:
    done = _run(directory, *arguments)
    if done.returncode:
        raise NotAllowed(f"git says that `{directory}` is no working tree in which these files are committed")
    return done.stdout


def _run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name in _ENVIRONMENT}
    environment |= {"GIT_NO_REPLACE_OBJECTS": "1", "LC_ALL": "C", "GIT_CONFIG_NOSYSTEM": "1"}
    try:
        return subprocess.run(  # noqa: S603 - our own words, and a directory that the operator names
            ["git", "-C", str(directory), *arguments],  # noqa: S607 - the git of the machine
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotAllowed(f"git could not be asked ({type(error).__name__})") from None
