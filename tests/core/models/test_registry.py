"""The model registry: verified loading, promotion, and crashes between any two writes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nethical_assets.core.ground.digests import canonical_json, digest_bytes
from nethical_assets.core.ground.errors import BusyError, IntegrityError
from nethical_assets.core.models.registry import MANIFEST, ModelManifest, ModelPointer, ModelRegistry

from .conftest import files_of, manifest_of, pointer_of, promote

Adder = Callable[..., str]
NEW = "2026-11-08T00:00:00.000000+00:00"


def folder_of(registry: ModelRegistry, digest: str) -> Path:
    return Path(str(registry.base)) / "store" / digest.partition(":")[2]


def store_by_hand(registry: ModelRegistry, document: Any, files: dict[str, bytes]) -> str:
    """What an attacker who can write the folder does: a model whose manifest matches its own digest."""
    data = canonical_json(document)
    digest = digest_bytes(data)
    folder = folder_of(registry, digest)
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_bytes(data)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return digest


def test_a_model_is_loaded_as_it_was_stored(registry: ModelRegistry, add: Adder) -> None:
    digest = add(1)
    manifest, files = registry.load(digest)
    assert files == files_of(1)
    assert manifest == manifest_of(files_of(1))
    assert digest_bytes(manifest.to_bytes()) == digest


def test_the_same_model_is_stored_once(registry: ModelRegistry, add: Adder) -> None:
    digest = add(1)
    path = folder_of(registry, digest) / "model.json"
    before = path.stat()
    assert add(1) == digest
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def changed_byte(folder: Path) -> None:
    data = bytearray((folder / "weights.safetensors").read_bytes())
    data[50] ^= 1
    (folder / "weights.safetensors").write_bytes(data)


def symbolic_link(folder: Path) -> None:
    shutil.move(folder / "model.json", folder.parent / "elsewhere.json")
    (folder / "model.json").symlink_to(folder.parent / "elsewhere.json")


def named_pipe(folder: Path) -> None:
    (folder / "model.json").unlink()
    os.mkfifo(folder / "model.json")


def swapped_files(folder: Path) -> None:
    (folder / "model.json").rename(folder / "kept")
    (folder / "weights.safetensors").rename(folder / "model.json")
    (folder / "kept").rename(folder / "weights.safetensors")


def changed_manifest(folder: Path) -> None:
    document = json.loads((folder / MANIFEST).read_bytes())
    document["training"]["seed"] = 43
    (folder / MANIFEST).write_bytes(canonical_json(document))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed byte": (changed_byte, r"weights\.safetensors: bytes do not match"),
    "truncated file": (lambda f: (f / "model.json").write_bytes(b""), r"model\.json: bytes do not match"),
    "missing file": (lambda f: (f / "model.json").unlink(), r"differ from the manifest: model\.json"),
    "extra file": (lambda f: (f / "run_me.py").write_text(""), r"differ from the manifest: run_me\.py"),
    "extra hidden file": (lambda f: (f / ".hidden").write_text(""), r"differ from the manifest: \.hidden"),
    "extra folder": (lambda f: (f / "more").mkdir(), r"differ from the manifest: more"),
    "symbolic link": (symbolic_link, r"model\.json: is a symbolic link"),
    "named pipe": (named_pipe, r"model\.json: is not a regular file"),
    "swapped files": (swapped_files, r"bytes do not match"),
    "changed manifest": (changed_manifest, r"does not match the model digest"),
    "missing manifest": (lambda f: (f / MANIFEST).unlink(), r"is not in the store"),
    "missing folder": (shutil.rmtree, r"is not in the store; restore it from a backup"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_model_is_refused_and_says_what_is_wrong(registry: ModelRegistry, add: Adder, damage: str) -> None:
    digest = add(1)
    add(2)
    apply, message = DAMAGE[damage]
    apply(folder_of(registry, digest))
    with pytest.raises(IntegrityError, match=message):
        registry.load(digest)
    registry.load(add(2))


@pytest.mark.parametrize("damage", ["changed byte", "truncated file", "missing file", "changed manifest",
                                    "missing manifest", "missing folder"])  # fmt: skip
def test_storing_a_damaged_model_again_mends_it(registry: ModelRegistry, add: Adder, damage: str) -> None:
    digest = add(1)
    DAMAGE[damage][0](folder_of(registry, digest))
    assert add(1) == digest
    assert registry.load(digest)[1] == files_of(1)


def test_another_model_s_whole_manifest_is_refused(registry: ModelRegistry, add: Adder) -> None:
    first, second = add(1), add(2)
    shutil.rmtree(folder_of(registry, first))
    shutil.copytree(folder_of(registry, second), folder_of(registry, first))
    with pytest.raises(IntegrityError, match="does not match the model digest"):
        registry.load(first)


@pytest.mark.parametrize("name", ["../outside.json", "/etc/hostname", "..", ".", "", ".hidden", "a/b", MANIFEST])
def test_a_file_name_that_leaves_the_folder_is_refused(registry: ModelRegistry, name: str) -> None:
    content = b"outside"
    document = {**json.loads(manifest_of({}).to_bytes()), "files": {name: digest_bytes(content)}}
    digest = store_by_hand(registry, document, {})
    (folder_of(registry, digest).parent / "outside.json").write_bytes(content)
    with pytest.raises(IntegrityError, match="is refused: a plain file name is expected"):
        registry.load(digest)
    with pytest.raises(IntegrityError, match="is refused"):
        registry.add(manifest_of({name: content}), {name: content})


@pytest.mark.parametrize("document", [[], {}, {"family": "logistic"}, "text", {"files": {"a": 1}}], ids=str)
def test_a_manifest_of_another_form_is_refused(registry: ModelRegistry, document: Any) -> None:
    digest = store_by_hand(registry, document, {})
    with pytest.raises(IntegrityError, match="not a model manifest"):
        registry.load(digest)


def test_a_manifest_with_a_list_of_files_is_refused(registry: ModelRegistry) -> None:
    document = {**json.loads(manifest_of({}).to_bytes()), "files": ["model.json"]}
    digest = store_by_hand(registry, document, {"model.json": b""})
    with pytest.raises(IntegrityError, match="not a model manifest"):
        registry.load(digest)


def test_a_malformed_digest_cannot_leave_the_store(registry: ModelRegistry) -> None:
    with pytest.raises(IntegrityError, match="malformed digest"):
        registry.load("sha256:../../current")


def test_promotion_replaces_and_archives_the_champion(registry: ModelRegistry, add: Adder) -> None:
    old, new = pointer_of(add(1)), pointer_of(add(2), version="1.0.1", decided_at=NEW, compared_with=add(1))
    assert registry.champion("logistic") is None
    promote(registry, old)
    assert registry.champion("logistic") == old
    assert registry.archived("logistic") == []
    registry.set_candidate(new)
    promote(registry, new)
    assert registry.champion("logistic") == new
    assert registry.archived("logistic") == [replace(old, replaced_at=NEW)]
    assert registry.candidates("logistic") == []
    assert registry.load(old.model)[1] == files_of(1), "the replaced model is kept"


def test_promoting_the_champion_again_archives_nothing(registry: ModelRegistry, add: Adder) -> None:
    old = pointer_of(add(1))
    promote(registry, old)
    promote(registry, replace(old, decided_at=NEW))
    assert registry.archived("logistic") == []
    assert registry.champion("logistic") == replace(old, decided_at=NEW)


def test_families_do_not_touch_each_other(registry: ModelRegistry, add: Adder) -> None:
    promote(registry, pointer_of(add(1)))
    promote(registry, pointer_of(add(2), family="anomaly"))
    assert registry.champion("logistic") == pointer_of(add(1))
    assert registry.archived("anomaly") == registry.archived("logistic") == []


def test_a_replaced_champion_can_be_brought_back(registry: ModelRegistry, add: Adder) -> None:
    promote(registry, pointer_of(add(1)))
    promote(registry, pointer_of(add(2), version="1.0.1", decided_at=NEW))
    (archived,) = registry.archived("logistic")
    back = replace(archived, replaced_at="", decided_at="2026-11-09T00:00:00.000000+00:00")
    promote(registry, back)
    assert registry.champion("logistic") == back
    assert registry.load(back.model)[1] == files_of(1)
    assert add(2) in {pointer.model for pointer in registry.archived("logistic")}, "and the other one after it"


def test_candidates_and_archive_are_listed_oldest_first(registry: ModelRegistry, add: Adder) -> None:
    days = [3, 1, 2]
    for number, day in enumerate(days):
        registry.set_candidate(pointer_of(add(number), decided_at=f"2026-11-0{day}T00:00:00+00:00"))
    assert [pointer.decided_at[9] for pointer in registry.candidates("logistic")] == ["1", "2", "3"]
    registry.remove_candidate("logistic", add(1))
    registry.remove_candidate("logistic", add(1))
    assert registry.candidate("logistic", add(1)) is None
    assert len(registry.candidates("logistic")) == 2


@pytest.mark.parametrize("promoted", [True, False])
def test_a_card_is_noted_where_the_model_is(registry: ModelRegistry, add: Adder, promoted: bool) -> None:
    pointer, card = pointer_of(add(1)), digest_bytes(b"card")
    (registry.set_champion if promoted else registry.set_candidate)(pointer)
    registry.attach_card(pointer, card)
    found = registry.champion("logistic") if promoted else registry.candidate("logistic", pointer.model)
    assert found == replace(pointer, card=card)
    assert (registry.champion("logistic") is not None) == promoted


def test_a_damaged_pointer_is_one_line(registry: ModelRegistry, add: Adder) -> None:
    promote(registry, pointer_of(add(1)))
    path = Path(str(registry.base)) / "current" / "logistic.json"
    for content, message in ((b"{", "not a JSON document"), (b'{"model": 1}', "not a model pointer"),
                             (b"[]", "not a model pointer")):  # fmt: skip
        path.write_bytes(content)
        with pytest.raises(IntegrityError, match=message):
            registry.champion("logistic")


def test_the_registry_is_held_by_one_process(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nethical_assets.core.models.registry._LOCK_SECONDS", 0.05)
    with registry.locked(), pytest.raises(BusyError, match="the model registry"), registry.locked():
        pytest.fail("held twice")


def test_a_registry_at_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    registry = ModelRegistry(f"memory://{tmp_path.name}/models")
    with registry.locked():
        first = registry.add(manifest_of(files_of(1)), files_of(1))
        promote(registry, pointer_of(first))
        promote(registry, pointer_of(registry.add(manifest_of(files_of(2)), files_of(2)), decided_at=NEW))
    assert registry.load(first)[1] == files_of(1)
    assert [pointer.model for pointer in registry.archived("logistic")] == [first]
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]


DRIVER = """
import os, shutil, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.core.models.conftest import files_of, manifest_of, pointer_of, promote
from nethical_assets.core.models.registry import ModelRegistry

def release(home, moment="", survived=0):
    left, real = [survived], getattr(os, moment) if moment else None
    def deadly(*arguments, **options):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    if moment:
        setattr(os, moment, deadly)
    registry = ModelRegistry(home)
    with registry.locked():
        new = pointer_of(
            registry.add(manifest_of(files_of(2)), files_of(2)), version="1.0.1", decided_at="2026-11-08T00:00:00+00:00"
        )
        registry.set_candidate(new)
        promote(registry, new)

def in_child(*arguments):
    child = os.fork()
    if child == 0:
        release(*arguments)
        os._exit(0)
    return os.waitpid(child, 0)[1]

root, moment = Path(sys.argv[1]), sys.argv[2]
for turn in range(100):
    home, continued = root / f"{turn}", root / f"{turn}-continued"
    shutil.copytree(root / "start", home)
    status = in_child(home, moment, turn)
    shutil.copytree(home, continued)
    if in_child(continued):
        sys.exit(f"{continued}: could not be continued")
    if status == 0:
        break
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
print(turn)
"""


@pytest.mark.parametrize(("moment", "writes"), [("fsync", 12), ("replace", 6), ("unlink", 1)])
def test_kill_9_at_every_write_leaves_a_champion_and_the_next_run_finishes(
    tmp_path: Path, moment: str, writes: int
) -> None:
    registry = ModelRegistry(tmp_path / "start")
    old = pointer_of(registry.add(manifest_of(files_of(1)), files_of(1)))
    promote(registry, old)
    command = [sys.executable, "-c", DRIVER, str(tmp_path), moment, str(Path(__file__).parents[3])]
    driver = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (driver.stdout, driver.returncode) == (f"{writes}\n", 0), driver.stderr
    for turn in range(writes + 1):
        registry = ModelRegistry(tmp_path / f"{turn}")
        champion = registry.champion("logistic")
        assert champion is not None
        number = 1 if champion.model == old.model else 2
        assert registry.load(champion.model)[1] == files_of(number)
        assert number == 1 or old.model in {pointer.model for pointer in registry.archived("logistic")}
        for pointer in [*registry.candidates("logistic"), *registry.archived("logistic")]:
            registry.load(pointer.model)
        registry = ModelRegistry(tmp_path / f"{turn}-continued")
        champion = registry.champion("logistic")
        assert champion is not None
        assert (champion.version, registry.load(champion.model)[1]) == ("1.0.1", files_of(2))
        assert [pointer.model for pointer in registry.archived("logistic")] == [old.model]
        assert registry.candidates("logistic") == []


def test_manifest_and_pointer_round_trip() -> None:
    pointer = pointer_of(digest_bytes(b"model"), replaced_at=NEW, card=digest_bytes(b"card"))
    assert ModelPointer.from_json(json.loads(json.dumps(pointer.to_json()))) == pointer
    manifest = manifest_of(files_of(1))
    assert ModelManifest(**{**json.loads(manifest.to_bytes()), "input_columns": ("a", "b")}) == manifest
