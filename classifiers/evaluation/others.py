"""What other detectors say of the same texts, where they are installed: nothing here is a dependency."""

from __future__ import annotations

import asyncio
import importlib
import os
import re
from collections.abc import Callable
from typing import Any

Kinds = frozenset[tuple[str, str]]
"""Category (in our words) and kind of what was found in a text."""

Other = Callable[[str], Kinds]

_LITELLM = "litellm.proxy.guardrails.guardrail_hooks.litellm_content_filter"
_LITELLM_CATEGORIES = ("PII", "Payment Card", "Credential", "Institutional Identifiers")
_PRESIDIO_CATEGORIES = {"CREDIT_CARD": "pci", "IBAN_CODE": "financial", "US_BANK_NUMBER": "financial"}
_PRESIDIO_SCORE = 0.35
_NOT_FOUND = frozenset({"DATE_TIME", "URL", "PERSON", "LOCATION", "NRP"})  # kinds that no mark asks for


def others() -> dict[str, Other]:
    """The other detectors that are installed, by name."""
    found: dict[str, Other] = {}
    for name, make in (("Presidio + detect-secrets", _presidio_and_secrets), ("LiteLLM filter", _litellm)):
        try:
            found[name] = make()
        except ImportError:
            continue
    return found


def _litellm() -> Other:
    """All patterns for people, cards and credentials of the content filter, asked to mask."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # it would ask the network for prices
    module = importlib.import_module(f"{_LITELLM}.content_filter")
    patterns = importlib.import_module(f"{_LITELLM}.patterns")._PATTERNS_DATA["patterns"]
    chosen = [pattern for pattern in patterns if any(word in pattern["category"] for word in _LITELLM_CATEGORIES)]
    categories = {pattern["name"].lower(): _of_litellm(pattern) for pattern in chosen}
    guardrail = module.ContentFilterGuardrail(
        guardrail_name="compared",
        patterns=[{"pattern_type": "prebuilt", "pattern_name": pattern["name"], "action": "MASK"} for pattern in chosen],
        pattern_redaction_format="\ue000{pattern_name}\ue001",
    )
    marker = re.compile("\ue000([^\ue001]*)\ue001")
    loop = asyncio.new_event_loop()

    def read(text: str) -> Kinds:
        answer = loop.run_until_complete(guardrail.apply_guardrail({"texts": [text]}, {}, "request"))
        return frozenset((categories[name.lower()], name.lower()) for name in marker.findall(answer["texts"][0]))

    return read


def _of_litellm(pattern: dict[str, Any]) -> str:
    if "Payment Card" in pattern["category"]:
        return "pci"
    if "Credential" in pattern["category"]:
        return "credentials"
    return "financial" if "iban" in pattern["name"].lower() else "pii"


def _presidio_and_secrets() -> Other:
    """Presidio's recognisers that work by pattern, from a score of .35, and all plugins of detect-secrets."""
    presidio = importlib.import_module("presidio_analyzer")
    scanning = importlib.import_module("detect_secrets.core.scan")
    settings = importlib.import_module("detect_secrets.settings")
    registry = presidio.RecognizerRegistry()
    registry.load_predefined_recognizers(languages=["en"])
    recognisers = [one for one in registry.recognizers if isinstance(one, presidio.PatternRecognizer)]

    def read(text: str) -> Kinds:
        kinds = {
            (_PRESIDIO_CATEGORIES.get(result.entity_type, "pii"), result.entity_type)
            for one in recognisers
            for result in one.analyze(text, one.supported_entities, None)
            if result.score >= _PRESIDIO_SCORE and result.entity_type not in _NOT_FOUND
        }
        with settings.default_settings():
            secrets = {secret.type for line in text.splitlines() for secret in scanning.scan_line(line)}
        return frozenset(kinds | {("credentials", secret) for secret in secrets})

    return read
