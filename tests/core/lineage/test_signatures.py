"""Model signatures: the OpenSSF format, both ways with its own package, and keys."""

from __future__ import annotations

import base64
import json
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from nethical_assets.core.ground.digests import canonical_json
from nethical_assets.core.ground.errors import IntegrityError, SettingsError
from nethical_assets.core.models.registry import MANIFEST, ModelRegistry
from nethical_assets.core.signing.keys import (
    KEY_FILE_VARIABLE,
    ModelKeys,
    key_digest,
    key_id,
    public_pem,
    read_public_keys,
)
from nethical_assets.core.signing.signatures import ModelSignatures
from tests.pins import GivenPins

from .conftest import manifest_of


def signature_of(registry: ModelRegistry, model: str) -> Path:
    assert registry.signatures is not None
    return Path(str(registry.signatures.path(model)))


def folder_of(registry: ModelRegistry, model: str) -> Path:
    return Path(str(registry.base)) / "store" / model.partition(":")[2]


def key_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.pub.pem"))


def model_signing(*arguments: object) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("model_signing", reason="the model-signing package is not installed")
    command = [sys.executable, "-m", "model_signing", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def write_key(path: Path, key: Any) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def test_a_signed_model_is_loaded(registry: ModelRegistry, model: str, forest_files: dict[str, bytes]) -> None:
    assert registry.load(model)[1] == forest_files


def test_signing_does_not_change_the_digest(
    registry: ModelRegistry, model: str, forest_files: dict[str, bytes], tmp_path: Path
) -> None:
    assert ModelRegistry(tmp_path / "unsigned").add(manifest_of(forest_files), forest_files) == model
    assert {path.name for path in folder_of(registry, model).iterdir()} == {*forest_files, MANIFEST}


def test_the_same_key_signs_the_same_bytes(registry: ModelRegistry, model: str, forest_files: dict[str, bytes]) -> None:
    path = signature_of(registry, model)
    before = path.read_bytes()
    path.unlink()
    registry.add(manifest_of(forest_files), forest_files)
    assert path.read_bytes() == before


def test_the_statement_lists_every_file(registry: ModelRegistry, model: str, forest_files: dict[str, bytes]) -> None:
    bundle = json.loads(signature_of(registry, model).read_bytes())
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    assert statement["predicateType"] == "https://model_signing/signature/v1.0"
    assert [one["name"] for one in statement["predicate"]["resources"]] == sorted({*forest_files, MANIFEST})
    assert statement["subject"][0]["name"] == model.partition(":")[2]


def test_the_openssf_package_verifies_our_signature(registry: ModelRegistry, model: str, keys: ModelKeys) -> None:
    (public,) = key_files(Path(str(keys.folder)))
    folder, signature = folder_of(registry, model), signature_of(registry, model)
    good = model_signing("verify", "key", "--signature", signature, "--public_key", public, folder)
    assert good.returncode == 0, good.stdout + good.stderr
    (folder / "extra.json").write_text("{}")
    bad = model_signing("verify", "key", "--signature", signature, "--public_key", public, folder)
    assert bad.returncode != 0
    assert "extra.json" in bad.stdout + bad.stderr


def test_we_verify_the_signature_of_the_openssf_package(registry: ModelRegistry, model: str, keys: ModelKeys) -> None:
    path = signature_of(registry, model)
    path.unlink()
    signed = model_signing("sign", "key", "--private_key", keys.path, "--signature", path, folder_of(registry, model))
    assert signed.returncode == 0, signed.stdout + signed.stderr
    registry.load(model)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_a_named_key_of_every_supported_curve_signs(
    tmp_path: Path, forest_files: dict[str, bytes], curve: ec.EllipticCurve
) -> None:
    private = ec.generate_private_key(curve)
    named = write_key(tmp_path / "mine.pem", private)
    keys = ModelKeys(tmp_path / "keys", GivenPins(), environment={KEY_FILE_VARIABLE: str(named)})
    registry = ModelRegistry(tmp_path / "models", signatures=ModelSignatures(tmp_path / "signatures", keys))
    model = registry.add(manifest_of(forest_files), forest_files)
    registry.load(model)
    assert keys.created is None
    assert list(keys.trusted()) == [key_id(private.public_key())]


def test_the_key_is_created_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    keys = ModelKeys(tmp_path / "keys", GivenPins(), environment={})
    assert keys.trusted() == {}
    private = keys.private
    assert keys.created == tmp_path / "keys" / "signing-key.pem"
    assert list(keys.trusted()) == [key_id(private.public_key())]
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    again = ModelKeys(tmp_path / "keys", keys.pins, environment={})
    assert key_id(again.private.public_key()) == key_id(private.public_key())
    assert again.created is None


def test_signatures_of_a_replaced_key_still_verify(
    registry: ModelRegistry, model: str, keys: ModelKeys, forest_files: dict[str, bytes]
) -> None:
    digest, target = keys.replacement()
    keys.pins.pin(digest)
    keys.take_over(target)
    assert not target.exists()
    assert registry.signatures is not None
    replaced = ModelKeys(keys.folder, keys.pins, environment={})
    later = ModelRegistry(registry.base, signatures=ModelSignatures(registry.signatures.base, replaced))
    other = later.add(manifest_of({"other.json": b"{}"}), {"other.json": b"{}"})
    assert len(key_files(Path(str(keys.folder)))) == 2
    later.load(model)
    later.load(other)


def test_a_key_is_not_trusted_because_its_file_lies_beside_the_models(keys: ModelKeys, tmp_path: Path) -> None:
    own = key_id(keys.private.public_key())
    stranger = ModelKeys(tmp_path / "stranger", GivenPins(), environment={})
    foreign = key_id(stranger.private.public_key())
    (public,) = key_files(Path(str(stranger.folder)))
    shutil.copy(public, Path(str(keys.folder)))
    (Path(str(keys.folder)) / f"{own[:15]}x.pub.pem").write_bytes(public.read_bytes())
    assert list(keys.trusted()) == [own]
    shutil.copy(public, Path(str(keys.folder)) / f"{own[:16]}.pub.pem")
    assert keys.trusted() == {}, f"{foreign} under the name of the pinned key"


def test_a_private_key_that_is_not_the_pinned_one_signs_nothing(keys: ModelKeys) -> None:
    pinned = key_digest(key_id(keys.private.public_key()))
    write_key(keys.path, ec.generate_private_key(ec.SECP256R1()))
    again = ModelKeys(keys.folder, keys.pins, environment={})
    with pytest.raises(SettingsError, match=f"the audit log pins {pinned}; restore that key, or replace it: nethical"):
        _ = again.private
    keys.path.unlink()
    with pytest.raises(SettingsError, match="is missing, and the audit log pins"):
        _ = again.private
    assert not keys.path.exists(), "no other key is made in its place"


def ed25519_key(path: Path) -> None:
    write_key(path, ed25519.Ed25519PrivateKey.generate())


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "cannot read the model signing key"),
        (lambda path: path.write_text("nothing"), "not an unencrypted private key in PEM form"),
        (ed25519_key, "must be an elliptic-curve key of secp256r1"),
        (lambda path: write_key(path, ec.generate_private_key(ec.SECP256K1())), "must be an elliptic-curve key"),
    ],
)
def test_a_named_key_that_cannot_sign_is_one_line(tmp_path: Path, write: Callable[[Path], Any], message: str) -> None:
    write(tmp_path / "mine.pem")
    keys = ModelKeys(tmp_path / "keys", GivenPins(), environment={KEY_FILE_VARIABLE: str(tmp_path / "mine.pem")})
    with pytest.raises(SettingsError, match=message) as caught:
        _ = keys.private
    assert "\n" not in str(caught.value)


def test_a_store_elsewhere_needs_a_named_key() -> None:
    from upath import UPath

    with pytest.raises(SettingsError, match=KEY_FILE_VARIABLE):
        _ = ModelKeys(UPath("memory://models/keys"), GivenPins(), environment={}).private


def test_a_damaged_public_key_is_named(registry: ModelRegistry, model: str, keys: ModelKeys) -> None:
    (public,) = key_files(Path(str(keys.folder)))
    public.write_text("nothing")
    with pytest.raises(IntegrityError, match=f"{public.name}: not a public key"):
        registry.load(model)


def unsigned(document: dict[str, Any]) -> None:
    document["dsseEnvelope"]["signatures"] = []


def other_payload_type(document: dict[str, Any]) -> None:
    document["dsseEnvelope"]["payloadType"] = "text/plain"


def other_bundle(document: dict[str, Any]) -> None:
    document["mediaType"] = "application/json"


def more_in_the_bundle(document: dict[str, Any]) -> None:
    document["verificationMaterial"]["tlogEntries"] = [{"logIndex": "1"}]


def another_key_in_the_envelope(document: dict[str, Any]) -> None:
    document["dsseEnvelope"]["signatures"][0]["keyid"] = "0" * 64


def no_key(document: dict[str, Any]) -> None:
    document["verificationMaterial"] = {}


def more_in_the_envelope(document: dict[str, Any]) -> None:
    document["dsseEnvelope"]["more"] = 1


def not_base64(document: dict[str, Any]) -> None:
    document["dsseEnvelope"]["payload"] = "%%%"


def another_statement(document: dict[str, Any]) -> None:
    payload = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    payload["predicate"]["resources"][0]["digest"] = "0" * 64
    document["dsseEnvelope"]["payload"] = base64.b64encode(canonical_json(payload)).decode()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (unsigned, "expected exactly one signature"),
        (other_payload_type, "holds 'text/plain', expected"),
        (other_bundle, "not a Sigstore bundle"),
        (no_key, "names no public key"),
        (more_in_the_envelope, "not a DSSE envelope"),
        (more_in_the_bundle, "more than an envelope and a public key"),
        (another_key_in_the_envelope, "names another key than the file does"),
        (not_base64, "is not base64"),
        (another_statement, "the signature does not verify"),
    ],
)
def test_a_changed_bundle_has_its_own_message(
    registry: ModelRegistry, model: str, damage: Callable[[dict[str, Any]], None], message: str
) -> None:
    path = signature_of(registry, model)
    document = json.loads(path.read_bytes())
    damage(document)
    path.write_bytes(canonical_json(document))
    with pytest.raises(IntegrityError, match=message) as caught:
        registry.load(model)
    assert path.name in str(caught.value)


def test_every_flipped_byte_of_a_signature_is_detected(registry: ModelRegistry, model: str) -> None:
    path = signature_of(registry, model)
    original = path.read_bytes()
    for position in range(0, len(original), 7):
        changed = bytearray(original)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(IntegrityError):
            registry.load(model)


def test_a_removed_model_takes_its_signature_along(registry: ModelRegistry, model: str) -> None:
    assert registry.remove_unreferenced(model, ("correlation",))
    assert not signature_of(registry, model).exists()


def test_only_the_keys_one_was_given_are_trusted(
    registry: ModelRegistry, model: str, keys: ModelKeys, forest_files: dict[str, bytes], tmp_path: Path
) -> None:
    assert registry.signatures is not None
    files = {**forest_files, MANIFEST: manifest_of(forest_files).to_bytes()}
    other = tmp_path / "other.pem"
    other.write_bytes(public_pem(ec.generate_private_key(ec.SECP256R1()).public_key()))
    (public,) = key_files(Path(str(keys.folder)))
    assert registry.signatures.verify(model, files, read_public_keys(public)) == key_id(keys.private.public_key())
    with pytest.raises(IntegrityError, match="is not trusted"):
        registry.signatures.verify(model, files, read_public_keys(other))
