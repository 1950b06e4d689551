"""``nethical alerts``: the issue tracker.

What belongs here: arguments and printing. What does not: the tracker (``core.alerts``).
"""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="The issue tracker: list, show, close.")
