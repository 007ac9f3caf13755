"""The secret under which prefixes, bodies and findings are hashed: from the settings, else made once in the data directory."""

from __future__ import annotations

import os
from pathlib import Path

from router.settings import Settings, SettingsError

SECRET_BYTES = 32


def read_secret(settings: Settings) -> bytes:
    """The secret, 32 bytes or more. Raises SettingsError where the setting is no hexadecimal number of that length."""
    if settings.secret_key is not None:
        try:
            secret = bytes.fromhex(settings.secret_key.get_secret_value())
        except ValueError:
            secret = b""
        if len(secret) < SECRET_BYTES:
            raise SettingsError(
                f"ROUTER_SECRET_KEY: at least {SECRET_BYTES} bytes as hexadecimal digits (`openssl rand -hex 32`)"
            )
        return secret
    return _kept(settings.data_dir / "secret.key")


def _kept(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(made, path)  # the first of two processes wins; neither reads a half-written file
        except FileExistsError:
            pass
        finally:
            made.unlink()
        return path.read_bytes()
