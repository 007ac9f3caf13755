"""What other detectors say of the same texts, where they are installed (the extra `compare`): nothing here is a dependency."""

from __future__ import annotations

import importlib
import logging
import os
import tempfile
from collections.abc import Callable
from typing import Any

Kinds = frozenset[tuple[str, str]]
"""Category (in our words) and kind of what was found in a text."""

Other = Callable[[str], Kinds]

_LITELLM = "litellm.proxy.guardrails.guardrail_hooks.litellm_content_filter"
_LITELLM_CATEGORIES = ("PII", "Payment Card", "Credential", "Institutional Identifiers")
_LITELLM_PLACES = frozenset({"street_address", "br_cep", "fr_postal_code", "sg_postal_code", "ca_postal_code", "airline_pnr", "flight_number"})  # fmt: skip
_PRESIDIO_CATEGORIES = {"CREDIT_CARD": "pci", "IBAN_CODE": "financial", "US_BANK_NUMBER": "financial"}
_PRESIDIO_SCORE = 0.35
"""From where Presidio's own demonstration shows what it found. Its engine alone would report every weak pattern, from 0."""

_PRESIDIO_NOT_ASKED = frozenset({"DATE_TIME", "URL", "PERSON", "LOCATION", "NRP", "UUID", "MAC_ADDRESS"})
"""Kinds that no mark asks for. To count them would only count against it."""

_NOT_SECRET = frozenset({"Public IP (ipv4)"})  # of detect-secrets


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
    """All patterns for people, cards and credentials of the content filter, each asked about the text as it stands.

    Asked to mask, the filter would look for each pattern in what the ones before left over.
    """
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # it would ask the network for prices
    module = importlib.import_module(f"{_LITELLM}.content_filter")
    patterns = importlib.import_module(f"{_LITELLM}.patterns")._PATTERNS_DATA["patterns"]
    chosen = [
        pattern
        for pattern in patterns
        if any(word in pattern["category"] for word in _LITELLM_CATEGORIES) and pattern["name"] not in _LITELLM_PLACES
    ]
    categories = {pattern["name"]: _of_litellm(pattern) for pattern in chosen}
    guardrail = module.ContentFilterGuardrail(
        guardrail_name="compared",
        patterns=[{"pattern_type": "prebuilt", "pattern_name": pattern["name"], "action": "MASK"} for pattern in chosen],
    )

    def read(text: str) -> Kinds:
        names = (entry["pattern_name"] for entry in guardrail.compiled_patterns if guardrail._find_pattern_spans(text, entry))
        return frozenset((categories[name], name) for name in names)

    return read


def _of_litellm(pattern: dict[str, Any]) -> str:
    if "iban" in pattern["name"]:  # stands among the cards there
        return "financial"
    if "Payment Card" in pattern["category"]:
        return "pci"
    return "credentials" if "Credential" in pattern["category"] else "pii"


def _presidio_and_secrets() -> Other:
    presidio, secrets = _presidio(), _secrets()
    return lambda text: presidio(text) | secrets(text)


def _presidio() -> Other:
    """Presidio's engine with the recognisers that it loads by itself for English, its context words included.

    The pipeline for English is an empty one of spaCy: its trained models tell names and places, which no mark asks for, and the
    lemmas of context words. In their stead every word is its own lemma.
    """
    presidio = importlib.import_module("presidio_analyzer")
    engines = importlib.import_module("presidio_analyzer.nlp_engine")
    spacy = importlib.import_module("spacy")
    suffixes: Any = importlib.import_module("tldextract.tldextract")
    # Mail addresses are checked against the list of suffixes that is installed, without asking the network for a later one.
    suffixes.TLD_EXTRACTOR = suffixes.TLDExtract(suffix_list_urls=(), cache_dir=None)
    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)

    class Words(engines.SlimSpacyNlpEngine):  # type: ignore[misc, name-defined]
        def load(self) -> None:
            self.nlp = {"en": spacy.blank("en")}
            self.nlp["en"].max_length = 10_000_000

        def process_text(self, text: str, language: str) -> Any:
            doc = self.nlp["en"](text)
            for token in doc:
                token.lemma_ = token.lower_
            return self._doc_to_nlp_artifact(doc, language)

    words = Words()
    words.load()
    registry = presidio.RecognizerRegistry()
    registry.load_predefined_recognizers(languages=["en"])
    registry.recognizers = [one for one in registry.recognizers if one.name != "SpacyRecognizer"]
    engine = presidio.AnalyzerEngine(registry=registry, nlp_engine=words, default_score_threshold=_PRESIDIO_SCORE)
    entities = sorted(set(engine.get_supported_entities("en")) - _PRESIDIO_NOT_ASKED)

    def read(text: str) -> Kinds:
        found = engine.analyze(text, language="en", entities=entities)
        return frozenset((_PRESIDIO_CATEGORIES.get(result.entity_type, "pii"), result.entity_type) for result in found)

    return read


def _secrets() -> Other:
    """All plugins and default filters of detect-secrets, over the text as a file, which is how it is meant to be used."""
    scanning = importlib.import_module("detect_secrets.core.scan")
    settings = importlib.import_module("detect_secrets.settings")

    def read(text: str) -> Kinds:
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8", errors="replace") as file:
            file.write(text)
            file.flush()
            with settings.default_settings():
                types = {secret.type for secret in scanning.scan_file(file.name)}
        return frozenset(("credentials", each) for each in types - _NOT_SECRET)

    return read
