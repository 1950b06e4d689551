"""The entry point of the code location, named by ``workspace.yaml``.

What belongs here: nothing but the call that builds the definitions. What does not: any definition
(``orchestration.build``).
"""

from __future__ import annotations

import dagster as dg

from nethical_assets.home.settings import load_settings
from nethical_assets.orchestration.build import build_defs
from nethical_assets.orchestration.server_logs import expect_replacement


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of the settings that the environment names."""
    expect_replacement()
    return build_defs(load_settings())
