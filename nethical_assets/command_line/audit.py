"""``nethical audit``: verifying, proving, exporting, and the keys of the log.

What belongs here: arguments and printing. What does not: the log (``core.audit``).
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nethical_assets.command_line.opening import load_home
from nethical_assets.command_line.output import JsonOption, errors, minute, print_json, print_table, say, tell
from nethical_assets.command_line.status_line import StatusLine
from nethical_assets.core.ground.errors import AuditError, SettingsError

if TYPE_CHECKING:
    from nethical_assets.home.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    help="The audit log: verify, show, prove, check-proof, export, heartbeat, witness, cosign, timestamp, tag, lock, "
    "keys.",
)
keys = typer.Typer(no_args_is_help=True, help="The key that signs the log: show, new, rotate.")
app.add_typer(keys, name="keys")
KeyOption = Annotated[list[str] | None, typer.Option("--key", help="A verifier key of the log that you trust.")]


@app.command()
def verify(
    key: KeyOption = None,
    policy: Annotated[Path | None, typer.Option(help="A policy file: keys, witnesses, known checkpoints.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Recompute everything from disk. Exits with 1 when anything was changed, and names it."""
    with _progress() as progress:
        from nethical_assets.core.audit.policy import Policy, check_keys, load_policy
        from nethical_assets.operations.verification import verify as verify_all
        from nethical_assets.orchestration.instance import known_roots

        trusted = load_policy(policy) if policy is not None else Policy()
        trusted = trusted.model_copy(update={"log_keys": (*trusted.log_keys, *(key or ()))})
        check_keys((*trusted.log_keys, *trusted.witness_keys))
        settings = load_home()
        roots, unread = known_roots(settings)
        report = verify_all(settings, trusted, known_roots=roots, progress=progress)
    report["notes"] += unread
    if as_json:
        print_json(report)
    else:
        for problem in report["problems"]:
            tell(f"PROBLEM {problem}", style="red")
        for note in report["notes"]:
            tell(f"Note: {note}")
        if report["ok"]:
            tell(f"The audit log verifies: {report['size']} leaves, root {report['root']}")
    if not report["ok"]:
        raise typer.Exit(1)


@app.command()
def show(
    run: Annotated[str | None, typer.Option(help="Only events of this run.")] = None,
    digest: Annotated[str | None, typer.Option(help="Only events that name this digest.")] = None,
    last: Annotated[int, typer.Option(min=1, help="At most this many, the newest.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """The events of the log, oldest first."""
    from nethical_assets.core.audit import LogReader
    from nethical_assets.core.ground.digests import check_digest

    wanted = None if digest is None else check_digest(digest)
    found = list(LogReader(_folder(load_home())).find_events(run_id=run, digest=wanted))[-last:]
    rows = [{"index": one.index, **one.event.to_json()} for one in found]
    if as_json:
        print_json({"events": rows})
        return
    shown = [{**row, "subjects": ", ".join(subject["name"] for subject in row["subjects"])} for row in rows]
    print_table(
        "Events",
        shown,
        ("index", "time", "type", "actor", "subjects", "run_id"),
        least=("actor", "run_id", "time"),
        prose=("subjects",),
        short={"time": minute},
    )


@app.command()
def prove(
    what: Annotated[str, typer.Argument(help="The index of a leaf, or a digest that an event names.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where the proof goes; standard output when not given.")
    ] = None,
) -> None:
    """A document that proves one event to somebody who has only it and a verifier key."""
    from nethical_assets.core.audit import prove as prove_event
    from nethical_assets.core.ground.storage import write_json

    document = prove_event(_folder(load_home()), int(what) if what.isdigit() else what)
    if output is None:
        print_json(document)
    else:
        write_json(output.absolute(), document)
        tell(f"Proof of leaf {document['index']} written to {output}; check it with: nethical audit check-proof")


@app.command("check-proof")
def check_proof(
    file: Annotated[Path, typer.Argument(help="A proof written by: nethical audit prove.")],
    key: Annotated[str, typer.Option(help="The verifier key of the log that you trust.")],
    as_json: JsonOption = False,
) -> None:
    """Check a proof offline, without the log. Exits with 1 when it does not hold."""
    from nethical_assets.core.audit import check_proof as check
    from nethical_assets.core.audit.policy import check_keys
    from nethical_assets.core.audit.proofs import read_proof

    check_keys((key,))
    report = check(read_proof(file), key)
    if as_json:
        print_json(report.to_json())
    else:
        for problem in report.problems:
            say(errors, f"PROBLEM {problem}", style="red")
        if report.ok:
            event = json.dumps(report.event, indent=2, ensure_ascii=False)
            tell(f"The proof holds: leaf {report.index} of {report.origin} with {report.size} leaves is\n{event}")
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="The run whose evidence is wanted.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to create.")],
) -> None:
    """One folder with everything a stranger needs to verify a run: events, proofs, cards, manifests and a verifier."""
    from nethical_assets.operations.verification import export_run

    folder = export_run(load_home(), run, output)
    tell(f"Written to {folder}; verify it anywhere with: python3 -I -S {folder}/verify.py --key KEY")


@keys.command("show")
def show_key() -> None:
    """The verifier key of the log: give it to auditors."""
    from nethical_assets.core.audit.keys import VERIFIER_KEY_FILE, read_verifier_keys

    for key in read_verifier_keys(_folder(load_home()) / "keys" / VERIFIER_KEY_FILE):
        typer.echo(str(key))


@keys.command("new")
def new_key(file: Annotated[Path, typer.Argument(help="Where the private key goes (mode 0600).")]) -> None:
    """A new Ed25519 key in PEM form, for NETHICAL_AUDIT_KEY_FILE or a rotation."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from nethical_assets.core.audit.keys import write_private_key

    if os.path.lexists(file):
        raise SettingsError(f"{file}: exists already; a key is never overwritten, name another file")
    write_private_key(file.absolute(), Ed25519PrivateKey.generate())
    tell(f"Key written to {file}; keep it secret and back it up")


@keys.command()
def rotate(
    new_key_file: Annotated[
        Path | None,
        typer.Option(
            help="The new key; created when it is missing. Needed where NETHICAL_AUDIT_KEY_FILE names the present one."
        ),
    ] = None,
    actor: Annotated[str | None, typer.Option(help="Who rotates; the user of this session by default.")] = None,
) -> None:
    """Replace the signing key; the rotation is an event signed by the old one."""
    from nethical_assets.core.audit import AuditLog, rotate_key

    log = AuditLog(_folder(load_home()))
    key = rotate_key(log, actor=actor or getpass.getuser(), new_key_file=new_key_file)
    tell(f"Rotated. Give auditors the new verifier key:\n{key}")


@app.command()
def heartbeat(as_json: JsonOption = False) -> None:
    """Log that the platform is alive, so that silence is visible."""
    from nethical_assets.core.audit import AuditLog

    receipt = AuditLog(_folder(load_home())).heartbeat(f"heartbeat-{uuid.uuid4()}").to_json()
    if as_json:
        print_json(receipt)
    else:
        tell(f"{receipt['size']} leaves, root {receipt['root']}")


@app.command()
def witness(
    folder: Annotated[Path, typer.Argument(help="Where the witness keeps what it cosigned.")],
    log_key: Annotated[list[str], typer.Option(help="Verifier key of a log to cosign.")],
    key_file: Annotated[Path, typer.Option(help="The witness's own Ed25519 key in PEM form.")],
    name: Annotated[str, typer.Option(help="The witness's name in its cosignatures.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free port.")] = 8090,
    host: Annotated[str, typer.Option(help="The address it listens on.")] = "127.0.0.1",
) -> None:
    """Serve a witness (C2SP tlog-witness) in a process and with a key of its own, until Ctrl-C."""
    from nethical_assets.core.audit.keys import given_private_key
    from nethical_assets.core.audit.policy import check_keys
    from nethical_assets.core.audit.witness import Witness, serve_witness
    from nethical_assets.core.tlog.note import VerifierKey

    known = [VerifierKey.parse(key) for key in check_keys(tuple(log_key))]
    own = Witness(folder, name, given_private_key(key_file), known)
    try:
        server = serve_witness(own, host, port)
    except OSError as error:
        raise SettingsError(f"cannot listen on {host}:{port} ({error.strerror}); choose another with --port") from None
    say(errors, f"Witness {own.key} at http://{host}:{server.server_address[1]}")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


@app.command()
def cosign(
    url: Annotated[str, typer.Option(help="Where the witness listens.")],
    witness_key: Annotated[str, typer.Option(help="The verifier key of the witness.")],
) -> None:
    """Ask a witness to cosign the newest checkpoint, and attach its cosignature."""
    from nethical_assets.core.audit import AuditLog
    from nethical_assets.core.audit.policy import check_keys
    from nethical_assets.core.audit.witness import request_cosignature
    from nethical_assets.core.tlog.note import VerifierKey

    check_keys((witness_key,))
    log = AuditLog(_folder(load_home()))
    head = log.head()
    if head is None:
        raise AuditError(f"{log.folder}: there is no checkpoint to cosign yet; run: nethical run")
    log.attach_cosignatures(head.size, [request_cosignature(log, url, VerifierKey.parse(witness_key))])
    tell(f"The checkpoint of size {head.size} is cosigned")


@app.command()
def timestamp(
    url: Annotated[str, typer.Option(help="An RFC 3161 timestamp authority.")],
    roots: Annotated[Path, typer.Option(help="PEM file of its root certificates.")],
) -> None:
    """Timestamp the newest checkpoint (needs the package rfc3161-client)."""
    from nethical_assets.core.audit import LogReader
    from nethical_assets.core.audit.anchors.timestamp import http_sender, read_roots, timestamp_head

    authorities = read_roots(roots)
    path = timestamp_head(LogReader(_folder(load_home())), http_sender(url), authorities)
    tell(f"Timestamp written to {path}")


@app.command()
def tag(
    repository: Annotated[Path, typer.Argument(help="A git repository.")],
    signing_key: Annotated[Path, typer.Option(help="The SSH key that signs the tag.")],
) -> None:
    """Put the newest checkpoint into a signed git tag."""
    from nethical_assets.core.audit import LogReader
    from nethical_assets.core.audit.anchors.git_tag import tag_head

    tell(f"Tagged: {tag_head(LogReader(_folder(load_home())), repository, signing_key)}")


@app.command()
def lock(
    bucket: Annotated[str, typer.Argument(help="An S3 bucket that has Object Lock.")],
    until: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], help="The day (UTC) before which nobody can remove it.")
    ],
    prefix: Annotated[str, typer.Option(help="How its keys begin.")] = "audit/",
) -> None:
    """Put the newest checkpoint where nobody can change it (needs the package boto3)."""
    from nethical_assets.operations.anchoring import lock_head

    key = lock_head(load_home(), bucket, prefix, until.replace(tzinfo=UTC))
    tell(f"Locked until {until:%Y-%m-%d}: s3://{bucket}/{key}")


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Shows on a terminal how far a verification is, on standard error; elsewhere nothing."""
    at = "opening"

    def show(what: str, done: int, total: int) -> None:
        nonlocal at
        at = f"{what} {done}/{total}"

    with StatusLine(lambda: ("", [at])).shown():
        yield show


def _folder(settings: Settings) -> Path:
    return settings.home / "audit"
