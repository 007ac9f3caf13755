"""Secrets without a form of their own: private keys, passwords, connection strings, values named key or token."""

from __future__ import annotations

import re

from classifiers.sensitivity.kinds.rule import Rule
from classifiers.sensitivity.validators import (
    basic_auth,
    distinct,
    key_block,
    password_value,
    placeholder,
    random_token,
    spoken_password,
)

_PATH = re.compile(r"\w+(?:/\w+)+(?:#\w+)?")


def _assigned_password(value: str) -> bool:
    return password_value(value) and not _PATH.fullmatch(value)


_NO_TOKEN = re.compile(r"^(?:https?:|arn:|\.?/|[a-z]+=\w)|\.\.|[\-.]\d+\.\d+(?:\.\d+)?$", re.IGNORECASE)
"""Addresses, paths, assignments, what is cut short, what ends in a version."""

_UUID_SHAPE = re.compile(r"(?:^|-)([0-9a-z]{8}-[0-9a-z]{4}-([0-9a-z])[0-9a-z]{3}-[0-9a-z]{4}-[0-9a-z]{12})$", re.IGNORECASE)
_HEXADECIMAL = re.compile(r"[0-9a-fA-F-]+")


def _named_token(value: str) -> bool:
    return len(value) >= 20 and random_token(value) and not _NO_TOKEN.search(value) and not _typed(value)


def _typed(value: str) -> bool:
    """Whether the value has a form that only hands give it: a UUID that is none, or hexadecimal in both cases."""
    uuid = _UUID_SHAPE.search(value)
    if uuid:  # versions 1 to 3 and 5 are made of a time or a name, not at random (RFC 9562)
        return uuid[2] in "1235" or not _HEXADECIMAL.fullmatch(uuid[1])
    return bool(_HEXADECIMAL.fullmatch(value)) and value.lower() != value != value.upper()


_STANDING_FOR_PASSWORDS = frozenset({"password", "passwd", "pass", "pwd", "token", "yyy", "pw", "p4ssw0rd", "test"})


def _url_password(value: str) -> bool:
    value = value.rstrip(">)}]\"'")
    return (
        len(value) >= 3
        and not placeholder(value)
        and not value.startswith(("$", "{", "<", "%", "[", "*"))
        and value.lower() not in _STANDING_FOR_PASSWORDS
    )


RULES = (
    Rule(
        id="secrets.private_key",
        category="credentials",
        kind="private_key",
        pattern=(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
            r"(?:(?:[A-Za-z0-9+/=\s\\:,.()\"'>|]|-[A-Za-z0-9])*-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|[A-Za-z0-9+/=\s\\]*)"
        ),
        trigger="PRIVATE KEY",
        keywords=("private key",),
        check=key_block,
        score=0.98,
        specific=4,
    ),
    Rule(
        id="secrets.private_key_encoded",
        category="credentials",
        kind="private_key",
        pattern=r"LS0tLS1CRUdJTi[A-Za-z0-9+/]{30,}={0,2}",
        trigger="LS0tLS1CRUdJTi",
        keywords=("ls0tls1crudjti",),
        check=distinct(10),
        score=0.9,
        specific=4,
    ),
    Rule(
        id="secrets.putty_key",
        category="credentials",
        kind="private_key",
        pattern=r"PuTTY-User-Key-File-\d: [A-Za-z0-9\-]{3,20}\s",
        trigger="PuTTY-User-Key-File-",
        keywords=("putty-user-key-file-",),
        score=0.9,
        specific=4,
    ),
    Rule(
        id="secrets.url_password",
        category="credentials",
        kind="connection_string",
        pattern=r"\b[a-zA-Z][a-zA-Z0-9+.\-]{1,20}://[^\s:/?#\"'@<>]{0,80}:([^\s/\"'@<>]{3,})@[A-Za-z0-9\[$%{]",
        trigger=r"://[^\s:/?#\"'@<>]{0,80}:[^\s/\"'@<>]{3,}@",
        keywords=("://",),
        check=_url_password,
        score=0.92,
        specific=3,
    ),
    Rule(
        id="secrets.connection_string",
        category="credentials",
        kind="connection_string",
        pattern=r"(?i)(?:server|data source|host|user id|uid|username|driver|endpoint)\s{0,2}=[^\n]+?;\s{0,2}(?:password|pwd)\s{0,2}=\s{0,2}([^;\s\"']{3,})",
        trigger=r"(?i)(?:password|pwd)\s{0,2}=",
        keywords=("password", "pwd"),
        check=_url_password,
        score=0.9,
        specific=3,
    ),
    Rule(
        id="secrets.password_assigned",
        category="credentials",
        kind="password",
        pattern=(
            r"(?i)(?:p[a4@][s5$]{2}w[o0]rd|passwd|passwort|passphrase|passcode|contraseña|mot de passe|pwd|pass|_pw)(?:[_\-]?(?:hash|db|prod|dev|test|admin|root|user))?"
            r"[\"'`\\\])]{0,3}[ \t]{0,3}(?::=|=>|=|:|,)[ \t]{0,3}\\?(?:\"([^\"\n]{4,})\"|'([^'\n]{4,})'|([^\s\"'`,;()<>]{4,}))"
        ),
        trigger=r"(?i)(?:p[a4@][s5$]{2}w[o0]rd|pass(?:wd|wort|phrase|code)?|contraseña|mot de passe|pwd|_pw)(?:[_\-]?[a-z]{2,5})?[\"'`\\\])]{0,3}\s{0,3}[:=,]",
        keywords=("pass", "word", "w0rd", "contraseña", "mot de passe", "pwd", "_pw"),
        check=_assigned_password,
        score=0.75,
        specific=1,
    ),
    Rule(
        id="secrets.password_spoken",
        category="credentials",
        kind="password",
        pattern=r"(?i)\b(?:p[a4@][s5$]{2}w[o0]rd|passwort|passphrase|passcode|pwd|contraseña|mot de passe|login)(?: (?:for|to|of|on) (?:\S+ ){1,4}?)?\s{0,2}(?:is|ist|est|es|was|1s|1\$|i\$|=|:|to)?[ :\"'`]{1,3}([^\s\"'`<>]{6,})",
        trigger=r"(?i)p[a4@][s5$]{2}w[o0]rd|passwort|passphrase|passcode|\bpwd\b|contraseña|mot de passe|\blogin\b",
        keywords=("word", "w0rd", "passwort", "passphrase", "passcode", "pwd", "contraseña", "mot de passe", "login"),
        check=spoken_password,
        score=0.65,
        specific=1,
    ),
    Rule(
        id="secrets.password_paired",
        category="credentials",
        kind="password",
        pattern=(
            r"(?i)\b(?:password|passwd|passphrase|passcode|secret)\b[^\n]{0,60}?"
            r"\\{0,3}[\"']value\\{0,3}[\"']\s{0,3}:\s{0,3}\\{0,3}[\"']([^\"'\\\s]{4,80})\\{0,3}[\"']"
        ),
        trigger=r"(?i)[\"']value\\{0,3}[\"']\s{0,3}:",
        keywords=("value",),
        check=_assigned_password,
        score=0.75,
        specific=1,
    ),
    Rule(
        id="secrets.named_token",
        category="credentials",
        kind="api_key",
        pattern=(
            r"(?i)(?:key|token|tkn|secret|credential|apikey|auth|passw(?:or)?d|access|cred|signature|bearer|salt|pat|private|login)s?"
            r"(?:[_\-. ]?(?:key|token|value|string|base|data))?[\"'`\\\])]{0,3}"
            r"(?:\s{0,3}(?::{0,3}\??=|=>|:|,|\|\||>)\s{0,3}|\s{1,3}(?:is\s|=\s)?|[\-.])(?:(?:bearer|basic|token)\s{1,2})?[\"'`\\\[({]{0,3}"
            r"([A-Za-z0-9_\-+/=.~!@#$%^&*:]{16,})"
        ),
        trigger=r"(?i)(?:key|token|tkn|secret|credential|auth|passw(?:or)?d|access|cred|signature|bearer|salt|pat|private|login)[^\x00]{0,24}?[A-Za-z0-9_\-+/=.~!@#$%^&*:]{16}",
        keywords=("key", "token", "tkn", "secret", "cred", "auth", "passw", "access", "signature", "bearer", "salt", "pat", "private", "login"),
        check=_named_token,
        unless=("public", "csrf", "xsrf", "kms", "credentialsid", "access_id", "sha256-", "sha512-", "commit", "checksum"),
        score=0.7,
        specific=0,
    ),
    Rule(
        id="secrets.authorization_bearer",
        category="credentials",
        kind="bearer_token",
        pattern=r"(?i)\bbearer\s{1,3}([A-Za-z0-9_\-.~+/=]{16,})",
        keywords=("bearer",),
        check=random_token,
        score=0.85,
        specific=1,
    ),
    Rule(
        id="secrets.authorization_basic",
        category="credentials",
        kind="basic_auth",
        pattern=r"(?i)\bbasic\s{1,3}([A-Za-z0-9+/]{8,}={0,2})",
        keywords=("basic",),
        check=basic_auth,
        score=0.9,
    ),
    Rule(
        id="secrets.curl_user",
        category="credentials",
        kind="basic_auth",
        pattern=r"\bcurl\b[^|;]*?\s(?:-u|--user)[ =]{1,3}[\"']?[^\s\"':$]{0,80}[\"']?:[\"']?([^\s\"'$]{3,})",
        trigger=r"\s(?:-u|--user)[ =]",
        keywords=("curl",),
        check=_url_password,
        score=0.85,
        specific=3,
    ),
    Rule(
        id="secrets.password_hash",
        category="credentials",
        kind="password_hash",
        pattern=r"(?:^|[^\w$])(\$(?:1|2[abxy]?|5|6|y|argon2(?:id|i|d)|pbkdf2-sha\d{3}|apr1)\$[A-Za-z0-9./$=,+]{16,}|\$krb5(?:asrep|tgs|pa)\$[^\s]{20,})",
        trigger=r"\$(?:1|2[abxy]?|5|6|y|argon2|pbkdf2|apr1|krb5)",
        keywords=("$1$", "$2", "$5$", "$6$", "$y$", "$argon2", "$pbkdf2", "$apr1$", "$krb5"),
        score=0.85,
        specific=3,
    ),
)  # fmt: skip
