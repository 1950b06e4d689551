"""Every way a log is damaged or forged in the tests, and the message that must name it."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from nethical_assets.core.audit import (
    AUDIT_KEY,
    MODEL_KEY,
    LogReader,
    LogState,
    Subject,
    verify_log,
    verify_prefix_root,
    verify_tiled_log,
)
from nethical_assets.core.audit.events import Chunk, Event, EventType, Rotation, payload_bytes
from nethical_assets.core.audit.keys import write_private_key, write_verifier_key
from nethical_assets.core.audit.pending import NO_LEAF, pending_line
from nethical_assets.core.audit.state import Named
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.tlog.checkpoint import Checkpoint
from nethical_assets.core.tlog.merkle import hash_leaf, root_of
from nethical_assets.core.tlog.note import VerifierKey, sign_note
from nethical_assets.core.tlog.tiles import TileFolder, encode_entries, make_durable_folder

from .conftest import open_log, private_key, record

SIGNER = 1
ORIGIN = "nethical.local/audit/" + digest_bytes(private_key(SIGNER).public_key().public_bytes_raw())[7:23]
KEY = VerifierKey.of(ORIGIN, private_key(SIGNER))
STRANGER = VerifierKey.of(ORIGIN, private_key(9))
NEWEST = "tile/0/000.p/7"
OLDER = "tile/0/000.p/4"
NEWEST_ENTRIES = "tile/entries/000.p/7"
OLDER_ENTRIES = "tile/entries/000.p/4"

Verification = Callable[[Path], Sequence[str]]


class Attack(NamedTuple):
    name: str
    message: str
    apply: Callable[[Path], object]
    verify: Verification


def make_base(folder: Path) -> None:
    """Run a (leaves 0 to 3), run b (4 to 6), and two events of run c that wait. The log is of the version before states
    and pinned keys, which must go on to verify; the attacks of the kind of ``new_log`` are on a log of today."""
    log = LogReader(folder)
    make_durable_folder(folder / "keys")
    write_private_key(folder / "keys" / "signing-key.pem", private_key(SIGNER))
    write_verifier_key(folder / "keys", KEY)
    entries: list[bytes] = []
    ends = []
    for run_id, count in (("run-a", 3), ("run-b", 2)):
        start = len(entries)
        entries += [thing(log, run_id, number) for number in range(count)]
        entries.append(chunk_final(entries, run_id, count, start))
        ends.append(len(entries))
    sign_log(folder, entries, ends)
    waiting = [thing(log, "run-c", number) for number in range(2)]
    write_pending(folder, "run-c", waiting)


def thing(log: LogReader, run_id: str, number: int) -> bytes:
    return event(
        run_id,
        number,
        EventType.DATA_FETCHED,
        subjects=(Subject(f"thing-{number}", digest_bytes(f"{run_id}/{number}".encode())),),
        payload_digest=log.payloads.put(payload_bytes({"number": number, "run": run_id})),
    ).leaf()


def write_pending(
    folder: Path, run_id: str, leaves: Sequence[bytes], key: int = SIGNER, previous: bytes = NO_LEAF
) -> None:
    """A write-ahead file signed with one of the test keys."""
    lines = []
    for leaf in leaves:
        lines.append(pending_line(leaf, previous, ORIGIN, private_key(key)))
        previous = hash_leaf(leaf)
    (folder / "pending").mkdir(exist_ok=True)
    (folder / "pending" / f"{run_id}.jsonl").write_bytes(b"".join(lines))


def new_log(change: Callable[[Path], object]) -> Callable[[Path], object]:
    """Change a log of today with leaves 0 and 1 (the key), 2 to 4 (run a), 5 to 7 (run b)."""

    def apply(folder: Path) -> None:
        shutil.rmtree(folder)
        log = open_log(folder, SIGNER)
        record(log, "run-a", 2)
        record(log, "run-b", 2)
        change(folder)

    return apply


def resigned(edit: Callable[[LogReader, list[bytes]], None]) -> Callable[[Path], object]:
    """Entries changed and everything signed again: what the operator can do."""

    def apply(folder: Path) -> None:
        log = LogReader(folder)
        entries = TileFolder(folder).entries(0, 8)
        edit(log, entries)
        sign_log(folder, entries, [2, 5, 8])

    return new_log(apply)


def other_state(log: LogReader, entries: list[bytes]) -> None:
    final = Event.parse(entries[7])
    state = LogState.parse(log.payloads.get(str(final.payload_digest)))
    state.newest["promotion models/logistic"] = Named(2, digest_bytes(b"mine"))
    entries[7] = replace(final, payload_digest=log.payloads.put(state.to_bytes())).leaf()


def no_state(log: LogReader, entries: list[bytes]) -> None:
    entries[7] = replace(Event.parse(entries[7]), payload_digest=None).leaf()


def leaf_of_key(name: str, digest: str) -> Callable[[LogReader, list[bytes]], None]:
    """Leaf 5 becomes one that pins a key."""

    def edit(log: LogReader, entries: list[bytes]) -> None:
        subjects = (Subject(name, digest),)
        created = replace(Event.parse(entries[5]), type=EventType.KEY_CREATED, subjects=subjects, payload_digest=None)
        entries[5] = created.leaf()
        final = Event.parse(entries[7])
        assert final.chunk is not None
        chunk = replace(final.chunk, root=root_of(map(hash_leaf, entries[5:7])).hex())
        entries[7] = replace(final, chunk=chunk, payload_digest=None).leaf()

    return edit


def first_key(log: LogReader, entries: list[bytes]) -> None:
    created = replace(Event.parse(entries[0]), subjects=(Subject(AUDIT_KEY, digest_bytes(b"another key")),))
    entries[0] = created.leaf()


def two_model_keys(log: LogReader, entries: list[bytes]) -> None:
    leaf_of_key(MODEL_KEY, digest_bytes(b"first"))(log, entries)
    entries[6] = replace(
        Event.parse(entries[5]), sequence=1, subjects=(Subject(MODEL_KEY, digest_bytes(b"second")),)
    ).leaf()


def sql(statement: str, *values: object) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        with contextlib.closing(sqlite3.connect(folder / "index.sqlite")) as connection, connection:
            assert connection.execute(statement, values).rowcount > 0

    return new_log(apply)


def replaced_with_its_key(folder: Path) -> None:
    """The log of somebody else under the name of this one, with its key beside it."""
    shutil.rmtree(folder)
    entries = [event("run-z", 0).leaf()]
    entries.append(chunk_final(entries, "run-z", 1, 0))
    folder.mkdir()
    sign_log(folder, entries, [2], {0: 9, 2: 9})
    write_verifier_key(folder / "keys", STRANGER)


def problems(folder: Path, **arguments: Any) -> list[str]:
    return verify_log(folder, arguments.pop("keys", [KEY]), **arguments).problems


def with_folder_key(folder: Path) -> list[str]:
    return verify_log(folder).problems


def entries_of(folder: Path) -> list[bytes]:
    return TileFolder(folder).entries(0, 7)


def sign_log(
    folder: Path, entries: Sequence[bytes], ends: Sequence[int], signers: dict[int, int] | None = None
) -> None:
    """Write ``entries`` as a log with validly signed checkpoints at ``ends``: what a dishonest operator can do."""
    for name in ("tile", "checkpoints"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "checkpoints").mkdir()
    tiles = TileFolder(folder)
    size = 0
    for end in [0, *ends]:
        size = tiles.append(size, entries[size:end])
        note = Checkpoint(ORIGIN, end, tiles.root(end)).sign(private_key((signers or {}).get(end, SIGNER)))
        (folder / "checkpoints" / str(end)).write_bytes(note)
        (folder / "checkpoint").write_bytes(note)


def event(run_id: str, sequence: int, kind: EventType = EventType.HEARTBEAT, **more: Any) -> Event:
    minute = ord(run_id[-1]) % 60  # later runs have later times
    return Event(run_id, sequence, f"2026-01-01T00:{minute:02d}:{sequence:02d}.000000Z", kind, "forger", **more)


def chunk_final(entries: Sequence[bytes], run_id: str, sequence: int, start: int, **wrong: Any) -> bytes:
    right: dict[str, Any] = {
        "first_index": start,
        "size": len(entries) - start,
        "root": root_of(map(hash_leaf, entries[start:])).hex(),
        "previous_checkpoint": Checkpoint(ORIGIN, start, root_of(map(hash_leaf, entries[:start]))).digest(),
    }
    chunk = Chunk(**{**right, **wrong})
    return event(run_id, sequence, EventType.CHUNK_FINAL, chunk=chunk).leaf()


def signed_chunk(folder: Path, leaves: Sequence[bytes], run_id: str = "run-x", **wrong: Any) -> None:
    """Append ``leaves`` and a chunk_final leaf (wrong as told), all signed."""
    entries = [*entries_of(folder), *leaves]
    entries.append(chunk_final(entries, run_id, len(leaves), 7, **wrong))
    sign_log(folder, entries, [4, 7, len(entries)])


def change(name: str, edit: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(edit((folder / name).read_bytes()))


def flip(position: int) -> Callable[[bytes], bytes]:
    def edit(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[position] ^= 1
        return bytes(changed)

    return edit


def other_signature(note: bytes) -> bytes:
    return note[:-20] + (b"B" if note[-20:-19] == b"A" else b"A") + note[-19:]


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def write(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(data)


def unsigned_entries(edit: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], object]:
    """Change entries, and recompute every tile to match: what somebody without the key can do."""

    def apply(folder: Path) -> None:
        kept = {path: path.read_bytes() for path in [folder / "checkpoint", *(folder / "checkpoints").iterdir()]}
        entries = edit(entries_of(folder))
        sign_log(folder, entries, [4, len(entries)])
        shutil.rmtree(folder / "checkpoints")
        (folder / "checkpoints").mkdir()
        for path, data in kept.items():
            path.write_bytes(data)

    return apply


def swapped(entries: list[bytes]) -> list[bytes]:
    return [entries[1], entries[0], *entries[2:]]


def rolled_back(folder: Path) -> str:
    """Return to the state after run a, removing every trace of run b; returns the checkpoint that was lost."""
    lost = (folder / "checkpoint").read_text()
    sign_log(folder, entries_of(folder)[:4], [4])
    return lost


def rollback_against(folder: Path) -> list[str]:
    kept = make_kept(folder)
    return problems(folder, known_checkpoints=[kept])


def make_kept(folder: Path) -> str:
    return (folder / "kept").read_text()


def keep_and_roll_back(folder: Path) -> None:
    (folder / "kept").write_text(rolled_back(folder))


def keep_and_fork(folder: Path) -> None:
    (folder / "kept").write_text((folder / "checkpoint").read_text())
    entries = entries_of(folder)[:4]
    entries += [event("run-z", number).leaf() for number in range(2)]
    entries.append(chunk_final(entries, "run-z", 2, 4))
    sign_log(folder, entries, [4, 7])


def keep_other_log(folder: Path) -> None:
    text = Checkpoint("other.example/log", 4, bytes(32)).text()
    (folder / "kept").write_bytes(sign_note(text, ORIGIN, private_key(SIGNER)).encode())


def rotation(old: VerifierKey | str, new: VerifierKey | str, sequence: int = 0, run_id: str = "run-x") -> bytes:
    return event(run_id, sequence, EventType.KEY_ROTATED, rotation=Rotation(str(old), str(new))).leaf()


def first_payload(folder: Path) -> Path:
    return next(path for path in sorted((folder / "payloads").glob("*/*")))


def logged_payload(folder: Path) -> Path:
    digest = json.loads(entries_of(folder)[0])["payload_digest"].partition(":")[2]
    return folder / "payloads" / digest[:2] / digest


def prefix(run_id: str, size: int, root: str) -> Verification:
    return lambda folder: verify_prefix_root(folder, run_id, size, root)


def known_root(size: int) -> Verification:
    return lambda folder: problems(folder, known_roots=[(size, "00" * 32)])


def required(count: int) -> Verification:
    return lambda folder: problems(folder, witness_keys=[STRANGER], required_witnesses=count)


def swap_text(data: bytes) -> bytes:
    """Change the actor of entry 1 without changing lengths."""
    second = data.index(b"forger", data.index(b"forger") + 1)
    return data[:second] + b"nobody" + data[second + 6 :]


def sign_more(folder: Path, size: int) -> None:
    entries = TileFolder(folder).entries(0, size)
    entries.append(event("run-w", 0).leaf())
    entries.append(chunk_final(entries, "run-w", 1, size))
    sign_log(folder, entries, [4, 7, size, size + 2])
    note = Checkpoint(ORIGIN, size + 2, TileFolder(folder).root(size + 2)).sign(private_key(9))
    for name in ("checkpoint", f"checkpoints/{size + 2}"):
        (folder / name).write_bytes(note)
    wrong = Checkpoint(ORIGIN, size, TileFolder(folder).root(size)).sign(private_key(9))
    (folder / "checkpoints" / str(size)).write_bytes(wrong)


def stranger_claims_rotation(folder: Path) -> None:
    """A log by a stranger that says its key was rotated to the trusted one, which never signed anything."""
    entries = [rotation(STRANGER, KEY)]
    entries.append(chunk_final(entries, "run-x", 1, 0))
    sign_log(folder, entries, [2], {0: 9, 2: 9})
    shutil.rmtree(folder / "pending")


def never_finished(folder: Path) -> None:
    """What a first run that was killed left under the version before, which founded no log before it recorded."""
    for name in ("tile", "checkpoints"):
        shutil.rmtree(folder / name)
    (folder / "checkpoint").unlink()


ATTACKS = [
    # Files of the tree
    Attack("entries removed", "truncated log: ", remove(NEWEST_ENTRIES), problems),
    Attack("entries cut", "ends inside entry 6", change(NEWEST_ENTRIES, lambda data: data[:-3]), problems),
    Attack(
        "entry dropped from the bundle",
        "6 entries where there must be 7",
        lambda folder: write(NEWEST_ENTRIES, encode_entries(entries_of(folder)[:6]))(folder),
        problems,
    ),
    Attack("leaf hashes removed", "tree: ", remove(NEWEST), problems),
    Attack("leaf hashes cut", "223 bytes, a tile of width 7 has 224", change(NEWEST, lambda data: data[:-1]), problems),
    Attack("leaf hash changed", "hash 2 is not the hash of its entry", change(NEWEST, flip(70)), problems),
    Attack("entry changed", "hash 1 is not the hash of its entry", change(NEWEST_ENTRIES, swap_text), problems),
    Attack(
        "older bundle changed",
        "entry 1 differs from the same entry in another bundle",
        change(OLDER_ENTRIES, swap_text),
        problems,
    ),
    Attack("older bundle cut", "000.p/4: truncated entry bundle", change(OLDER_ENTRIES, lambda d: d[:-1]), problems),
    Attack(
        "older bundle too long",
        "7 entries, its name says 4",
        lambda folder: shutil.copyfile(folder / NEWEST_ENTRIES, folder / OLDER_ENTRIES),
        problems,
    ),
    Attack("older tile too long", "a tile of width 4 has 128", change(OLDER, lambda data: data + bytes(32)), problems),
    Attack("older tile changed", "000.p/4: hash 0 is not the hash", change(OLDER, flip(0)), problems),
    Attack("stray file", "tile/junk: unexpected file", write("tile/junk", b"x"), problems),
    Attack(
        "tile replaced by a link",
        "000.p/4: unexpected file",
        lambda folder: ((folder / OLDER).unlink(), (folder / OLDER).symlink_to("7")),
        problems,
    ),
    Attack(
        "partial tile replaced by a wrong full one",
        "tile 0 of level 0 does not follow from the entries",
        lambda folder: ((folder / NEWEST).unlink(), (folder / "tile/0/000").write_bytes(bytes(8192))),
        problems,
    ),
    Attack("entries and tiles rewritten", "checkpoint: it signs root", unsigned_entries(swapped), problems),
    # What only the operator can forge: everything is signed
    Attack(
        "reordered leaves",
        "leaf 0: run run-a has event 1 where event 0 belongs; leaves were reordered",
        lambda folder: sign_log(folder, swapped(entries_of(folder)), [4, 7]),
        problems,
    ),
    Attack(
        "duplicated leaf",
        "leaf 2: duplicated leaf, the same as leaf 1",
        lambda folder: sign_log(folder, [*entries_of(folder)[:2], *entries_of(folder)[1:]], [5, 8]),
        problems,
    ),
    Attack(
        "removed leaf",
        "leaf 1: run run-a has event 2 where event 1 belongs",
        lambda folder: sign_log(folder, [entries_of(folder)[0], *entries_of(folder)[2:]], [3, 6]),
        problems,
    ),
    Attack(
        "malformed leaf",
        "leaf 7: malformed leaf: it is not JSON",
        lambda folder: signed_chunk(folder, [b"junk"]),
        problems,
    ),
    Attack(
        "no chunk_final",
        "leaf 7: the log ends without a chunk_final leaf",
        lambda folder: sign_log(folder, [*entries_of(folder), event("run-x", 0).leaf()], [4, 7, 8]),
        problems,
    ),
    Attack(
        "another run inside a chunk",
        "leaf 8: run run-y inside the chunk of run run-x",
        lambda folder: signed_chunk(folder, [event("run-x", 0).leaf(), event("run-y", 0).leaf()]),
        problems,
    ),
    Attack(
        "chunk range",
        "chunk_final covers 3 leaves from 7 on, it closes 1 from 7 on",
        lambda folder: signed_chunk(folder, [event("run-x", 0).leaf()], size=3),
        problems,
    ),
    Attack(
        "chunk root",
        "leaf 8: chunk_final states chunk root 00",
        lambda folder: signed_chunk(folder, [event("run-x", 0).leaf()], root="00" * 32),
        problems,
    ),
    Attack(
        "chain of checkpoints",
        "leaf 8: chunk_final follows checkpoint sha256:00",
        lambda folder: signed_chunk(folder, [event("run-x", 0).leaf()], previous_checkpoint="sha256:" + "00" * 32),
        problems,
    ),
    Attack(
        "malformed rotation",
        "leaf 7: malformed key rotation",
        lambda folder: signed_chunk(folder, [rotation(KEY, "junk")]),
        problems,
    ),
    Attack(
        "rotation to the key of another log",
        "key rotation from a key that was not in force, or of another log",
        lambda folder: signed_chunk(folder, [rotation(KEY, VerifierKey("other", 1, bytes(32)))]),
        problems,
    ),
    Attack(
        "two rotations in one chunk",
        "leaf 8: key rotation from a key that was not in force",
        lambda folder: signed_chunk(folder, [rotation(KEY, STRANGER), rotation(STRANGER, KEY, 1)]),
        problems,
    ),
    Attack(
        "new key used before its rotation",
        "checkpoints/9: wrong key",
        lambda folder: (
            signed_chunk(folder, [rotation(KEY, STRANGER)]),
            sign_more(folder, 9),
        ),
        problems,
    ),
    Attack(
        "rotation to the trusted key by a stranger",
        "wrong key, no checkpoint is signed by a trusted key",
        stranger_claims_rotation,
        problems,
    ),
    # Checkpoints
    Attack("checkpoint removed", "checkpoint: missing", remove("checkpoint"), problems),
    Attack("checkpoint malformed", "checkpoint: malformed note", write("checkpoint", b"junk"), problems),
    Attack("signature changed", "does not match the text", change("checkpoint", other_signature), problems),
    Attack("wrong key", "checkpoint: wrong key", lambda folder: None, lambda f: problems(f, keys=[STRANGER])),
    Attack(
        "stale checkpoint",
        "stale checkpoint, it signs size 4 but checkpoints/7 was signed later",
        lambda folder: shutil.copyfile(folder / "checkpoints/4", folder / "checkpoint"),
        problems,
    ),
    Attack("copy removed", "checkpoints/4: missing checkpoint", remove("checkpoints/4"), problems),
    Attack("copy changed", "checkpoints/4: signature by", change("checkpoints/4", other_signature), problems),
    Attack("stray copy", "checkpoints/x: unexpected file", write("checkpoints/x", b""), problems),
    Attack(
        "copy under another name",
        "checkpoints/4: it signs size 0",
        lambda folder: shutil.copyfile(folder / "checkpoints/0", folder / "checkpoints/4"),
        problems,
    ),
    Attack(
        "checkpoint inside a chunk",
        "checkpoints/2: no chunk ends at size 2",
        lambda folder: write(
            "checkpoints/2",
            Checkpoint(ORIGIN, 2, root_of(map(hash_leaf, entries_of(folder)[:2]))).sign(private_key(1)),
        )(folder),
        problems,
    ),
    Attack(
        "fork in the copies",
        "checkpoints/4: fork, it signs root 00",
        write("checkpoints/4", Checkpoint(ORIGIN, 4, bytes(32)).sign(private_key(1))),
        problems,
    ),
    Attack("rollback of the whole log", "rollback, it was signed for size 7", keep_and_roll_back, rollback_against),
    Attack("fork of the whole log", "known checkpoint 0: fork", keep_and_fork, rollback_against),
    Attack("checkpoint of another log", "belongs to log other.example/log", keep_other_log, rollback_against),
    Attack("known checkpoint malformed", "known checkpoint 0: malformed", write("kept", b"x"), rollback_against),
    Attack("no witness", "no valid cosignature", lambda folder: None, required(1)),
    Attack("too few witnesses", "cosigned by 0 witnesses, 1 are required", lambda folder: None, required(1)),
    # Payloads and write-ahead files
    Attack("payload changed", "changed payload", lambda folder: first_payload(folder).write_bytes(b"{}"), problems),
    Attack("payload removed", "leaf 0: its payload", lambda folder: logged_payload(folder).unlink(), problems),
    Attack("pending changed", "pending file changed: ", change("pending/run-c.jsonl", flip(90)), problems),
    Attack(
        "newline of the last pending event changed",
        "the last line was changed on disk",
        change("pending/run-c.jsonl", flip(-1)),
        problems,
    ),
    Attack(
        "pending event removed",
        "line 1 is not signed by the log's key for this place",
        change("pending/run-c.jsonl", lambda data: data[data.index(b"\n") + 1 :]),
        problems,
    ),
    Attack(
        "pending event malformed",
        "pending/run-c.jsonl: malformed leaf",
        lambda folder: write_pending(folder, "run-c", [b"{}"]),
        problems,
    ),
    Attack(
        "pending event of a stranger",
        "line 1 is not signed by the log's key for this place",
        lambda folder: write_pending(folder, "run-d", [event("run-d", 0).leaf()], key=9),
        problems,
    ),
    Attack(
        "pending event without a signature",
        "line 1 is not signed: an older version wrote it",
        lambda folder: write(
            "pending/run-d.jsonl", b"%s %s\n" % (hash_leaf(one := event("run-d", 0).leaf()).hex().encode(), one)
        )(folder),
        problems,
    ),
    Attack(
        "pending events copied to another run",
        "line 1 holds event 0 of run run-c, event 0 of run run-d belongs there",
        lambda folder: shutil.copyfile(folder / "pending/run-c.jsonl", folder / "pending/run-d.jsonl"),
        problems,
    ),
    Attack(
        "pending events of a finished run signed for another place",
        "line 1 is not signed by the log's key for this place",
        lambda folder: write_pending(folder, "run-a", [event("run-a", 4).leaf()]),
        problems,
    ),
    # The state that chunks name, the pinned keys, and the index
    Attack("forged state", "leaf 7: chunk_final names another state", resigned(other_state), problems),
    Attack("no state", "leaf 7: chunk_final names no state of the log", resigned(no_state), problems),
    Attack(
        "another audit key pinned",
        "leaf 5: key_created names audit key",
        resigned(leaf_of_key(AUDIT_KEY, digest_bytes(b"mine"))),
        problems,
    ),
    Attack("another first audit key", "leaf 0: it pins audit key", resigned(first_key), problems),
    Attack(
        "model key replaced without the one before it",
        "leaf 6: key_created names model key",
        resigned(two_model_keys),
        problems,
    ),
    Attack("log replaced with its key", "the name of log", replaced_with_its_key, with_folder_key),
    Attack("index of another log", "index.sqlite: made for another log", sql("UPDATE log SET root = ''"), problems),
    Attack("index of no version", "index.sqlite: damaged (", sql("UPDATE log SET version = 9"), problems),
    Attack("run hidden in the index", "index.sqlite: its map of runs", sql("UPDATE nodes SET data = x'00'"), problems),
    Attack("index node removed", "index.sqlite: damaged (", sql("DELETE FROM nodes"), problems),
    Attack(
        "index node added", "index.sqlite: its map of runs", sql("INSERT INTO nodes VALUES (x'ab', x'00')"), problems
    ),
    Attack("digest hidden in the index", "index.sqlite: its digests", sql("DELETE FROM digests"), problems),
    Attack("digest moved in the index", "index.sqlite: its dig", sql("UPDATE digests SET leaf = leaf + 1"), problems),
    Attack("rollback against a known root", "known root: rollback", keep_and_roll_back, known_root(7)),
    Attack("fork against a known root", "known root: fork", lambda folder: None, known_root(4)),
    Attack(
        "only runs that never finished",
        "checkpoint: no run finished yet, 1 wait in pending/",
        lambda folder: [
            shutil.rmtree(folder / "tile"),
            shutil.rmtree(folder / "checkpoints"),
            remove("checkpoint")(folder),
        ],
        problems,
    ),
    # Keys
    Attack(
        "verifier key removed",
        "missing verifier key file",
        remove("keys/verifier.vkey"),
        with_folder_key,
    ),
    Attack("verifier key changed", "does not match the key", change("keys/verifier.vkey", flip(5)), problems),
    Attack(
        "verifier key cut",
        "does not end in a newline",
        lambda folder: (shutil.rmtree(folder / "pending"), change("keys/verifier.vkey", lambda d: d[:-1])(folder)),
        problems,
    ),
    Attack("verifier key not text", "cannot be read as text", write("keys/verifier.vkey", b"\xff\n"), problems),
    Attack(
        "verifier key replaced",
        "is not a key of this log",
        write("keys/verifier.vkey", f"{STRANGER}\n".encode()),
        problems,
    ),
    Attack("private key changed", "no Ed25519 private key any more", change("keys/signing-key.pem", flip(3)), problems),
    Attack("private key reformatted", "not in the form", change("keys/signing-key.pem", lambda d: d + b"\n"), problems),
    Attack(
        "private key replaced",
        "does not belong to the verifier key",
        lambda folder: write_private_key(folder / "keys/signing-key.pem", private_key(9)),
        problems,
    ),
    Attack(
        "private key readable",
        "other users can read it",
        lambda folder: (folder / "keys/signing-key.pem").chmod(0o644),
        problems,
    ),
    # Claims of cards, and other logs
    Attack("claim about too many events", "the claim covers 9 events", lambda f: None, prefix("run-a", 9, "00" * 32)),
    Attack("claim about another root", "the claim states root 00", lambda f: None, prefix("run-a", 2, "00" * 32)),
    Attack("claim on a damaged log", "run run-a: ", remove(NEWEST_ENTRIES), prefix("run-a", 2, "00" * 32)),
    Attack(
        "tiled log without checkpoint",
        "checkpoint: missing",
        remove("checkpoint"),
        lambda f: verify_tiled_log(f, [KEY]).problems,
    ),
    Attack(
        "tiled log, wrong key",
        "checkpoint: wrong key",
        lambda f: None,
        lambda f: verify_tiled_log(f, [STRANGER]).problems,
    ),
    Attack(
        "tiled log rewritten", "it signs root", unsigned_entries(swapped), lambda f: verify_tiled_log(f, [KEY]).problems
    ),
]


def assert_detected(attack: Attack, folder: Path) -> None:
    found = attack.verify(folder)
    assert any(attack.message in problem for problem in found), f"{attack.name}: {found}"
    assert all("\n" not in problem for problem in found)


def prepare(base: Path, target: Path) -> dict[str, Path]:
    """One damaged copy of the base log for each attack."""
    folders = {}
    for number, attack in enumerate(ATTACKS):
        folders[attack.name] = shutil.copytree(base, target / f"{number:02d}", symlinks=True)
        attack.apply(folders[attack.name])
    return folders
