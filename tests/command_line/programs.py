"""The program run in the process of a test, as its users run it."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from nethical_assets.command_line import app as cli

Run = Callable[..., tuple[int, str, str]]
"""Arguments to exit code, output and what was said on the error stream."""


def in_this_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """What runs the program with the environment as it is then."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nethical", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run
