"""Checks that decide whether a candidate can be what its pattern says: checksums, issuer ranges, randomness, placeholders."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Protocol

import msgspec
import phonenumbers
from stdnum import iban as stdnum_iban

Check = Callable[[str], bool]


class NumberModule(Protocol):
    """A module of python-stdnum."""

    def is_valid(self, number: str) -> bool:
        """Whether the number has the form and the check digits of its kind."""


def digits_of(value: str) -> str:
    """The ASCII digits of the value, in order."""
    return "".join(character for character in value if "0" <= character <= "9")


def luhn(digits: str) -> bool:
    """Whether the digits carry a right Luhn check digit."""
    total = 0
    for index, character in enumerate(reversed(digits)):
        digit = ord(character) - 48
        if index % 2:
            digit = digit * 2 - 9 if digit > 4 else digit * 2
        total += digit
    return total % 10 == 0


@lru_cache(maxsize=10_000)
def _issuer_lengths(digits: str) -> tuple[int, ...]:
    """The lengths in which the issuer of these four digits makes card numbers; empty where no issuer holds them."""
    two, three, four = int(digits[:2]), int(digits[:3]), int(digits[:4])
    if digits[0] == "4":
        return (13, 16, 19)
    if 51 <= two <= 55 or 2221 <= four <= 2720:
        return (16,)
    if two in (34, 37):
        return (15,)
    if four == 6011 or 644 <= three <= 649 or two in (65, 62, 60, 81, 82):
        return (16, 17, 18, 19)
    if 300 <= three <= 305 or two in (36, 38, 39):
        return (14, 16)
    if 3528 <= four <= 3589:
        return (16, 17, 18, 19)
    if four in (2131, 1800):
        return (15,)
    if 2200 <= four <= 2204:
        return (16, 17, 18, 19)
    if two in (50, 56, 57, 58, 61, 63, 67, 68, 69):
        return (12, 13, 14, 15, 16, 17, 18, 19)
    return ()


def card(digits: str) -> bool:
    """Whether the digits are a payment card number by issuer range, length and Luhn, and not one digit repeated."""
    return len(digits) in _issuer_lengths(digits[:4]) and luhn_number(digits)


def luhn_number(digits: str) -> bool:
    """Whether the digits could be a card number of an issuer that we do not know."""
    return 12 <= len(digits) <= 19 and len(set(digits)) > 1 and digits[0] != "0" and luhn(digits)


_GROUP = re.compile(r"\d+")
_CARD_GROUPS = (
    (6, 10), (8, 8), (4, 4, 5), (4, 6, 5), (4, 6, 4), (4, 4, 8), (6, 13), (4, 4, 4, 1), (4, 4, 4, 3), (4, 4, 4, 4), (4, 4, 4, 4, 3),
)  # fmt: skip
_SHAPES: dict[int, list[bytes]] = {}
for _groups in _CARD_GROUPS:
    _SHAPES.setdefault(_groups[0], []).append(bytes(_groups))
_LONGEST_CLUSTER = 200


def cards_in(cluster: str) -> Iterator[tuple[int, int]]:
    """Spans of card numbers of known issuers in a run of digit groups."""
    return _spans(cluster, card)


def named_cards_in(cluster: str) -> Iterator[tuple[int, int]]:
    """Spans of what can be card numbers in a run of digit groups that is called a card."""
    return _spans(cluster, luhn_number)


def _spans(cluster: str, is_card: Check) -> Iterator[tuple[int, int]]:
    """Spans of numbers in a run of digit groups.

    A card is one group, a usual grouping (4-4-4-4, 4-6-5, …), or digits set apart one by one or two by two to the end of such
    a series: in the middle of one they may be a longer number, or just a series.
    """
    cluster = cluster[:_LONGEST_CLUSTER]
    groups = _GROUP.findall(cluster)
    sizes = [*map(len, groups)]
    shapes = bytes(sizes)
    digits = "".join(groups)
    places = [0, *accumulate(sizes)]  # of the groups in the digits
    spans: list[tuple[int, int]] = []
    first = 0
    while first < len(groups):
        size = sizes[first]
        last = first + 1
        taken = 0
        if size <= 2:
            while last < len(sizes) and sizes[last] == size:
                last += 1
            first = max(first, last - 19 // size)
            while not taken and (last - first) * size >= 12:
                if is_card(digits[places[first] : places[last]]):
                    taken = last
                else:
                    first += 1
            first = first if taken else last - 1
        elif 12 <= size <= 19:
            taken = last if is_card(digits[places[first] : places[last]]) else 0
        else:
            for shape in _SHAPES.get(size, ()):
                last = first + len(shape)
                if shapes.startswith(shape, first) and is_card(digits[places[first] : places[last]]):
                    taken = last
                    break
        if taken:
            spans = spans or [match.span() for match in _GROUP.finditer(cluster)]
            yield spans[first][0], spans[taken - 1][1]
            first = taken
        else:
            first += 1


def iban(value: str) -> bool:
    """Whether the value is an IBAN by country, length and mod 97."""
    return bool(stdnum_iban.is_valid(value, check_country=False))


def ssn(value: str) -> bool:
    """Whether a US social security number with these digits can have been issued."""
    digits = digits_of(value)
    return (
        len(digits) == 9
        and digits[:3] not in ("000", "666")
        and digits[0] != "9"
        and digits[3:5] != "00"
        and digits[5:] != "0000"
        and len(set(digits)) > 1
        and digits != "123456789"
    )


def telephone(region: str | None) -> Check:
    """A check whether the value can be dialled, from `region` (ISO 3166) where it has no country code."""

    def check(value: str) -> bool:
        try:
            number = phonenumbers.parse(value, region)
        except phonenumbers.NumberParseException:
            return False
        return bool(phonenumbers.is_possible_number(number)) and len(set(digits_of(value))) > 2

    return check


def fictitious_us_telephone(value: str) -> bool:
    """Whether the number lies in the range kept for fiction (555-0100 to 555-0199)."""
    return digits_of(value)[-7:-2] == "55501"


def stdnum_check(module: NumberModule) -> Check:
    """The check of one module of python-stdnum."""

    def check(value: str) -> bool:
        return module.is_valid(value)

    return check


def weighted_mod11_nhs(value: str) -> bool:
    """Whether a ten-digit NHS number has the right check digit."""
    digits = digits_of(value)
    if len(digits) != 10 or len(set(digits)) == 1:
        return False
    check = 11 - sum(int(digit) * weight for digit, weight in zip(digits[:9], range(10, 1, -1), strict=True)) % 11
    return check % 11 == int(digits[9]) and check != 10


def entropy(value: str) -> float:
    """Shannon entropy of the characters, in bits per character."""
    counts = Counter(value)
    total = len(value)
    return -sum(count / total * math.log2(count / total) for count in counts.values())


def random_token(value: str) -> bool:
    """Whether the value looks drawn at random rather than written: mixed characters, not made of words, no placeholder."""
    if len(value) < 10 or placeholder(value):
        return False
    bare = value.replace("-", "").replace("_", "")
    digits = sum(map(str.isdigit, bare))
    letters = sum(map(str.isalpha, bare))
    if _HEXADECIMAL.fullmatch(bare):
        return len(bare) >= 16 and bool(digits and letters) and entropy(bare) >= 2.8
    if not letters or _share_of_words(value) > 0.5:
        return False
    if not digits:  # letters alone: only where upper and lower case alternate all through
        return len(bare) >= 20 and _case_changes(bare) >= 6 and entropy(bare) >= 3.8
    return entropy(value) >= min(3.5, 0.7 * math.log2(len(value)))


_HEXADECIMAL = re.compile(r"[0-9a-f]+|[0-9A-F]+")
_WORD = re.compile(r"[A-Z]?[a-z]{3,}|[A-Z]{4,}")


def _share_of_words(value: str) -> float:
    """How much of the value is made of letters that read like words: enough vowels, no long run of consonants."""
    written = 0
    for word in _WORD.findall(value):
        vowels = sum(character in "aeiouyAEIOUY" for character in word)
        if vowels / len(word) >= 0.16 and not _CONSONANTS.search(word):
            written += len(word)
    return written / len(value)


_CONSONANTS = re.compile(r"[^aeiouyAEIOUY]{4}")


def _case_changes(value: str) -> int:
    return sum(1 for left, right in pairwise(value) if left.islower() and right.isupper())


def distinct(least: int) -> Check:
    """A check that the value has at least so many different characters, and is no placeholder."""

    def check(value: str) -> bool:
        return len(set(value)) >= least and not placeholder(value)

    return check


_PLACEHOLDER = re.compile(
    r"x{4,}|\*{3,}|\.{3,}|…|_{4,}|-{6,}|0{8,}|\$\{|\{\{|\$\(|<[^>]*>|%\(|#\{|\[[a-z_ -]+\]"
    r"|your[_\- ]?|example|placeholder|changeme|change_me|dummy|redacted|insert|replace_?me|todo|foobar|lorem|sample"
    r"|not[_-]?a[_-]?real|fake",
    re.IGNORECASE,
)


def placeholder(value: str) -> bool:
    """Whether the value stands for a secret rather than being one (`YOUR_API_KEY`, `xxxx`, `<token>`, `${TOKEN}`)."""
    if _PLACEHOLDER.search(value):
        return True
    most = Counter(value).most_common(1)
    return bool(most) and len(value) >= 6 and most[0][1] / len(value) > 0.6


_CODE_VALUE = re.compile(
    r"^(?:none|null|nil|true|false|undefined|string|str|int|bool|bytes|text|char|varchar|void|empty|unknown|required|optional"
    r"|pass|passwd|password|passphrase|secret|token|username|user|admin_?password|input|self|this|value|key|test|hidden|prompt"
    r"|type|var|const|let|new|function|return|env|process|os|get|set)\W*$"
    r"|^[\[(<{%$@&|/\\#]|[(\[{]|=>| \+ |\$[A-Z_]{3}|^[A-Za-z_]+(?:\.[A-Za-z_]+)+[;,]?$|\.(?:get|env|password|passwd|pwd|secret|token|value|text|key)\b|::|->|^\W+$",
    re.IGNORECASE,
)
_ORDINARY_WORD = re.compile(r"^[A-Za-z]+(?:[_-][A-Za-z]+)*[.,;:!?)]*$")


def password_value(value: str) -> bool:
    """Whether an assigned value can be a real password: not code, not a variable, not a placeholder."""
    return 4 <= len(value) <= 80 and not _CODE_VALUE.search(value) and not placeholder(value)


def spoken_password(value: str) -> bool:
    """Whether a value named in a sentence can be a password: like `password_value`, and no ordinary word or plain number."""
    if not password_value(value) or _ORDINARY_WORD.match(value):
        return False
    bare = value.rstrip(".,;:!?)")
    kinds = (
        any(character.islower() for character in bare)
        + any(character.isupper() for character in bare)
        + any(character.isdigit() for character in bare)
        + any(not character.isalnum() for character in bare)
    )
    return len(bare) >= 6 and kinds >= 2 and any(character.isdigit() or not character.isalnum() for character in bare)


def jwt(value: str) -> bool:
    """Whether the first segment is base64url JSON that names an algorithm."""
    head = value.split(".", 1)[0]
    try:
        header = msgspec.json.decode(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (binascii.Error, ValueError, msgspec.DecodeError):
        return False
    return isinstance(header, dict) and "alg" in header


def basic_auth(value: str) -> bool:
    """Whether the value is base64 of `user:password`."""
    try:
        decoded = base64.b64decode(value + "=" * (-len(value) % 4))
        user, separator, password = decoded.decode("ascii").partition(":")
    except (binascii.Error, ValueError):
        return False
    return bool(separator and password) and (user + password).isprintable()


def key_block(value: str) -> bool:
    """Whether a private key block has a body, not only its first line."""
    body = re.sub(r"-----[A-Z0-9 ]+-----", "", value)
    return len(re.sub(r"[^A-Za-z0-9+/]", "", body)) >= 24 and not placeholder(body[:200])


_DOCUMENTATION_NETWORKS = tuple(
    ipaddress.ip_network(network) for network in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
)


def private_address(value: str) -> bool:
    """Whether the value is an address inside an organisation (RFC 1918, unique local), no loopback."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    return address.is_private and not _harmless(address)


def public_address(value: str) -> bool:
    """Whether the value is a globally routed address, outside the documentation ranges."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    return address.is_global and not _harmless(address)


def _harmless(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return (
        address.is_loopback
        or address.is_unspecified
        or address.is_multicast
        or address.is_link_local
        or address.is_reserved
        or any(address in network for network in _DOCUMENTATION_NETWORKS if network.version == address.version)
    )


_RESERVED_DOMAINS = re.compile(
    r"(?:^|[@.])(?:example\.(?:com|org|net|edu)|[\w-]+\.(?:example|test|invalid|localhost)|localhost|domain\.com|email\.com|yourdomain\.\w+|company\.com)$",
    re.IGNORECASE,
)
_FILE_ENDINGS = frozenset(
    {"png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "ts", "py", "json", "html", "md", "yml", "yaml", "txt"}
)


def mail_address(value: str) -> bool:
    """Whether the value is an address of somebody: no reserved domain, no file name (`icon@2x.png`), no `git@host`."""
    local, _, domain = value.rpartition("@")
    return (
        not _RESERVED_DOMAINS.search("@" + domain)
        and domain.rpartition(".")[2].lower() not in _FILE_ENDINGS
        and local.lower() not in ("git", "noreply", "no-reply")
    )


def any_of(*checks: Check) -> Check:
    """A check that one of the checks holds."""

    def check(value: str) -> bool:
        return any(one(value) for one in checks)

    return check
