"""Provenance statements: their form, issuing each once, and refusing changed ones."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nethical_assets.core.ground.digests import canonical_json, digest_bytes
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import ObjectStore
from nethical_assets.core.lineage.provenance import ProvenanceStore, Statement
from nethical_assets.core.signing.dsse import pre_authentication_encoding
from nethical_assets.core.signing.keys import ModelKeys, key_id
from tests.pins import GivenPins

OUTPUT = digest_bytes(b"splits")
STATEMENT = Statement(
    stage="splits",
    name="logistic",
    outputs={"splits/logistic": OUTPUT},
    dependencies={
        "screened/logistic": digest_bytes(b"screened"),
        "provenance/screened/logistic": digest_bytes(b"statement"),
    },
    parameters={"train_ratio": 0.8},
    platform={"python": "3.11.7"},
    metadata={"invocationId": "run-1", "finishedOn": "2026-11-22T10:00:00Z"},
)


@pytest.fixture
def store(tmp_path: Path, keys: ModelKeys) -> ProvenanceStore:
    return ProvenanceStore(tmp_path / "provenance", ObjectStore(tmp_path / "objects"), keys)


def issue(store: ProvenanceStore, statement: Statement = STATEMENT) -> tuple[str, list[tuple[str, str]]]:
    announced: list[tuple[str, str]] = []
    digest = store.issue(statement, OUTPUT, lambda *what: announced.append(what))
    return digest, announced


def test_the_envelope_is_signed_as_dsse_says() -> None:
    # The test vector of the DSSE specification, with its payload type replaced by in-toto's.
    assert pre_authentication_encoding(b"hello world") == (b"DSSEv1 28 application/vnd.in-toto+json 11 hello world")


def test_the_statement_is_in_toto_with_slsa_provenance(store: ProvenanceStore) -> None:
    digest, _ = issue(store)
    envelope = json.loads(store.objects.get(digest))
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert statement["subject"] == [{"name": "splits/logistic", "digest": {"sha256": OUTPUT.removeprefix("sha256:")}}]
    definition = statement["predicate"]["buildDefinition"]
    assert definition["buildType"] == "https://nethical.local/stages/splits/v1"
    assert definition["externalParameters"] == {"name": "logistic", "train_ratio": 0.8}
    assert [one["name"] for one in definition["resolvedDependencies"]] == [
        "provenance/screened/logistic",
        "screened/logistic",
    ]
    assert definition["resolvedDependencies"][0]["mediaType"] == "application/vnd.dsse.envelope+json"
    assert statement["predicate"]["runDetails"]["metadata"]["invocationId"] == "run-1"


def test_a_statement_reads_back(store: ProvenanceStore, keys: ModelKeys) -> None:
    digest, announced = issue(store)
    assert store.open(digest) == (STATEMENT, key_id(keys.private.public_key()))
    assert announced == [(digest, key_id(keys.private.public_key()))]
    assert store.find("splits", "logistic", OUTPUT) == digest
    assert store.find("splits", "anomaly", OUTPUT) is None


def test_the_same_statement_is_issued_once_whenever_it_was_made(store: ProvenanceStore) -> None:
    digest, _ = issue(store)
    later = replace(STATEMENT, metadata={"invocationId": "run-2"}, platform={"python": "3.13.0"})
    assert issue(store, later) == (digest, [])
    changed = replace(STATEMENT, parameters={"train_ratio": 0.7})
    assert issue(store, changed)[0] != digest


def test_a_statement_nobody_heard_of_is_issued_again(store: ProvenanceStore) -> None:
    def crash(digest: str, signer: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.issue(STATEMENT, OUTPUT, crash)
    assert len(issue(store)[1]) == 1


def test_a_lost_or_damaged_statement_is_issued_again(store: ProvenanceStore) -> None:
    digest, _ = issue(store)
    path = Path(str(store.objects.path(digest)))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="do not match their digest"):
        store.open(digest)
    assert issue(store)[0] == digest
    store.open(digest)


def test_an_edited_statement_does_not_verify(store: ProvenanceStore) -> None:
    digest, _ = issue(store)
    envelope = json.loads(store.objects.get(digest))
    edited = replace(STATEMENT, parameters={"train_ratio": 0.1})
    envelope["payload"] = base64.b64encode(canonical_json(edited.to_json())).decode()
    with pytest.raises(IntegrityError, match="the signature does not verify"):
        store.open(store.objects.put(canonical_json(envelope)))


def test_a_statement_by_a_stranger_is_not_trusted(store: ProvenanceStore, tmp_path: Path, keys: ModelKeys) -> None:
    _ = keys.private
    stranger = ProvenanceStore(
        tmp_path / "other", store.objects, ModelKeys(tmp_path / "stranger", GivenPins(), environment={})
    )
    digest, _ = issue(stranger)
    with pytest.raises(IntegrityError, match="which is not trusted"):
        store.open(digest)


@pytest.mark.parametrize(
    "document", [[], {}, {**STATEMENT.to_json(), "predicateType": "other"}, {**STATEMENT.to_json(), "more": 1}]
)
def test_another_document_is_no_statement(document: object) -> None:
    with pytest.raises(IntegrityError, match="here: not a provenance statement"):
        Statement.from_json(document, "here")


names = st.text("abcdefg/_", min_size=1, max_size=12)
digests = st.binary(max_size=4).map(digest_bytes)


@given(
    outputs=st.dictionaries(names, digests, max_size=4),
    dependencies=st.dictionaries(names, digests, max_size=4),
    parameters=st.dictionaries(names.filter(lambda name: name != "name"), st.booleans() | st.floats(0, 1), max_size=3),
)
def test_every_statement_reads_back(
    outputs: dict[str, str], dependencies: dict[str, str], parameters: dict[str, object]
) -> None:
    statement = Statement("models", "anomaly", outputs, dependencies, parameters)
    document = json.loads(canonical_json(statement.to_json()))
    assert Statement.from_json(document, "here") == statement
    assert Statement.from_json(document, "here").identity == statement.identity
