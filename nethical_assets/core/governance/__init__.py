"""Screening: rules, normalisation, validators, decisions, masking and quarantine."""

from nethical_assets.core.governance.findings import Findings, mask
from nethical_assets.core.governance.frames import ScreeningResult, screen_frame
from nethical_assets.core.governance.rules import Ruleset, load_ruleset
from nethical_assets.core.governance.screener import Screener

__all__ = ["Findings", "Ruleset", "Screener", "ScreeningResult", "load_ruleset", "mask", "screen_frame"]
