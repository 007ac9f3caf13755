"""Passwords and second factors: made, hashed, checked. Imported when somebody first signs in."""

from __future__ import annotations

import asyncio
import hmac
from base64 import b32encode, b64encode
from datetime import datetime
from hashlib import blake2b
from io import BytesIO
from secrets import token_hex

import pyotp
import segno
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

SHORTEST, LONGEST = 12, 256
STEP_SECONDS = 30
RECOVERY_CODES = 10
ISSUER = "Task-sensitivity router"

# 19 MiB and two passes: what OWASP asks for at least. More memory would be a worker's, and only two are hashed at once.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
_AT_ONCE = asyncio.Semaphore(2)
_NOBODYS = _HASHER.hash(token_hex(32))


async def hashed(password: str) -> str:
    """The hash under which a password is kept."""
    async with _AT_ONCE:
        return await asyncio.to_thread(_HASHER.hash, password)


async def fits(password: str, kept: str | None) -> bool:
    """Whether a password is the one that was kept. Where none was (None) it is none, after as long a time."""
    async with _AT_ONCE:
        return await asyncio.to_thread(_verified, password[:LONGEST], kept or _NOBODYS) and kept is not None


def fault_of(password: str, again: str, email: str) -> str | None:
    """What is wrong with a new password, as a sentence; None: nothing."""
    if len(password) < SHORTEST:
        return f"A password has at least {SHORTEST} characters: several words are easy to remember."
    if len(password) > LONGEST:
        return f"A password has at most {LONGEST} characters."
    if len(set(password)) < 5:
        return "This password repeats itself too much to be one."
    if email.partition("@")[0] in password.lower() or password.startswith(("rp-", "rk-")):
        return "Your address, a token or a key is no password."
    if password != again:
        return "The two passwords are not the same."
    return None


def draft_secret(key: bytes, form: str) -> str:
    """The secret of a second factor that is being set up in a visit: made of what only we know, so that nobody has to keep it."""
    return b32encode(blake2b(form.encode(), key=key[:64], person=b"second-factor", digest_size=20).digest()).decode()


def matching_step(secret: str, code: str, now: datetime) -> int | None:
    """The time step whose code this is, now or one step ago or ahead; None: it is none of them."""
    digits = "".join(code.split())
    if len(digits) != 6 or not digits.isascii() or not digits.isdigit():
        return None
    totp, current = pyotp.TOTP(secret), int(now.timestamp()) // STEP_SECONDS
    return next(
        (step for step in (current, current - 1, current + 1) if hmac.compare_digest(totp.generate_otp(step), digits)), None
    )


def qr_code(secret: str, email: str) -> str:
    """The enrolment of an authenticator app as a data URL of a picture."""
    address = pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)
    picture = BytesIO()
    segno.make(address, error="m").save(picture, kind="svg", scale=4, border=3, light="#fff")
    return "data:image/svg+xml;base64," + b64encode(picture.getvalue()).decode()


def new_recovery_codes() -> tuple[str, ...]:
    """Codes that stand in for a second factor, each once: 64 random bits each."""
    return tuple(
        "-".join(code[place : place + 4] for place in range(0, 16, 4)) for code in (token_hex(8) for _ in range(RECOVERY_CODES))
    )


def recovery_hash(key: bytes, person: str, code: str) -> str:
    """How a recovery code is kept."""
    plain = "".join(sign for sign in code.lower() if sign.isalnum())
    return blake2b(f"{person} {plain}".encode(), key=key[:64], person=b"recovery-code", digest_size=32).hexdigest()


def _verified(password: str, kept: str) -> bool:
    try:
        return _HASHER.verify(kept, password)
    except (VerificationError, InvalidHashError):
        return False
