"""``nethical serve``: the scoring gateway, and the API keys that it asks for.

What belongs here: arguments and printing. What does not: the gateway (``serving``).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from nethical_assets.command_line.opening import load_home
from nethical_assets.command_line.output import JsonOption, errors, print_json, say, tell
from nethical_assets.core.ground.errors import SettingsError

app = typer.Typer(
    invoke_without_command=True,
    help="The scoring gateway: champions behind HTTP, until Ctrl-C. Also: keys.",
)
keys = typer.Typer(no_args_is_help=True, help="API keys of the gateway: new.")
app.add_typer(keys, name="keys")


@app.callback()
def serve(
    context: typer.Context,
    host: Annotated[
        str, typer.Option(help="The address it listens on; beyond this machine it asks for API keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where it listens; 0 takes a free port.")] = 8420,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that share the requests.")] = 1,
    allow_anonymous: Annotated[
        bool, typer.Option("--allow-anonymous", help="Let other machines ask without an API key.")
    ] = False,
) -> None:
    """The scoring gateway: champions behind HTTP, until Ctrl-C. Also: keys."""
    if context.invoked_subcommand is not None:
        return
    from nethical_assets.serving import workers as processes

    processes.serve(
        load_home(),
        host=host,
        port=port,
        workers=workers,
        allow_anonymous=allow_anonymous,
        said=lambda line: say(errors, line),
    )


@keys.command("new")
def new_key(
    families: Annotated[str, typer.Option(help="Comma-separated, or * for all: what the key may ask about.")],
    file: Annotated[Path, typer.Option(help="The key file it is added to; made if it is missing.")],
    not_before: Annotated[str | None, typer.Option(help="From when it holds: ISO 8601, UTC without a zone.")] = None,
    expires: Annotated[str | None, typer.Option(help="Until when it holds: ISO 8601, UTC without a zone.")] = None,
    note: Annotated[str, typer.Option(help="Whose it is; kept in the file.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Make an API key and print it, once: the file keeps only its digest."""
    from nethical_assets.serving.api_keys import add_key, make_key

    chosen = [name.strip() for name in families.split(",") if name.strip()]
    if not chosen:
        raise SettingsError("--families names none; give some, or * for all")
    made = make_key(
        chosen, not_before=_time("--not-before", not_before), expires=_time("--expires", expires), note=note
    )
    add_key(file, made.entry)
    if as_json:
        print_json({"key": made.key, "id": made.entry.id, "families": chosen, "file": str(file)})
    else:
        tell(made.key)
        say(errors, f"It is shown this once. {file} holds its digest: name it with NETHICAL_API_KEYS_FILE")


def _time(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"{option} is no time, such as 2027-01-31 or 2027-01-31T12:00Z") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
