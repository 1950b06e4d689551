"""Metrics on their way: a file that is replaced as a whole, a Pushgateway that is there, gone, or refuses."""

from __future__ import annotations

import base64
import http.server
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nethical_assets.core.ground.errors import InputFileError, SettingsError
from nethical_assets.operations import declared_metrics as metrics
from nethical_assets.operations import exposition
from nethical_assets.operations.declared_metrics import Collected
from nethical_assets.operations.exposition import PASSWORD_VARIABLE, USER_VARIABLE, PushError

SECRET = "s3cret-of-the-pushgateway"


def collected(leaves: int = 5) -> Collected:
    found = Collected()
    found.set(metrics.LEAVES, leaves)
    found.set(metrics.DECISIONS, 2, 'a"b\n\\', "promoted")
    return found


def test_the_text_has_help_type_and_escaped_labels() -> None:
    text = exposition.text(collected()).decode()
    assert "# HELP nethical_audit_leaves Signed leaves of the audit log.\n# TYPE nethical_audit_leaves gauge\n" in text
    assert 'nethical_release_decisions_total{family="a\\"b\\n\\\\",verdict="promoted"} 2.0\n' in text
    assert "_created" not in text, "when it was collected is not when it began"


def test_no_name_is_given_twice_and_each_follows_the_conventions() -> None:
    names = [metric.name for metric in metrics.METRICS]
    assert len(names) == len(set(names))
    for metric in metrics.METRICS:
        assert metric.name.startswith("nethical_") and metric.help.endswith(".")
        assert not metric.name.startswith("nethical_gateway_"), "which the gateway answers itself"
        assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket"))


def test_a_textfile_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "nethical.prom"
    exposition.check_textfile(path)
    exposition.write_textfile(collected(5), path)
    assert b"nethical_audit_leaves 5.0\n" in path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space"):
            exposition.write_textfile(collected(6), path)
    assert b"nethical_audit_leaves 5.0\n" in path.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("name", "said"), [("nethical.txt", "end in .prom"), ("gone/nethical.prom", "no such folder")])
def test_a_file_that_the_node_exporter_would_not_read_is_refused(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(InputFileError, match=said):
        exposition.check_textfile(tmp_path / name)


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{SECRET}@localhost:9091",
        f"http://localhost:9091/?token={SECRET}",
        f"localhost:9091/{SECRET}",
        f"ftp://localhost/{SECRET}",
        "http://[::1",
        f"http://localhost:port{SECRET}",
        "http://",
        "",
    ],
)
def test_an_address_with_a_secret_or_that_is_none_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        exposition.check_address(url)
    assert SECRET not in str(caught.value)


@dataclass
class Pushgateway:
    """What a local double was sent, and what it answers."""

    url: str = ""
    status: int = 202
    requests: list[tuple[str, str, bytes, str]] = field(default_factory=list)


@pytest.fixture
def pushgateway() -> Iterator[Pushgateway]:
    double = Pushgateway()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            double.requests.append((self.command, self.path, body, self.headers.get("authorization", "")))
            self.send_response(double.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    double.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield double
    server.shutdown()
    server.server_close()


def test_a_push_replaces_what_the_pushgateway_has_of_this_machine(pushgateway: Pushgateway) -> None:
    exposition.check_address(pushgateway.url)
    exposition.push(collected(), pushgateway.url, environment={})
    ((method, path, body, secret),) = pushgateway.requests
    assert (method, secret, body) == ("PUT", "", exposition.text(collected()))
    assert path.startswith("/metrics/job/nethical_pipeline/instance/")


def test_user_and_password_come_from_the_environment_and_are_shown_nowhere(pushgateway: Pushgateway) -> None:
    environment = {USER_VARIABLE: "pipeline", PASSWORD_VARIABLE: SECRET}
    exposition.push(collected(), pushgateway.url, environment=environment)
    assert pushgateway.requests[0][3] == "Basic " + base64.b64encode(f"pipeline:{SECRET}".encode()).decode()
    pushgateway.status = 401
    with pytest.raises(PushError, match="was not told: status 401") as caught:
        exposition.push(collected(), pushgateway.url, environment=environment)
    assert SECRET not in str(caught.value) and caught.value.exit_code == 1
    with pytest.raises(SettingsError, match="set both"):
        exposition.push(collected(), pushgateway.url, environment={USER_VARIABLE: "pipeline"})


@pytest.mark.parametrize("status", [400, 500, 302])
def test_what_the_pushgateway_refuses_is_one_line(pushgateway: Pushgateway, status: int) -> None:
    pushgateway.status = status
    with pytest.raises(PushError, match=rf"127\.0\.0\.1:[0-9]+ was not told: status {status}"):
        exposition.push(collected(), pushgateway.url, environment={})


def test_a_pushgateway_that_is_not_there_is_one_line() -> None:
    with pytest.raises(PushError, match="was not told: it cannot be reached"):
        exposition.push(collected(), "http://127.0.0.1:1", environment={})
