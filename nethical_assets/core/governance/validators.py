"""What a matched value must pass before it counts: the registry of validators that rule files name.

What belongs here: the registry and the form of a validator. What does not: the checks themselves (the
``*_validators`` modules), patterns (the rule files), matching (``matching``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from nethical_assets.core.governance.contact_validators import email, international_email, ip_address
from nethical_assets.core.governance.credential_validators import (
    aws_access_key_id,
    base62_crc32,
    generic_secret,
    high_entropy,
    json_web_token,
    kaggle_key,
    provider_key,
    provider_token,
    slack_token,
    url_password,
)
from nethical_assets.core.governance.identifier_validators import (
    brazilian_cpf,
    british_nhs,
    canadian_sin,
    card,
    french_insee,
    iban,
    indian_aadhaar,
    italian_fiscal_code,
    spanish_dni,
    swedish_personal_number,
    us_itin,
    us_ssn,
)
from nethical_assets.core.governance.password_validators import bare_password, basic_credentials, password
from nethical_assets.core.governance.phrasing_validators import (
    addressed,
    addressed_without_object,
    cast,
    dictated,
    extraction,
    not_mentioned,
    not_studied,
    persona,
    switched_off,
    uploads_something_private,
)
from nethical_assets.core.governance.telephone_validators import phone

CONTEXT_CHARACTERS = 64
"""How many code points before and after a match a validator is given."""

Validator = Callable[[str, str, str], bool]
"""``(value, before, after)`` to whether ``value``, found between ``before`` and ``after``, is what it looks like."""


def not_emoji_flag(value: str, before: str, after: str) -> bool:
    """Unicode tag characters that do not spell a regional flag (they follow U+1F3F4 there)."""
    return re.search(r"\U0001f3f4[\U000e0020-\U000e007f]*\Z", before) is None


VALIDATORS: Mapping[str, Validator] = {
    function.__name__: function
    for function in (
        card,
        iban,
        us_ssn,
        us_itin,
        ip_address,
        email,
        international_email,
        phone,
        brazilian_cpf,
        spanish_dni,
        italian_fiscal_code,
        french_insee,
        indian_aadhaar,
        canadian_sin,
        british_nhs,
        swedish_personal_number,
        generic_secret,
        password,
        bare_password,
        basic_credentials,
        provider_key,
        provider_token,
        aws_access_key_id,
        kaggle_key,
        slack_token,
        url_password,
        high_entropy,
        base62_crc32,
        json_web_token,
        not_emoji_flag,
        addressed,
        addressed_without_object,
        cast,
        dictated,
        extraction,
        persona,
        switched_off,
        not_mentioned,
        not_studied,
        uploads_something_private,
    )
}
"""The validators a rule file may name."""
