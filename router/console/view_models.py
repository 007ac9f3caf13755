"""What each page shows, as frozen values: a template reads these fields and no others."""

from __future__ import annotations

import msgspec

from router.console.access import Group


class Chrome(msgspec.Struct, frozen=True):
    """What stands around every page. `form` is what each form must bring back."""

    navigation: tuple[Group, ...]
    here: str
    who: str
    roles: tuple[str, ...]
    governance: str
    revision: str
    form: str
    signed_in: bool


class Failure(msgspec.Struct, frozen=True):
    """Why there is no page."""

    status: int
    code: str
    message: str
    sign_in: bool


class SignIn(msgspec.Struct, frozen=True):
    """The sign-in page. `next` is where to go afterwards; `provider` the name of an identity provider, if one is set up."""

    email: str
    next: str
    fault: str
    provider: str


class Code(msgspec.Struct, frozen=True):
    """The second factor is asked for."""

    fault: str


class NewPassword(msgspec.Struct, frozen=True):
    """A password is chosen. `first`: there was none, so that the old one is not asked for."""

    first: bool
    fault: str
    shortest: int


class SecondFactor(msgspec.Struct, frozen=True):
    """A second factor is set up. `picture` is a data URL of a QR code; `secret` the same for hands, in groups of four."""

    picture: str
    secret: str
    fault: str
    required: bool


class RecoveryCodes(msgspec.Struct, frozen=True):
    """The codes that stand in for the second factor, shown this once."""

    codes: tuple[str, ...]


class Account(msgspec.Struct, frozen=True):
    """One's own account. `recovery_left`: how many codes are left; `way`: how one signed in."""

    email: str
    roles: tuple[str, ...]
    way: str
    changed: str
    second_factor_since: str
    recovery_left: int
    required: bool
    done: str


class Home(msgspec.Struct, frozen=True):
    """Somebody who may open nothing yet."""

    email: str
