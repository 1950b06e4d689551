"""The entry point of the code location, named by ``workspace.yaml``.

What belongs here: nothing but the call that builds the definitions. What does not: any definition (``build``).
"""

from __future__ import annotations

import dagster as dg

from nethical_assets.build import build_defs
from nethical_assets.settings import load_settings


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of the settings that the environment names."""
    return build_defs(load_settings())
