"""Reads and writes a fitted model: arrays in one file, a manifest beside it, and refuses to load the two if they do not agree."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tomllib
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from classifiers.ask.features import Key
from classifiers.ask.thesaurus import shipped as shipped_thesaurus

FORMAT = 1
"""Raised whenever the arrays or the keys of `features` change their meaning: an older file is then refused."""

FITTED = Path(__file__).parent / "fitted"
_SEPARATOR = "\t"  # between two neighbouring words; no word holds white space

Floats = npt.NDArray[np.float32]


class ArtefactError(Exception):
    """A fitted model cannot be used.

    ├── ArtefactMissing    a file is not there
    ├── ManifestInvalid    the manifest lacks a field or holds a wrong one
    ├── FormatUnsupported  written for other code than this
    └── ArtefactAltered    the arrays are not those the manifest was written for
    """


class ArtefactMissing(ArtefactError):
    """A file of the fitted model is not there."""


class ManifestInvalid(ArtefactError):
    """The manifest is not TOML, or lacks a field, or holds a wrong one."""


class FormatUnsupported(ArtefactError):
    """The fitted model was written for another version of the features or of the file."""


class ArtefactAltered(ArtefactError):
    """The arrays differ from what the manifest says of them."""


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A set of labelled rows that a model was fitted on: its licence, the sha256 of its file, how many rows it has."""

    licence: str
    sha256: str
    rows: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a fitted model is: where it came from, how it was measured, how its scores are read.

    `heads` names the columns of the weight matrix, head by head, in order. `thresholds` are on probabilities or on the
    complexity score. `metrics` are on the blind tenth. `sha256` is of the array file, `corpus` of the training corpus,
    `thesaurus` of the concepts that the keys hold (empty: they hold none). `sources` are labelled sets beside the corpus, by
    name; `base` is the version of the model that this one was calibrated from. `keys` says of heads that read only the first keys of
    the vocabulary, which are the most frequent ones, how many these are.
    """

    format: int
    name: str
    owner: str
    fitted_on: str
    seed: int
    sklearn: str
    numpy: str
    corpus: str
    sha256: str
    examples: int
    blind_examples: int
    unknown_weight: float
    heads: dict[str, list[str]]
    thresholds: dict[str, float]
    metrics: dict[str, float]
    thesaurus: str = ""
    base: str = ""
    keys: dict[str, int] = {}
    sources: dict[str, Source] = {}

    @property
    def version(self) -> str:
        """Short form for evidence: format, and the start of the arrays' hash."""
        return f"{self.format}-{self.sha256[:12]}"


class Fitted:
    """A fitted model. Made by `load`, read by `ask.reader`."""

    def __init__(self, manifest: Manifest, vocabulary: list[Key], weights: Floats, scale: Floats, bias: Floats) -> None:
        self.manifest = manifest
        self._vocabulary = vocabulary
        self._columns: dict[str, slice] = {}
        start = 0
        for head, classes in manifest.heads.items():
            self._columns[head] = slice(start, start + len(classes))
            start += len(classes)
        self._arrays = weights, scale, bias

    @property
    def keys(self) -> list[Key]:
        """All keys, in the order of their rows."""
        return self._vocabulary

    @property
    def arrays(self) -> tuple[Floats, Floats, Floats]:
        """Weights (keys × classes), the scale of each key, and the bias of each class."""
        return self._arrays

    def columns(self, *heads: str) -> npt.NDArray[np.intp]:
        """The columns of the weights that belong to these heads."""
        return np.concatenate([np.arange(self._arrays[2].size)[self._columns[head]] for head in heads])

    def classes(self, *heads: str) -> tuple[str, ...]:
        """The names of `columns(*heads)`."""
        return tuple(name for head in heads for name in self.manifest.heads[head])


def save(
    directory: Path, manifest: Manifest, vocabulary: list[Key], weights: npt.NDArray[np.float16], scale: Floats, bias: Floats
) -> Manifest:
    """Writes `<name>.npz` and `<name>.toml`; the manifest returned carries the hash of the arrays."""
    directory.mkdir(parents=True, exist_ok=True)
    packed = _packed(vocabulary, weights, scale, bias)
    (directory / f"{manifest.name}.npz").write_bytes(packed)
    manifest = msgspec.structs.replace(manifest, sha256=hashlib.sha256(packed).hexdigest())
    (directory / f"{manifest.name}.toml").write_text(_toml(manifest), encoding="utf-8")
    return manifest


def to_text(
    manifest: Manifest, vocabulary: list[Key], weights: npt.NDArray[np.float16], scale: Floats, bias: Floats
) -> tuple[Manifest, str]:
    """A fitted model as one text file: its manifest, and the arrays beside it in base64. The manifest carries their hash."""
    packed = _packed(vocabulary, weights, scale, bias)
    manifest = msgspec.structs.replace(manifest, sha256=hashlib.sha256(packed).hexdigest())
    arrays = base64.b64encode(packed).decode()
    return manifest, f'version = "{manifest.version}"\narrays = "{arrays}"\n{_toml(manifest)}'


def from_text(text: str) -> Fitted:
    """A fitted model from what `to_text` gave. Raises as `load` does."""
    try:
        fields = tomllib.loads(text)
        packed = base64.b64decode(fields.pop("arrays"), validate=True)
        version = fields.pop("version")
        manifest = msgspec.convert(fields, Manifest)
    except (KeyError, ValueError, TypeError, msgspec.ValidationError) as wrong:
        raise ManifestInvalid(f"the text is no fitted model ({type(wrong).__name__})") from wrong
    _check(manifest, packed)
    if version != manifest.version:
        raise ArtefactAltered("the version of the fitted model is not that of its arrays")
    return _unpack(io.BytesIO(packed), manifest)


def load(name: str = "ask", directory: Path = FITTED) -> Fitted:
    """Reads a fitted model.

    Raises `ArtefactMissing`, `ManifestInvalid`, `FormatUnsupported` or `ArtefactAltered`. Nothing is unpickled.
    """
    try:
        raw = (directory / f"{name}.toml").read_bytes()
        packed = (directory / f"{name}.npz").read_bytes()
    except OSError as missing:
        raise ArtefactMissing(f"fitted model `{name}`: {missing.strerror}: `router train` writes it") from missing
    try:
        manifest = msgspec.convert(tomllib.loads(raw.decode()), Manifest)
    except (ValueError, msgspec.ValidationError) as wrong:
        raise ManifestInvalid(f"manifest `{name}.toml`: {wrong}") from wrong
    _check(manifest, packed)
    return _unpack(io.BytesIO(packed), manifest)


def _check(manifest: Manifest, packed: bytes) -> None:
    name = manifest.name
    if manifest.format != FORMAT:
        raise FormatUnsupported(f"fitted model `{name}` has format {manifest.format}, this version reads {FORMAT}")
    if manifest.thesaurus not in ("", shipped_thesaurus().digest):
        raise ArtefactAltered(f"fitted model `{name}` was fitted with another thesaurus than the one in this version")
    if hashlib.sha256(packed).hexdigest() != manifest.sha256:
        raise ArtefactAltered(f"`{name}.npz` is not the file that `{name}.toml` was written for: its sha256 differs")


def shipped() -> Fitted:
    """The fitted model in the package."""
    return load()


def shipped_complexity() -> Fitted:
    """The fitted model of complexity in the package."""
    return load("complexity")


def _packed(vocabulary: list[Key], weights: npt.NDArray[np.float16], scale: Floats, bias: Floats) -> bytes:
    text = "\n".join(key if isinstance(key, str) else _SEPARATOR.join(key) for key in vocabulary)
    packed = io.BytesIO()
    np.savez_compressed(packed, vocabulary=np.frombuffer(text.encode(), dtype=np.uint8), weights=weights, scale=scale, bias=bias)
    return packed.getvalue()


def _unpack(packed: io.BytesIO, manifest: Manifest) -> Fitted:
    try:
        with np.load(packed, allow_pickle=False) as arrays:
            lines = arrays["vocabulary"].tobytes().decode().split("\n")
            weights, scale, bias = (arrays[name].astype(np.float32) for name in ("weights", "scale", "bias"))
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as wrong:
        raise ArtefactAltered(f"`{manifest.name}.npz` does not hold the arrays of a fitted model") from wrong
    width = sum(map(len, manifest.heads.values()))
    if weights.shape != (len(lines), width) or scale.shape != (len(lines),) or bias.shape != (width,):
        raise ArtefactAltered(f"`{manifest.name}.npz`: the arrays do not have the shape that the manifest's heads ask for")
    vocabulary: list[Key] = []
    for line in lines:
        first, separator, second = line.partition(_SEPARATOR)
        vocabulary.append((first, second) if separator else first)
    return Fitted(manifest, vocabulary, weights, scale, bias)


def _toml(manifest: Manifest) -> str:
    # A JSON string, number or list of strings is also valid TOML.
    plain: list[str] = []
    tables: list[str] = []
    for name, value in msgspec.to_builtins(manifest).items():
        if isinstance(value, dict):
            tables.append(f"\n[{name}]\n" + "".join(f"{json.dumps(key)} = {_inline(entry)}\n" for key, entry in value.items()))
        else:
            plain.append(f"{name} = {json.dumps(value)}\n")
    return "".join(plain + tables)


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {json.dumps(entry)}" for key, entry in value.items()) + "}"
    return json.dumps(value)
