"""How the gateway is started: what it imports, who may reach it, and the addresses it takes."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nethical_assets.core.ground.errors import SettingsError
from nethical_assets.serving import workers
from nethical_assets.serving.api_keys import KEYS_FILE_VARIABLE, KEYS_VARIABLE, KeyRing
from nethical_assets.serving.listening import is_loopback, listening_socket, reserve
from tests.command_line.programs import in_this_process
from tests.orchestration import clean_environment
from tests.serving.homes import ServedHome

NEVER = {"dagster", "sklearn", "scipy", "matplotlib", "kaggle"}
STARTED = """
import gc, json, os, runpy, sys
sys.argv = ["worker", "127.0.0.1", "0"]
import uvicorn
uvicorn.Server.run = lambda server, sockets: __import__("asyncio").run(begun(server))
async def begun(server):
    async with server.config.app.router.lifespan_context(server.config.app):
        from nethical_assets.serving.payloads import frame_of_arrow
        models = {f: s.state for f, s in server._gateway.champions.standings().items()}
        gc.disable()
        scorer = server._gateway.champions.current("logistic").scorer
        left_out = all(one is not scorer for one in gc.get_objects())
        print(json.dumps([models, sorted({name.partition(".")[0] for name in sys.modules}), left_out]))
    server.started = True
runpy.run_module("nethical_assets.serving", run_name="__main__")
"""


def test_starting_it_imports_no_orchestrator_and_nothing_that_trains(home: ServedHome) -> None:
    result = subprocess.run(
        [sys.executable, "-c", STARTED],
        env=clean_environment(home.environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    models, modules, left_out = json.loads(result.stdout)
    assert models["logistic"] == models["prompt_injection"] == "served"
    assert set(modules) & NEVER == set()
    assert "starlette" in modules
    assert left_out, "no collection looks through a model while requests wait"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("::", False), ("10.0.0.1", False)],
)
def test_who_reaches_an_address_is_known(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_others_are_let_in_with_keys_or_when_that_is_said(
    home: ServedHome, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    started: list[str] = []
    monkeypatch.setattr(workers, "reserve", lambda host, port: started.append(host) or reserve("127.0.0.1", 0))
    monkeypatch.setattr(workers._Workers, "_start", lambda self, failures: None)
    monkeypatch.setattr(workers._Workers, "watch", lambda self: None)
    for variable in (KEYS_VARIABLE, KEYS_FILE_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    run = in_this_process(monkeypatch, capsys)
    code, out, err = run("serve", "--host", "0.0.0.0")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "--allow-anonymous" in err
    assert started == []
    assert run("serve", "--host", "0.0.0.0", "--allow-anonymous")[0] == 0
    assert run("serve", "--port", "0")[0] == 0
    file = tmp_path / "keys.json"
    code, key, err = run("serve", "keys", "new", "--families", "logistic", "--file", str(file))
    assert (code, key.strip() in err) == (0, False)
    monkeypatch.setenv(KEYS_FILE_VARIABLE, str(file))
    assert run("serve", "--host", "0.0.0.0")[0] == 0
    assert started == ["0.0.0.0", "127.0.0.1", "0.0.0.0"]
    monkeypatch.setenv(KEYS_FILE_VARIABLE, str(tmp_path / "absent.json"))
    code, _, err = run("serve")
    assert (code, len(err.splitlines())) == (2, 1)


def test_a_key_is_printed_once(
    home: ServedHome, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run, file = in_this_process(monkeypatch, capsys), tmp_path / "keys.json"
    new = ("serve", "keys", "new", "--file", str(file))
    code, out, err = run(*new, "--families", "logistic, anomaly", "--expires", "2099-01-01", "--note", "mine", "--json")
    document = json.loads(out)
    assert (code, document["families"], err) == (0, ["logistic", "anomaly"], "")
    kept = json.loads(file.read_text())["keys"][0]
    assert (kept["id"], kept["note"], kept["expires"]) == (document["id"], "mine", "2099-01-01T00:00:00Z")
    assert document["key"] not in file.read_text()
    keys = KeyRing({KEYS_FILE_VARIABLE: str(file)})
    assert keys.required
    for wrong in (["--families", "nobody"], ["--families", ","], ["--families", "*", "--expires", "soon"]):
        code, out, err = run(*new, *wrong)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert len(json.loads(file.read_text())["keys"]) == 1


def test_a_port_that_another_gateway_shares_is_in_use() -> None:
    with reserve("127.0.0.1", 0) as reserved:
        port = reserved.getsockname()[1]
        with listening_socket("127.0.0.1", port) as first, listening_socket("127.0.0.1", port) as second:
            for one in (first, second):
                one.listen()
            with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{port}"):
                reserve("127.0.0.1", port)
            with socket.create_connection(("127.0.0.1", port), timeout=5):
                pass
    with reserve("127.0.0.1", port):
        pass
    with pytest.raises(SettingsError, match="no address"):
        reserve("not an address", 1)


def test_what_an_ended_worker_left_damaged_is_said_and_ends_nothing(home: ServedHome, tmp_path: Path) -> None:
    said: list[str] = []
    gateway = workers._Workers(home.settings, "127.0.0.1", 0, tmp_path, said.append)
    gateway._command = [sys.executable, "-S", "-c", ""]
    with gateway.running(2):
        for worker in gateway._workers[:]:
            (tmp_path / f"counter_{worker.process.pid}.db").write_bytes(b"")
            assert gateway._ended(worker) == 0
    assert len(said) == 2 and all("damaged" in one and "counter_" in one for one in said)
