"""How the installed program ends: its exit code says what was done, whatever libraries do when they are taken apart."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import atexit, ctypes, sys
from nethical_assets.command_line import app
from nethical_assets.command_line.program import program

libc = ctypes.CDLL(None)
if {aborts}:
    libc.__cxa_atexit(libc.abort, None, None)

def main():
    atexit.register(print, "registered")
    print("done")
    {end}

app.main = main
program()
"""


def ended(end: str, *, aborts: bool) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM.format(end=end, aborts=aborts)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the C library of Linux to abort")
@pytest.mark.parametrize("code", [0, 1, 2, 130])
def test_a_library_that_aborts_at_the_end_does_not_change_the_exit_code(code: int) -> None:
    answer = ended(f"sys.exit({code})", aborts=True)
    assert answer.returncode == code, answer.stderr
    assert answer.stdout.splitlines() == ["done", "registered"]


def test_an_unexpected_error_is_still_one() -> None:
    answer = ended("raise RuntimeError('unexpected')", aborts=False)
    assert answer.returncode == 1
    assert "RuntimeError: unexpected" in answer.stderr


def test_an_interrupt_before_anything_began_is_one_line() -> None:
    program = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'typer':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from nethical_assets.command_line.program import program\n"
        "program()\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert (answer.returncode, answer.stderr) == (130, "nethical: interrupted\n")
