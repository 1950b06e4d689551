"""Standalone verifier of an audit bundle: only the Python standard library and the ``openssl`` command.

    python3 -I -S verify.py [--key VKEY] [--claim EVENTS ROOT]

Checks, trusting nothing in this folder but the key you give: the checkpoint's Ed25519 signature (by openssl), that
every event of the run is in the signed tree, that the run's events are complete and in order, the payloads, that every
attached file is one that an event names, and what a card claims about the root over the run's first events.
Exit code 0: everything holds; 1: it does not; 2: cannot run.

This file is copied into every bundle as ``verify.py``; it must not import anything from outside the standard library.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SPKI_ED25519 = bytes.fromhex("302a300506032b6570032100")


class BundleError(Exception):
    """The bundle does not prove what it claims."""


def sha256(data: bytes) -> bytes:
    """The SHA-256 hash."""
    return hashlib.sha256(data).digest()


def decode(text: str) -> bytes:
    """Strict base64."""
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise BundleError("malformed base64")
    return data


class Key:
    """A verifier key line ``name+id+base64``."""

    def __init__(self, line: str) -> None:
        try:
            self.name, key_id, encoded = line.strip().split("+", 2)
            blob = decode(encoded)
        except ValueError:
            raise BundleError("malformed verifier key: expected <name>+<id>+<base64>") from None
        self.line, self.public = line.strip(), blob[1:]
        self.key_id = sha256(self.name.encode() + b"\n" + blob)[:4]
        if blob[0] != 1 or len(self.public) != 32 or self.key_id.hex() != key_id:
            raise BundleError(f"verifier key {self.name}: it is no Ed25519 key, or its id does not match")

    def verify(self, text: bytes, signature: bytes) -> None:
        """Let openssl check the signature."""
        with tempfile.TemporaryDirectory() as folder:
            base = Path(folder)
            pem = base64.b64encode(SPKI_ED25519 + self.public).decode()
            (base / "key.pem").write_text(f"-----BEGIN PUBLIC KEY-----\n{pem}\n-----END PUBLIC KEY-----\n")
            (base / "text").write_bytes(text)
            (base / "signature").write_bytes(signature)
            command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin"]
            command += ["-in", "text", "-sigfile", "signature"]
            done = subprocess.run(command, cwd=base, capture_output=True, check=False)
        if done.returncode != 0:
            raise BundleError(f"the checkpoint's signature by {self.name} is wrong (openssl says so)")


def open_checkpoint(note: str, key: Key) -> tuple[int, bytes]:
    """Size and root of a checkpoint signed by ``key``."""
    text, separator, signatures = note.rpartition("\n\n")
    text += "\n"
    lines = text.split("\n")
    if not separator or len(lines) != 4 or lines[0] != key.name or not lines[1].isdecimal():
        raise BundleError("malformed checkpoint, or one of another log")
    for line in signatures.splitlines():
        dash, name, blob = [*line.split(" "), "", ""][:3]
        if dash == "\u2014" and name == key.name and decode(blob)[:4] == key.key_id:
            key.verify(text.encode(), decode(blob)[4:])
            return int(lines[1]), decode(lines[2])
    raise BundleError(f"wrong key: the checkpoint is not signed by {key.name}+{key.key_id.hex()}")


def check_inclusion(index: int, size: int, entry: bytes, proof: list[bytes], root: bytes) -> None:
    """RFC 9162 section 2.1.3.2."""
    if not 0 <= index < size:
        raise BundleError(f"leaf {index} cannot be in a tree of {size}")
    position, last, computed = index, size - 1, sha256(b"\x00" + entry)
    for sibling in proof:
        if last == 0:
            raise BundleError(f"leaf {index}: the inclusion proof is too long")
        if position & 1 or position == last:
            computed = sha256(b"\x01" + sibling + computed)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            computed = sha256(b"\x01" + computed + sibling)
        position, last = position >> 1, last >> 1
    if last or computed != root:
        raise BundleError(f"leaf {index} is not in the signed tree")


def tree_root(hashes: list[bytes]) -> bytes:
    """The root over leaf hashes (RFC 6962 section 2.1)."""
    if not hashes:
        return sha256(b"")
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return sha256(b"\x01" + tree_root(hashes[:split]) + tree_root(hashes[split:]))


def follow_rotations(rotations: list[dict[str, Any]], key: Key) -> Key:
    """The key in force today, reached from ``key`` through rotations that the previous key signed."""
    for rotation in rotations:
        event = json.loads(rotation["entry"])
        if event["type"] == "key_rotated" and event["rotation"]["old"] == key.line:
            size, root = open_checkpoint(rotation["checkpoint"], key)
            path = [decode(one) for one in rotation["inclusion_proof"]]
            check_inclusion(rotation["index"], size, rotation["entry"].encode(), path, root)
            key = Key(event["rotation"]["new"])
    return key


def check_claim(leaves: list[dict[str, Any]], size: int, root: str) -> None:
    """A card's ``audit_merkle_root`` over the first ``size`` events of the run."""
    hashes = [sha256(b"\x00" + leaf["entry"].encode()) for leaf in leaves[:size]]
    if not 0 < size == len(hashes) or tree_root(hashes).hex() != root:
        raise BundleError(f"the claim is wrong: {root} is not the root over the first {size} events")


def check_run(leaves: list[dict[str, Any]], run_id: str) -> list[dict[str, Any]]:
    """The run's events: sequence without gaps, every chunk with the range and root that its last leaf states."""
    events = []
    chunk: list[dict[str, Any]] = []
    for expected, leaf in enumerate(leaves):
        event = json.loads(leaf["entry"])
        if event["run_id"] != run_id or event["sequence"] != expected:
            raise BundleError(f"leaf {leaf['index']}: event {expected} of run {run_id} is missing or out of order")
        if "chunk" in event:
            stated = event["chunk"]
            root = tree_root([sha256(b"\x00" + one["entry"].encode()) for one in chunk]).hex()
            indices = [one["index"] for one in [*chunk, leaf]]
            whole = list(range(stated["first_index"], stated["first_index"] + stated["size"] + 1))
            if stated["root"] != root or indices != whole:
                raise BundleError(f"leaf {leaf['index']}: the chunk is not the one that its last leaf states")
            chunk = []
        else:
            chunk.append(leaf)
        events.append(event)
    if chunk or not events:
        raise BundleError(f"run {run_id}: the last chunk is not complete")
    return events


def check_files(folder: Path, events: list[dict[str, Any]]) -> list[str]:
    """Payloads and attachments are named by events; returns lines that say which event names which file."""
    lines = []
    named = {subject["digest"]: (event["type"], subject["name"]) for event in events for subject in event["subjects"]}
    payloads = {event["payload_digest"] for event in events if event["payload_digest"]}
    absent = payloads - {f"sha256:{path.name}" for path in (folder / "payloads").glob("*")}
    if absent:
        lines.append(f"{len(absent)} payloads are absent (deleted by retention, or left out)")
    for path in sorted((folder / "payloads").glob("*")):
        digest = f"sha256:{sha256(path.read_bytes()).hex()}"
        if digest not in payloads or digest != f"sha256:{path.name}":
            raise BundleError(f"payloads/{path.name}: changed, or named by no event")
    for path in sorted(one for one in (folder / "attachments").rglob("*") if one.is_file()):
        digest = f"sha256:{sha256(path.read_bytes()).hex()}"
        name = path.relative_to(folder).as_posix()
        if digest not in named:
            raise BundleError(f"{name}: no event of this run names it ({digest})")
        lines.append(f"{name}: {named[digest][1]}, named by {named[digest][0]}")
    return lines


def verify(folder: Path, given_key: str | None, claim: list[str] | None = None) -> list[str]:
    """Check the whole bundle; returns what was established, one line each."""
    bundle = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    beside = (folder / "verifier.vkey").read_text(encoding="utf-8")
    key = follow_rotations(bundle["rotations"], Key(given_key or bundle["first_key"]))
    if key.line != Key(beside).line:
        raise BundleError(f"wrong key: {given_key or bundle['first_key']} does not lead to the key of this bundle")
    note = (folder / "checkpoint").read_text(encoding="utf-8")
    size, root = open_checkpoint(note, key)
    for leaf in bundle["leaves"]:
        path = [decode(one) for one in leaf["inclusion_proof"]]
        check_inclusion(leaf["index"], size, leaf["entry"].encode(), path, root)
    events = check_run(bundle["leaves"], bundle["run_id"])
    attached = check_files(folder, events)
    if claim is not None:
        check_claim(bundle["leaves"], int(claim[0]), claim[1])
        attached.append(f"claim: {claim[1]} is the root over the first {claim[0]} events")
    trust = "the key you gave" if given_key else "the key in this folder (compare it with one you got elsewhere)"
    return [
        f"log {key.name}: {size} events, root {root.hex()}, signed with {trust}",
        f"key {key.line}",
        f"run {bundle['run_id']}: {len(events)} events from {events[0]['time']} to {events[-1]['time']}, complete",
        *(f"  {event['sequence']:>4} {event['time']} {event['type']}" for event in events),
        *attached,
    ]


def main() -> int:
    """Verify the bundle this file lies in."""
    parser = argparse.ArgumentParser(description="Verify an audit bundle.")
    parser.add_argument("--key", help="the verifier key you trust, a line <name>+<id>+<base64>")
    parser.add_argument("--claim", nargs=2, metavar=("EVENTS", "ROOT"), help="what a card claims")
    options = parser.parse_args()
    try:
        lines = verify(Path(__file__).resolve().parent, options.key, options.claim)
    except FileNotFoundError as error:
        sys.stderr.write(f"cannot verify: {error.filename} is missing\n")
        return 2
    except (BundleError, KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        sys.stdout.write(f"NOT VERIFIED: {error}\n")
        return 1
    sys.stdout.write("\n".join([*lines, "VERIFIED", ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
