"""Which model is served: verified, followed without a gap, and kept where the next one cannot be verified."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.delivery.expected import promotion_payload, promotion_subjects
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.models.registry import ModelPointer
from nethical_assets.home.changes import place_pointer
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.workspace import Workspace
from nethical_assets.serving.application import application
from nethical_assets.serving.champions import Champions, Standing
from tests.across.platform import flip
from tests.serving.conftest import make_gateway, post, serving
from tests.serving.homes import SIGNALS, ServedHome, promote, signal_records

FAMILY = "logistic"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def champions(home: ServedHome, clock: Clock) -> Champions:
    """The champions of the home, looked at once."""
    made = Champions(home.settings, family_names(), clock=clock)
    made.look()
    return made


def look(champions: Champions) -> Standing:
    champions.look()
    return champions.standing(FAMILY)


def store_of(home: ServedHome, model: str) -> Path:
    return home.settings.home / "models" / "store" / model.partition(":")[2]


def test_a_promotion_is_followed_and_a_rollback_too(home: ServedHome, champions: Champions) -> None:
    first, second = home.models[FAMILY]
    before = champions.current(FAMILY)
    assert before is not None and before.digest == first
    home.promote(FAMILY, 1, "2.0.0")
    after = look(champions)
    assert (after.state, after.model and after.model.digest, after.model and after.model.version) == (
        "served", second, "2.0.0",
    )  # fmt: skip
    assert before.scorer.score(SIGNALS).score != (after.model and after.model.scorer.score(SIGNALS).score)
    home.promote(FAMILY, 0, "1.0.0")
    assert champions.standing(FAMILY) is after, "nothing changes between two looks"
    assert look(champions).model != after.model


def test_the_same_model_again_is_not_loaded_again(
    home: ServedHome, champions: Champions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Champions, "_loaded", None)
    before = champions.current(FAMILY)
    home.promote(FAMILY, 0, "1.0.1")
    after = look(champions).model
    assert before is not None and after is not None
    assert (after.scorer, after.version) == (before.scorer, "1.0.1")


def edited(home: ServedHome) -> None:
    pointer = json.loads(home.pointer(FAMILY).read_text())
    home.pointer(FAMILY).write_text(json.dumps({**pointer, "model": home.models[FAMILY][1]}))


def damaged(home: ServedHome) -> None:
    flip(max(store_of(home, home.models[FAMILY][1]).glob("*.safetensors")))
    home.promote(FAMILY, 1, "2.0.0")


def unsigned(home: ServedHome) -> None:
    signatures = Workspace(home.settings, CycleOptions(), "spoils").registry.signatures
    assert signatures is not None
    signatures.remove(home.models[FAMILY][1])
    home.promote(FAMILY, 1, "2.0.0")


def gone(home: ServedHome) -> None:
    home.pointer(FAMILY).unlink()


def garbled(home: ServedHome) -> None:
    home.pointer(FAMILY).write_bytes(b"\xff")


def edited_elsewhere(home: ServedHome) -> None:
    pointer = json.loads(home.pointer(FAMILY).read_text())
    home.pointer(FAMILY).write_text(json.dumps({**pointer, "version": "9.9.9"}))


SPOILT = [edited, damaged, unsigned, gone, garbled, edited_elsewhere]


@pytest.mark.parametrize("spoil", SPOILT)
def test_what_cannot_be_verified_is_not_served_and_the_last_one_goes_on(
    spoil: Callable[[ServedHome], None], home: ServedHome, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(home) as client:
        model = home.models[FAMILY][0]
        spoil(home)
        deadline = time.monotonic() + 30
        while client.get("/readyz").json()["families"][FAMILY]["state"] != "held":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        answer = client.post(f"/v1/score/{FAMILY}", json=SIGNALS).json()
        assert (answer["model"], answer["version"]) == (model, "1.0.0")
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["families"][FAMILY]) == (200, {"state": "held", "model": model})
        told = next(one for one in client.get("/v1/models").json()["models"] if one["family"] == FAMILY)
        assert told["reason"] and str(home.settings.home) not in told["reason"]
        assert 'nethical_gateway_champion_verified{family="logistic"} 0.0' in client.get("/metrics").text
    assert len([one for one in caplog.messages if "could not be verified, 1.0.0 goes on" in one]) == 1


@pytest.mark.parametrize("spoil", SPOILT)
def test_nothing_is_served_where_nothing_was_verified(spoil: Callable[[ServedHome], None], home: ServedHome) -> None:
    spoil(home)
    with serving(home) as client:
        answer = client.post(f"/v1/score/{FAMILY}", json=SIGNALS)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unverified")
        assert answer.headers["retry-after"] == "1"
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        assert client.post("/v1/score/prompt_injection", json={"text": "hello"}).status_code == 200


def test_what_was_mended_is_served_although_the_pointer_did_not_change(
    home: ServedHome, champions: Champions, clock: Clock
) -> None:
    file = max(store_of(home, home.models[FAMILY][1]).glob("*.safetensors"))
    before = file.read_bytes()
    damaged(home)
    assert look(champions).state == "held"
    file.write_bytes(before)
    assert look(champions).state == "held", "it is not looked at all the time"
    clock.now += 1.0
    assert look(champions).state == "served"


def test_pauses_between_looks_at_what_is_wrong_grow_and_end(
    home: ServedHome, champions: Champions, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited(home)
    looks: list[float] = []
    judged = Champions._judged

    def counted(self: Champions, family: str, before: Standing) -> Standing:
        looks.append(clock.now)
        return judged(self, family, before)

    monkeypatch.setattr(Champions, "_judged", counted)
    while clock.now < 160:
        champions.look()
        clock.now += 0.25
    assert looks[0] == 100.0
    assert 5 < len(looks) < 15
    home.promote(FAMILY, 1, "2.0.0")
    assert look(champions).state == "served", "a pointer that changed is looked at at once"


def test_a_promotion_whose_process_died_before_the_pointer_is_completed(
    home: ServedHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the leaf and the pointer: the leaf counts, and whoever comes next moves the pointer."""
    workspace = Workspace(home.settings, CycleOptions(), "dies")
    known = workspace.registry.champion(FAMILY)
    assert known is not None
    pointer: ModelPointer = replace(known, model=home.models[FAMILY][1], version="2.0.0", run_id="dies")

    class KilledError(Exception):
        pass

    def killed(change: Any) -> None:
        raise KilledError

    monkeypatch.setattr(workspace.acts, "_apply", killed)
    with pytest.raises(KilledError):
        workspace.act(
            EventType.MODEL_PROMOTED,
            promotion_subjects(pointer),
            place_pointer(pointer, "current"),
            parents=[pointer.decision],
            payload=promotion_payload(pointer),
        )
    workspace.end()
    champions = Champions(home.settings, family_names())
    assert look(champions).state == "served"
    assert champions.standing(FAMILY).model == replace(champions.standing(FAMILY).model, digest=pointer.model)


def test_a_home_without_models_is_served_once_there_is_one(home: ServedHome) -> None:
    kept = home.pointer(FAMILY).read_bytes()
    empty = home.settings.home.with_name("empty")
    settings = replace(home.settings, home=empty)
    champions = Champions(settings, family_names())
    champions.look()
    assert {standing.state for standing in champions.standings().values()} == {"none"}
    assert not champions.ready()
    shutil.copytree(home.settings.home, empty)
    assert kept == (empty / "models" / "current" / f"{FAMILY}.json").read_bytes()
    champions.look()
    assert champions.ready()


def test_it_is_told_when_other_models_are_served_and_then_alone(
    home: ServedHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway, swaps = make_gateway(home), []
    monkeypatch.setattr(gateway, "_swapped", lambda: swaps.append(gateway.champions.current(FAMILY)))
    for _ in range(2):
        gateway._look()
    home.promote(FAMILY, 1, "2.0.0")
    for _ in range(2):
        gateway._look()
    assert [model and model.digest for model in swaps] == home.models[FAMILY]
    gateway.close()


def test_a_look_never_ends_the_watching(
    home: ServedHome, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = make_gateway(home)

    def fails() -> None:
        raise ValueError("a secret value")

    monkeypatch.setattr(gateway.keys, "look", fails)
    gateway._look()
    assert "unexpected ValueError" in caplog.text and "secret" not in caplog.text
    gateway.close()


def test_every_answer_under_load_is_of_one_model(
    make_home: Callable[..., ServedHome], caplog: pytest.LogCaptureFixture
) -> None:
    """Swaps while requests of every form go on: none fails, and each has the scores of the digest that it names."""
    caplog.set_level(logging.ERROR)
    home = make_home(serving={"batches_in_flight_max": 100})
    family, models, records = FAMILY, home.models[FAMILY], signal_records(4)
    gateway = make_gateway(home)
    app = application(gateway)
    truth: dict[str, list[float]] = {}
    answers: list[Any] = []

    async def load() -> None:
        async with app.router.lifespan_context(app):

            async def ask(number: int, ending: threading.Event) -> None:
                while not ending.is_set():
                    at = number % len(records)
                    status, one = await post(app, f"/v1/score/{family}", records[at])
                    assert status == 200, one
                    answers.append(([at], [one], one))
                    status, many = await post(app, f"/v1/score/{family}", {"records": records})
                    assert status == 200, many
                    answers.append((range(len(records)), many["predictions"], many))

            def swap(ending: threading.Event) -> None:
                try:
                    for number in range(3):
                        home.promote(family, (number + 1) % len(models), f"{number + 2}.0.0")
                        deadline = time.monotonic() + 60
                        while (served := gateway.champions.current(family)) is None or (
                            served.version != f"{number + 2}.0.0"
                        ):
                            assert time.monotonic() < deadline
                            time.sleep(0.01)
                        truth[served.digest] = [served.scorer.score(record).score for record in records]
                finally:
                    ending.set()

            ending = threading.Event()
            swapping = asyncio.to_thread(swap, ending)
            await asyncio.gather(swapping, *(ask(number, ending) for number in range(3)))

    first = Champions(home.settings, family_names())
    first.look()
    served = first.current(family)
    assert served is not None
    truth[served.digest] = [served.scorer.score(record).score for record in records]
    asyncio.run(load())
    assert len(truth) == len(models)
    assert {document["model"] for _, _, document in answers} == set(truth)
    for places, predictions, document in answers:
        assert [one["score"] for one in predictions] == [truth[document["model"]][place] for place in places]
    logged = {(row.model, row.score) for row in home.logged()}
    assert logged == {(document["model"], one["score"]) for _, predictions, document in answers for one in predictions}
    assert len(home.logged()) == sum(len(predictions) for _, predictions, _ in answers)
    assert caplog.text == ""


def test_promote_in_these_tests_is_what_the_product_verifies(home: ServedHome) -> None:
    promote(home.settings, FAMILY, home.models[FAMILY][1], "2.0.0")
    found = Workspace(home.settings, CycleOptions(), "checks").evidence.champion(FAMILY)
    assert found is not None and found.version == "2.0.0"
