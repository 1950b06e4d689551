"""Kaggle through the real, unmodified client against a double: faults, refusals, resuming, silence."""

from __future__ import annotations

import logging
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nethical_assets.core.ground.errors import SourceUnavailableError
from nethical_assets.core.sources import kaggle_client
from nethical_assets.core.sources.archives import ExtractionLimits
from nethical_assets.core.sources.kaggle_source import KaggleSource, RetryPolicy
from nethical_assets.core.sources.source import FetchedFiles, Unchanged
from tests.core.conftest import CHECKOUT, csv_of, entry_of
from tests.core.sources.kaggle_double import KEY, TOKEN, point_client_at, wait_for, zip_of

CONTENT = random.Random(0).randbytes(400_000)
FILES = {"rows.csv": csv_of(50), "noise.bin": CONTENT}


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def source(kaggle, slept):
    kaggle.archives["owner/toy"] = zip_of(FILES)
    return KaggleSource(address=kaggle.url, sleep=slept.append, jitter=random.Random(1))


def assert_whole(fetched, work: Path) -> None:
    assert isinstance(fetched, FetchedFiles)
    assert fetched.temporary and fetched.folder.parent == work
    assert {path.name: path.read_bytes() for path in fetched.folder.iterdir()} == FILES
    assert not list(work.glob("archive.zip*"))


def test_a_dataset_is_downloaded_and_unpacked(source, kaggle, tmp_path):
    fetched = source.fetch(entry_of(), tmp_path / "work", None)
    assert_whole(fetched, tmp_path / "work")
    assert fetched.upstream.etag is not None
    assert fetched.upstream_date == "2026-11-22T00:00:00+00:00"


def test_an_unchanged_dataset_is_not_downloaded_again(source, kaggle, tmp_path):
    known = source.fetch(entry_of(), tmp_path, None).upstream
    assert isinstance(source.fetch(entry_of(), tmp_path, known), Unchanged)
    kaggle.archives["owner/toy"] = zip_of({"rows.csv": b"new"})
    changed = source.fetch(entry_of(), tmp_path, known)
    assert isinstance(changed, FetchedFiles)
    assert (changed.folder / "rows.csv").read_bytes() == b"new"


@pytest.mark.parametrize(
    "faults",
    [
        ["429"],
        ["500", "503", "502", "504"],
        ["drop"],
        ["hang up", "hang up", "hang up", "hang up"],
        ["truncate"],
        ["corrupt"],
        ["truncate", "truncate", "truncate", "truncate"],
        ["429", "truncate", "corrupt"],
        ["truncate", "drop", "500", "corrupt"],
    ],
)
def test_every_temporary_fault_is_survived(faults, source, kaggle, slept, tmp_path):
    kaggle.faults[:] = list(faults)
    assert_whole(source.fetch(entry_of(), tmp_path / "work", None), tmp_path / "work")
    assert kaggle.faults == []
    assert len(slept) >= 1


def test_a_truncated_download_goes_on_where_it_stopped(source, kaggle, tmp_path):
    kaggle.faults[:] = ["truncate"]
    source.fetch(entry_of(), tmp_path, None)
    half = len(kaggle.archives["owner/toy"]) // 2
    (resumed,) = [request for request in kaggle.requests if "bytes=" in request]
    assert half - 65_536 <= int(resumed.removeprefix("GET bytes=").removesuffix("-")) <= half


def test_a_download_resumes_only_what_is_still_the_same_archive(source, kaggle, tmp_path):
    impatient = KaggleSource(address=kaggle.url, retries=RetryPolicy(attempts=1), sleep=lambda _: None)
    kaggle.faults[:] = ["truncate"]
    with pytest.raises(SourceUnavailableError, match="connection broke"):
        impatient.fetch(entry_of(), tmp_path, None)
    assert (tmp_path / "archive.zip").exists()
    kaggle.archives["owner/toy"] = zip_of({"rows.csv": b"new", "noise.bin": CONTENT[::-1]})
    fetched = source.fetch(entry_of(), tmp_path, None)
    assert isinstance(fetched, FetchedFiles)
    assert (fetched.folder / "rows.csv").read_bytes() == b"new"
    assert not any("bytes=" in request for request in kaggle.requests)


def test_waits_grow_with_jitter_and_honour_retry_after(source, kaggle, slept, tmp_path):
    kaggle.faults[:] = ["429:7", "503", "503", "503"]
    source.fetch(entry_of(), tmp_path, None)
    assert slept[0] == 7.0
    assert all(0.0 <= wait <= ceiling for wait, ceiling in zip(slept[1:], (2.0, 4.0, 8.0), strict=True))
    again: list[float] = []
    kaggle.faults[:] = ["429:7", "503", "503", "503"]
    KaggleSource(address=kaggle.url, sleep=again.append, jitter=random.Random(1)).fetch(entry_of(), tmp_path, None)
    assert again == slept


def test_it_gives_up_in_the_end_with_one_line(source, kaggle, slept, tmp_path):
    kaggle.faults[:] = ["500"] * 10
    with pytest.raises(SourceUnavailableError, match=r"^kaggle: owner/toy: the service answered 500 \(the last of 8"):
        source.fetch(entry_of(), tmp_path, None)
    assert len(slept) == 7
    kaggle.faults[:] = ["429:86400"]
    with pytest.raises(SourceUnavailableError, match="asks to come back in 86400 s"):
        source.fetch(entry_of(), tmp_path, None)
    kaggle.faults[:] = ["corrupt"] * 10
    with pytest.raises(SourceUnavailableError, match="the archive arrived damaged"):
        source.fetch(entry_of(), tmp_path, None)
    assert not list(tmp_path.glob("unpacked-*"))


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (403, "access is forbidden (403)"),
        (404, "there is no such dataset (404)"),
        (410, "the dataset is gone for good (410)"),
        (451, "for legal reasons (451)"),
        *((status, f"the request was refused ({status})") for status in (400, 402, 405, 406, 409, 416, 418, 422, 431)),
    ],
)
def test_refusals_are_told_apart_and_not_repeated(status, reason, source, kaggle, slept, tmp_path):
    kaggle.statuses["owner/toy"] = status
    with pytest.raises(SourceUnavailableError) as caught:
        source.fetch(entry_of(), tmp_path, None)
    assert reason in str(caught.value)
    assert slept == [] and len(kaggle.requests) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_what_another_try_can_change_is_tried_again(status, source, kaggle, slept, tmp_path):
    kaggle.statuses["owner/toy"] = status
    with pytest.raises(SourceUnavailableError, match=f"the service answered {status}"):
        source.fetch(entry_of(), tmp_path, None)
    assert len(kaggle.requests) > 1


def test_what_does_not_fit_any_more_is_downloaded_from_the_beginning(source, kaggle, tmp_path):
    kaggle.statuses["owner/toy"] = 416
    (tmp_path / "archive.zip").write_bytes(b"of another edition")
    with pytest.raises(SourceUnavailableError, match=r"refused \(416\)"):
        source.fetch(entry_of(), tmp_path, None)
    assert len(kaggle.requests) == 2
    assert not (tmp_path / "archive.zip").exists()


def test_wrong_credentials_are_not_mistaken_for_missing_ones(kaggle, slept, tmp_path, monkeypatch):
    kaggle.archives["owner/toy"] = zip_of(FILES)
    monkeypatch.setenv("KAGGLE_KEY", "wrong")
    source = KaggleSource(address=kaggle.url, sleep=slept.append)
    with pytest.raises(SourceUnavailableError, match=r"the credentials were refused \(401\)"):
        source.fetch(entry_of(), tmp_path, None)
    assert slept == [] and len(kaggle.requests) == 1


def test_public_datasets_need_no_credentials_and_private_ones_say_so(kaggle, tmp_path, monkeypatch):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    kaggle.archives["owner/toy"] = zip_of(FILES)
    assert kaggle_client.load_client().anonymous
    assert_whole(KaggleSource(address=kaggle.url).fetch(entry_of(), tmp_path, None), tmp_path)
    kaggle.statuses["owner/toy"] = 401
    with pytest.raises(SourceUnavailableError, match=r"needs credentials \(401\): set KAGGLE_USERNAME"):
        KaggleSource(address=kaggle.url).fetch(entry_of(), tmp_path, None)


@pytest.mark.parametrize("place", ["token", "kaggle.json"])
def test_credentials_are_found_in_the_other_places_too(place, kaggle, tmp_path, monkeypatch):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    if place == "token":
        monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    else:
        file = Path(os.environ["HOME"]) / "kaggle.json"
        file.write_text(f'{{"username": "somebody", "key": "{KEY}"}}')
        file.chmod(0o600)
    kaggle.archives["owner/toy"] = zip_of(FILES)
    assert not kaggle_client.load_client().anonymous
    assert_whole(KaggleSource(address=kaggle.url).fetch(entry_of(), tmp_path, None), tmp_path)


def test_malicious_archives_are_refused_without_another_try(kaggle, slept, tmp_path):
    kaggle.archives["owner/toy"] = zip_of({"../../evil": b"x"})
    with pytest.raises(SourceUnavailableError, match="leads outside the folder"):
        KaggleSource(address=kaggle.url, sleep=slept.append).fetch(entry_of(), tmp_path / "a" / "b", None)
    kaggle.archives["owner/toy"] = zip_of({"bomb": bytes(1 << 20)})
    limited = KaggleSource(address=kaggle.url, sleep=slept.append, limits=ExtractionLimits(total_bytes=1000))
    with pytest.raises(SourceUnavailableError, match="more data than the limit"):
        limited.fetch(entry_of(), tmp_path / "a" / "b", None)
    assert slept == []
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["fetch.lock"]


def test_nothing_is_printed_and_no_secret_is_logged(source, kaggle, tmp_path, capfd, caplog, monkeypatch):
    monkeypatch.setenv("VERBOSE", "1")
    api = sys.modules["kaggle.api.kaggle_api_extended"].KaggleApi
    monkeypatch.setattr(api, "args", ["--local", "--verbose"])
    kaggle.faults[:] = ["429", "truncate", "corrupt"]
    with caplog.at_level(logging.DEBUG):
        source.fetch(entry_of(), tmp_path, None)
    kaggle.statuses["owner/toy"] = 403
    with caplog.at_level(logging.DEBUG), pytest.raises(SourceUnavailableError) as caught:
        source.fetch(entry_of(), tmp_path, None)
    output = capfd.readouterr()
    assert (output.out, output.err) == ("", "")
    assert KEY not in caplog.text + str(caught.value)


def test_an_unreachable_host_is_noticed_at_once_and_remembered(monkeypatch, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        monkeypatch.setattr(kaggle_client, "_probes", {})
        source = KaggleSource(address=f"http://127.0.0.1:{port}")
        attempts: list[object] = []
        real = socket.create_connection
        monkeypatch.setattr(socket, "create_connection", lambda *a, **k: (attempts.append(a), real(*a, **k))[1])
        for _ in range(3):
            with pytest.raises(SourceUnavailableError, match=rf"^kaggle: 127\.0\.0\.1:{port} cannot be reached"):
                source.fetch(entry_of(), tmp_path, None)
    assert len(attempts) == 1


def test_a_service_that_accepts_and_never_answers_is_given_up_and_remembered(kaggle, tmp_path, slept, monkeypatch):
    monkeypatch.setattr(kaggle_client, "ANSWER_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://localhost:{silent.getsockname()[1]}"
        point_client_at(address)
        for _ in range(2):
            with pytest.raises(SourceUnavailableError, match=r"accepts connections but does not answer \(the conn"):
                KaggleSource(address=address, sleep=slept.append).fetch(entry_of(), tmp_path, None)
    assert len(slept) == 2


def test_name_resolution_that_hangs_takes_seconds_only(monkeypatch):
    monkeypatch.setattr(kaggle_client, "_probes", {})
    monkeypatch.setattr(kaggle_client, "CONNECT_SECONDS", -0.9)
    monkeypatch.setattr(socket, "create_connection", lambda *a, **k: time.sleep(5))
    started = time.monotonic()
    assert "no answer within" in str(kaggle_client.unreachable_reason("http://example.invalid"))
    assert time.monotonic() - started < 3


def test_behind_a_proxy_the_proxy_is_what_must_be_reachable(monkeypatch):
    monkeypatch.setattr(kaggle_client, "_probes", {})
    monkeypatch.setenv("https_proxy", "http://proxy.invalid:3128")
    asked: list[object] = []

    def refuse(address: object, **options: object) -> None:
        asked.append(address)
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(socket, "create_connection", refuse)
    assert (
        kaggle_client.unreachable_reason("https://api.kaggle.com") == "proxy.invalid:3128 cannot be reached (refused)"
    )
    assert asked == [("proxy.invalid", 3128)]


def test_concurrent_fetches_of_one_dataset_are_both_whole(source, kaggle, tmp_path):
    results: list[object] = []
    threads = [
        threading.Thread(target=lambda: results.append(source.fetch(entry_of(), tmp_path, None))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == 4
    for fetched in results:
        assert_whole(fetched, tmp_path)
    assert len({fetched.folder for fetched in results}) == 4


CHILD = """
import sys
from pathlib import Path
from tests.core.conftest import entry_of
from tests.core.sources.kaggle_double import point_client_at
from nethical_assets.core.sources.kaggle_source import KaggleSource
import os
os.environ.update(KAGGLE_USERNAME="somebody", KAGGLE_KEY="the-secret-key")
point_client_at(sys.argv[1])
print(KaggleSource(address=sys.argv[1]).fetch(entry_of(), Path(sys.argv[2]), None).folder, flush=True)
"""


def start_child(url: str, work: Path, **options) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{CHECKOUT}"}
    command = [sys.executable, "-c", CHILD, url, str(work)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, **options)


def test_a_process_killed_in_the_middle_of_a_download_is_continued_by_the_next(source, kaggle, tmp_path):
    kaggle.faults[:] = ["slow"]
    child = start_child(kaggle.url, tmp_path / "work")
    try:
        assert kaggle.half_sent.wait(60)
        archive = tmp_path / "work" / "archive.zip"
        wait_for(lambda: (archive.exists() and archive.stat().st_size > 0) or child.poll() is not None)
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    kaggle.go_on.set()
    partial = archive.stat().st_size
    assert 0 < partial < len(kaggle.archives["owner/toy"])
    assert_whole(source.fetch(entry_of(), tmp_path / "work", None), tmp_path / "work")
    assert f"GET bytes={partial}-" in kaggle.requests


LIMITED = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
"""


def test_a_disk_that_takes_no_more_is_an_os_error_and_the_download_can_go_on(source, kaggle, tmp_path):
    command = [sys.executable, "-c", LIMITED + CHILD, kaggle.url, str(tmp_path / "work")]
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{CHECKOUT}"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode != 0
    assert "File too large" in result.stderr
    assert (tmp_path / "work" / "archive.zip").stat().st_size == 100_000
    assert_whole(source.fetch(entry_of(), tmp_path / "work", None), tmp_path / "work")


MIRROR_SCRIPT = CHECKOUT.parent / "shared" / "kaggle_mirror" / "serve.py"
THROUGH_MIRROR = """
import sys
from pathlib import Path
from tests.core.conftest import CHECKOUT
from nethical_assets.core.rows.catalog import load_catalog
from nethical_assets.core.sources.kaggle_source import KaggleSource
families = ("heuristic", "logistic", "prompt_injection", "anomaly", "correlation")
catalog = load_catalog(CHECKOUT / "config" / "datasets.toml", families)
source = KaggleSource(sleep=lambda seconds: None)
for name in ("nslkdd", "prompt_injection_collection"):
    fetched = source.fetch(catalog.entry(name), Path(sys.argv[1]) / name, None)
    print(name, sorted(path.name for path in fetched.folder.iterdir()))
"""


@pytest.mark.e2e
@pytest.mark.skipif(not MIRROR_SCRIPT.is_file(), reason="the Kaggle mirror (../shared/kaggle_mirror) is not there")
@pytest.mark.parametrize("options", [[], ["--anonymous"], ["--faults", "429,500,503,drop,truncate,corrupt"]])
def test_the_unmodified_client_through_the_mirror_on_port_80(options, tmp_path):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 80))
        except OSError as error:
            pytest.skip(f"port 80 cannot be used here: {error}")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("KAGGLE_")}
    environment |= {"PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{CHECKOUT}", "HOME": str(tmp_path)}
    command = [sys.executable, str(MIRROR_SCRIPT), *options, "--", sys.executable, "-c", THROUGH_MIRROR, str(tmp_path)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "nslkdd ['Attack Types.csv', 'Field Names.csv', 'KDDTrain+_20Percent.txt']",
        "prompt_injection_collection "
        "['awesome_chatgpt_prompts.csv', 'jailbreak_prompts_2023_12_25.csv', 'neuralchemy.csv']",
    ]
    assert not (tmp_path / ".config").exists() and not (tmp_path / ".kaggle").exists()
