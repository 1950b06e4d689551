"""Malformed input to the parts of the verifier, and the message that must name what is wrong with it."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nethical_assets.core.audit import check_proof, prove
from nethical_assets.core.audit.events import Event
from nethical_assets.core.audit.keys import read_private_key
from nethical_assets.core.ground.errors import NethicalError
from nethical_assets.core.tlog.checkpoint import Checkpoint
from nethical_assets.core.tlog.merkle import EMPTY_ROOT, MerkleTree, hash_leaf, verify_consistency, verify_inclusion
from nethical_assets.core.tlog.note import (
    COSIGNATURE_ED25519,
    COSIGNATURE_ML_DSA_44,
    Note,
    VerifierKey,
    open_note,
)
from nethical_assets.core.tlog.tiles import TileFolder, decode_entries

from .attacks import KEY, STRANGER, chunk_final, event, rotation
from .conftest import private_key


class Refusal(NamedTuple):
    name: str
    message: str
    call: Callable[[Path], object]


TREE = MerkleTree()
TREE.extend(hash_leaf(bytes([number])) for number in range(7))
ROOT, LEAF, PATH = TREE.root(), TREE.node(0, 3), TREE.inclusion_proof(3)
FIRST, STEPS = TREE.root(3), TREE.consistency_proof(3)
NOTE = Checkpoint(KEY.name, 7, ROOT).sign(private_key(1))
TEXT = Checkpoint(KEY.name, 7, ROOT).text()
LEAF_DOCUMENT = json.loads(event("run-a", 0).leaf())
CHUNK_DOCUMENT = json.loads(chunk_final([b"x"], "run-a", 0, 0))
WITNESS = VerifierKey.of("w.example", private_key(5), COSIGNATURE_ED25519)
ML_DSA_WITNESS = VerifierKey("m.example", COSIGNATURE_ML_DSA_44, bytes(1312))


def cosigned(key: VerifierKey, value: bytes, text: str = TEXT) -> bytes:
    blob = base64.b64encode(key.key_id + value).decode()
    return f"{text}\n\u2014 {key.name} {blob}\n".encode()


def leaf(document: Mapping[str, Any] = LEAF_DOCUMENT, **change: Any) -> bytes:
    return json.dumps({**document, **change}, sort_keys=True, separators=(",", ":")).encode()


def parse(name: str, message: str, entry: bytes) -> Refusal:
    return Refusal(name, message, lambda base: Event.parse(entry))


def note(name: str, message: str, data: bytes) -> Refusal:
    return Refusal(name, message, lambda base: Note.parse(data))


def key(name: str, message: str, line: str) -> Refusal:
    return Refusal(name, message, lambda base: VerifierKey.parse(line))


def checkpoint(name: str, message: str, text: str) -> Refusal:
    return Refusal(name, message, lambda base: Checkpoint.parse(text))


def proof(name: str, message: str, **change: Any) -> Refusal:
    def call(base: Path) -> None:
        report = check_proof({**prove(base, 2), **change}, KEY)
        if report.event is None and report.problems:
            raise NethicalError(report.problems[0])

    return Refusal(name, message, call)


def private(data: bytes) -> Callable[[Path], object]:
    def call(base: Path) -> None:
        path = base.parent / "key.pem"
        path.write_bytes(data)
        read_private_key(path)

    return call


def vkey(name: str, algorithm: int, public: bytes) -> str:
    return str(VerifierKey(name, algorithm, public))


def short_tile(base: Path) -> None:
    folder = TileFolder(base.parent / "short")
    folder.append(0, [b"x"] * 6)
    path = folder.folder / "tile/0/000.p/6"
    path.write_bytes(path.read_bytes()[:-1])
    folder.hashes(0, 0, 6)


def short_bundle(base: Path) -> None:
    folder = TileFolder(base.parent / "short-bundle")
    folder.append(0, [b"x"] * 7)
    path = folder.folder / "tile/entries/000.p/7"
    path.with_name("8").write_bytes(path.read_bytes())
    folder.entries(0, 8)


def x25519_pem() -> bytes:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return X25519PrivateKey.from_private_bytes(bytes(32)).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


def other_origin(base: Path) -> None:
    from nethical_assets.core.tlog.note import sign_note

    text = Checkpoint("other.example", 7, ROOT).text()
    signed = sign_note(text, KEY.name, private_key(1)).encode().decode()
    report = check_proof({**prove(base, 2), "checkpoint": signed}, KEY)
    if report.problems:
        raise NethicalError(report.problems[0])


def without_ml_dsa(base: Path) -> None:
    """The installed ``cryptography`` is one that does not have ML-DSA."""
    name = "cryptography.hazmat.primitives.asymmetric.mldsa"
    kept = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        open_note(cosigned(ML_DSA_WITNESS, bytes(2428)), [ML_DSA_WITNESS])
    finally:
        del sys.modules[name]
        if kept is not None:
            sys.modules[name] = kept


REFUSALS = [
    Refusal("ml-dsa not installed", "needs a newer 'cryptography'", without_ml_dsa),
    Refusal("index", "leaf 7 is not in a tree", lambda base: TREE.inclusion_proof(7)),
    Refusal("sizes", "no consistency proof from size 5 to size 4", lambda base: TREE.consistency_proof(5, 4)),
    Refusal("beyond the tree", "this tree has 7 leaves, not 8", lambda base: TREE.root(8)),
    Refusal("inclusion index", "index 7 is outside", lambda base: verify_inclusion(7, 7, LEAF, PATH, ROOT)),
    Refusal("inclusion long", "too many", lambda base: verify_inclusion(3, 7, LEAF, [*PATH, ROOT], ROOT)),
    Refusal("inclusion short", "too few", lambda base: verify_inclusion(3, 7, LEAF, PATH[:-1], ROOT)),
    Refusal("inclusion root", "leads to root", lambda base: verify_inclusion(3, 7, LEAF, PATH, FIRST)),
    Refusal("inclusion width", "must have 32 bytes", lambda base: verify_inclusion(3, 7, LEAF, [b"", *PATH[1:]], ROOT)),
    Refusal("consistency sizes", "do not grow", lambda base: verify_consistency(8, 7, FIRST, ROOT, STEPS)),
    Refusal(
        "consistency empty tree", "not the root of an empty tree", lambda b: verify_consistency(0, 7, FIRST, ROOT, [])
    ),
    Refusal("consistency not empty", "must be empty", lambda b: verify_consistency(0, 7, EMPTY_ROOT, ROOT, STEPS)),
    Refusal(
        "consistency same size", "two different roots for size 7", lambda b: verify_consistency(7, 7, FIRST, ROOT, [])
    ),
    Refusal("consistency nothing", "proves nothing", lambda base: verify_consistency(3, 7, FIRST, ROOT, [])),
    Refusal("consistency long", "too many", lambda b: verify_consistency(3, 7, FIRST, ROOT, [*STEPS, ROOT])),
    Refusal("consistency short", "too few", lambda base: verify_consistency(3, 7, FIRST, ROOT, STEPS[:-1])),
    Refusal("consistency first", "for size 3", lambda base: verify_consistency(3, 7, LEAF, ROOT, STEPS)),
    Refusal("consistency second", "for size 7", lambda base: verify_consistency(3, 7, FIRST, LEAF, STEPS)),
    note("note size", "at most 1048576 are allowed", b"x" * (1 << 20) + b"\n\nx"),
    note("note encoding", "not UTF-8", b"\xff\n\n\n"),
    note("note control character", "control character", NOTE.replace(b"\n7\n", b"\r7\n")),
    note("note without signatures", "no blank line", b"text\n"),
    note("note cut", "last signature line has no newline", NOTE[:-1]),
    note("note dash", "a signature line is not an em dash", NOTE.replace("\u2014".encode(), b"-")),
    note("note key name", "a signature line is not an em dash", NOTE.replace(b" nethical", b" +nethical")),
    note("note base64", "malformed base64 in a signature line", NOTE[:-2] + b"*\n"),
    note("note short signature", "holds no signature", TEXT.encode() + "\n\u2014 x AAAA\n".encode()),
    key("vkey parts", "expected <name>+", "x"),
    key("vkey name", "expected <name>+", f"a b{KEY}"),
    key("vkey base64", "malformed base64", f"{KEY}="),
    key("vkey algorithm", "algorithm 7 is not known", vkey("x", 7, bytes(32))),
    key("vkey length", "has 31 bytes, expected 32", vkey("x", 1, bytes(31))),
    key("vkey id", "does not match the key", str(KEY).replace(KEY.key_id.hex(), "00000000")),
    Refusal("signature", "does not match the text", lambda b: open_note(NOTE.replace(b"\n7\n", b"\n8\n"), [KEY])),
    Refusal("no trusted signature", "wrong key: signed by", lambda base: open_note(NOTE, [STRANGER])),
    Refusal("cosignature time", "no timestamp", lambda base: open_note(cosigned(WITNESS, bytes(8)), [WITNESS])),
    Refusal("cosignature", "does not match", lambda base: open_note(cosigned(WITNESS, bytes(72)), [WITNESS])),
    Refusal(
        "ml-dsa cosignature",
        "does not match",
        lambda b: open_note(cosigned(ML_DSA_WITNESS, bytes(2428)), [ML_DSA_WITNESS]),
    ),
    Refusal(
        "ml-dsa cosignature of other text",
        "the text is not a checkpoint",
        lambda base: open_note(cosigned(ML_DSA_WITNESS, bytes(2428), "x\n"), [ML_DSA_WITNESS]),
    ),
    checkpoint("checkpoint lines", "expected the three lines", TEXT + "extension\n"),
    checkpoint("checkpoint size", "not a decimal number", TEXT.replace("\n7\n", "\n07\n")),
    checkpoint("checkpoint root", "has 3 bytes, expected 32", "x\n7\nAAAA\n"),
    checkpoint("checkpoint empty", "size 0 with a root", TEXT.replace("\n7\n", "\n0\n")),
    parse("leaf json", "it is not JSON", b"x"),
    parse("leaf fields", "it lacks required fields", b"{}"),
    parse("leaf version", "version 2, this program knows 1", leaf(version=2)),
    parse("leaf type", "is not a valid EventType", leaf(type="x")),
    parse("leaf form", "not in canonical form", leaf() + b" "),
    parse("leaf extra field", "not in canonical form", leaf(zzz=1)),
    parse("leaf sequence", "sequence, time or actor", leaf(sequence=-1)),
    parse("leaf time", "sequence, time or actor", leaf(time="2026-01-01")),
    parse("leaf chunk", "exactly the chunk_final leaves", leaf(type="chunk_final")),
    parse("leaf rotation", "exactly the key_rotated leaves", leaf(type="key_rotated")),
    parse("leaf range", "range of a chunk", leaf(CHUNK_DOCUMENT, chunk={**CHUNK_DOCUMENT["chunk"], "size": -1})),
    parse("leaf run", "malformed run id", leaf(run_id="../x")),
    parse("leaf subject", "exactly the texts name and digest", leaf(subjects=[{"name": "x"}])),
    parse("leaf digest", "malformed digest", leaf(payload_digest="x")),
    parse("leaf parents", "malformed digest", leaf(parents=["x"])),
    parse("leaf float", "sequence, time or actor", leaf(sequence=0.5)),
    parse("leaf size", "at most 65535 fit", leaf(actor="x" * 70000)),
    parse("leaf text", "no canonical JSON form", leaf(actor="\ud800")),
    Refusal("bundle cut", "ends inside entry 0", lambda base: decode_entries(b"\x00\x05abc", "here")),
    Refusal("tile missing", "missing tile", lambda base: TileFolder(base).hashes(5, 0, 1)),
    Refusal("tile length", "bytes, a tile of width 6", short_tile),
    Refusal("bundle short", "7 entries where there must be 8", short_bundle),
    Refusal("private key missing", "cannot read", lambda base: read_private_key(base / "nothing")),
    Refusal("private key junk", "not an unencrypted private key", private(b"x")),
    Refusal("private key of another kind", "must be an Ed25519 key", private(x25519_pem())),
    proof("proof format", "format 'x'", format="x"),
    proof("proof index", "the index is no integer", index="2"),
    proof("proof payload", "payload in the proof is not the one", payload="{}"),
    proof("proof of another leaf", "leads to root", index=3),
    proof("proof document", "malformed proof document", rotations=None),
    proof("proof checkpoint", "wrong key", checkpoint=Checkpoint(KEY.name, 7, ROOT).sign(private_key(9)).decode()),
    proof("proof rotation", "malformed leaf", rotations=[{"entry": "x"}]),
    proof(
        "proof rotation not included",
        "leads to root",
        rotations=[
            {
                "entry": rotation(KEY, STRANGER).decode(),
                "index": 3,
                "inclusion_proof": [base64.b64encode(one).decode() for one in PATH],
                "checkpoint": NOTE.decode(),
            }
        ],
    ),
    Refusal("proof of another origin", "the key is of", other_origin),
]


def assert_refused(refusal: Refusal, base: Path) -> None:
    try:
        refusal.call(base)
    except NethicalError as error:
        assert refusal.message in str(error), f"{refusal.name}: {error}"
        assert "\n" not in str(error)
    else:
        raise AssertionError(f"{refusal.name}: it was accepted")
