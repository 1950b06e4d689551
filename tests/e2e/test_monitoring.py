"""``deploy/monitoring`` with the real promtool and a real Prometheus, which scrapes a real gateway and a real home.

What belongs here: what only these programs can tell. What does not: names and structure (``tests/test_monitoring``).
"""

from __future__ import annotations

import http.client
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Once
from tests.e2e.platform import NETHICAL, Platform, running, wait_until
from tests.orchestration import clean_environment, environment_of
from tests.serving.conftest import _build as build_served
from tests.serving.homes import signal_records
from tests.test_monitoring import FOLDER, expressions

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        shutil.which("prometheus") is None or shutil.which("promtool") is None,
        reason="Prometheus is not installed (apt-get install prometheus)",
    ),
]
KEY = f"nk_{12 * '0'}_{43 * 'k'}"
FAMILY = "logistic"


def promtool(*arguments: str, given: str | None = None) -> str:
    """What promtool says; it has to be content."""
    result = subprocess.run(
        ["promtool", *arguments],
        cwd=FOLDER / "tests",
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def test_promtool_takes_the_configuration_and_every_alert_fires_where_it_should(tmp_path: Path) -> None:
    promtool("check", "config", str(FOLDER / "prometheus.yml"))
    trials = sorted(path.name for path in (FOLDER / "tests").glob("*.yml"))
    assert promtool("test", "rules", *trials).count("SUCCESS") == len(trials) > 0
    # What panels ask is looked at as if rules asked it.
    asked = [
        {"record": f"asked:{number}", "expr": re.sub(r"\$family", ".*", expression.replace("$__rate_interval", "5m"))}
        for number, expression in enumerate(expressions().values())
    ]
    rules = tmp_path / "asked.yml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": asked}]}))
    assert f"{len(asked)} rules found" in promtool("check", "rules", str(rules))


@dataclass
class Watched:
    """A gateway that asks for a key, a home, and the Prometheus that watches both."""

    gateway: subprocess.Popen[bytes]
    gateway_port: int
    prometheus: str
    textfile: Path

    def ask(self, path: str, **query: str) -> Any:
        """The data of an answer of Prometheus."""
        url = f"{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def value(self, expression: str) -> float | None:
        """The only value of an expression; None where it has none."""
        found = self.ask("query", query=expression)["result"]
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def targets(self) -> dict[str, tuple[str, str]]:
        """Health and last error of the target of each job."""
        active = self.ask("targets")["activeTargets"]
        return {one["labels"]["job"]: (one["health"], one["lastError"]) for one in active}

    def from_gateway(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway_port, timeout=30)
        headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A folder that is served as the node exporter serves what is written into its own, and the port."""
    folder = tmp_path / "textfiles"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, server.server_address[1]
    server.shutdown()
    server.server_close()


def configured(folder: Path, gateway: int, textfiles: int) -> Path:
    """The configuration of the project with these targets, looked at every second, and the key in a file."""
    document = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    document["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    document["rule_files"] = [str(FOLDER / "rules" / "*.yml")]
    scraped, written = document["scrape_configs"]
    key = folder / "gateway.key"
    key.write_text(KEY)
    scraped["static_configs"][0]["targets"] = [f"127.0.0.1:{gateway}"]
    written["static_configs"][0]["targets"] = [f"127.0.0.1:{textfiles}"]
    written["metrics_path"] = "/nethical.prom"
    without_key = {**scraped, "job_name": "without-a-key"}
    scraped["authorization"] = {"credentials_file": str(key)}
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump({**document, "scrape_configs": [scraped, written, without_key]}))
    return path


@pytest.fixture
def watched(once: Once, tmp_path: Path, files: tuple[Path, int]) -> Iterator[Watched]:
    shutil.copytree(once("served", build_served) / "state", tmp_path / "state", symlinks=True)
    environment = {**clean_environment(environment_of(tmp_path / "state")), "NETHICAL_API_KEYS": f"{KEY}={FAMILY}"}
    textfile, log, own_log = files[0] / "nethical.prom", tmp_path / "gateway.log", tmp_path / "prometheus.log"
    with running([NETHICAL, "serve", "--port", "0"], environment, log) as gateway:
        command = [NETHICAL, "metrics", "--textfile", str(textfile)]
        collected = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert (collected.returncode, collected.stdout, collected.stderr) == (0, "", "")

        def port() -> int:
            assert gateway.poll() is None, log.read_text()
            found = re.search(r"gateway is at http://127\.0\.0\.1:(\d+)", log.read_text())
            return int(found[1]) if found else 0

        gateway_port, own_port = wait_until(port, 120, "the address"), free_port()
        prometheus = [
            "prometheus",
            f"--config.file={configured(tmp_path, gateway_port, files[1])}",
            f"--storage.tsdb.path={tmp_path / 'series'}",
            f"--web.listen-address=127.0.0.1:{own_port}",
        ]
        with running(prometheus, {**clean_environment({}), "NO_PROXY": "*"}, own_log):
            yield Watched(gateway, gateway_port, f"http://127.0.0.1:{own_port}", textfile)


def test_a_real_prometheus_watches_a_real_gateway_and_a_home_and_tells_when_it_dies(watched: Watched) -> None:
    health = wait_until(
        lambda: [found for found in [watched.targets()] if len(found) == 3 and "unknown" not in str(found)], 30, "looks"
    )[0]
    assert health["nethical-gateway"] == health["nethical-pipeline"] == ("up", "")
    assert health["without-a-key"][0] == "down" and "401" in health["without-a-key"][1]

    record = json.dumps(signal_records(1)[0]).encode()
    assert {watched.from_gateway(f"/v1/score/{FAMILY}", record)[0] for _ in range(20)} == {200}
    for output in (watched.from_gateway("/metrics")[1].decode(), watched.textfile.read_text()):
        assert output.count("# HELP") > 6
        assert promtool("check", "metrics", given=output) == "", "it finds nothing to say"
    wait_until(lambda: (watched.value("sum(job:nethical_gateway_requests:rate5m)") or 0) > 0, 30, "a rate")
    assert watched.value(f'nethical_champion_verified{{family="{FAMILY}"}}') == 1.0
    assert watched.value("nethical_audit_head_verified") == 1.0
    evaluated = [rule for group in watched.ask("rules")["groups"] for rule in group["rules"]]
    assert len(evaluated) > 30
    wrong = [(rule["name"], rule.get("lastError")) for rule in evaluated if rule["health"] == "err"]
    assert wrong == []

    def standing(alert: str) -> str:
        groups = watched.ask("rules", type="alert")["groups"]
        return str(next(rule["state"] for group in groups for rule in group["rules"] if rule["name"] == alert))

    assert standing("GatewayDown") == "inactive"
    os.kill(watched.gateway.pid, signal.SIGKILL)
    watched.gateway.wait(30)
    wait_until(lambda: standing("GatewayDown") in ("pending", "firing"), 30, "the alert")
    assert watched.value('up{job="nethical-gateway"}') == 0.0
    assert watched.value('up{job="nethical-pipeline"}') == 1.0


def test_what_the_daemon_was_last_heard_of_is_told(platform: Platform) -> None:
    def told() -> str:
        command = [NETHICAL, "metrics", "--daemon"]
        found = subprocess.run(
            command, env=platform.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert found.returncode == 0, found.stderr
        return found.stdout if 'tick_timestamp_seconds{name="check_alert_sensor"}' in found.stdout else ""

    text = wait_until(told, 120, "a look of the sensor")
    assert 'nethical_daemon_heartbeat_timestamp_seconds{daemon="sensor"}' in text
    assert 'nethical_collection_failed{store="orchestrator"} 0.0' in text
