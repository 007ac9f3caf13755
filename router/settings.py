"""Process settings, from `ROUTER_*` variables or a TOML file; nothing governed is set here.

`ROUTER_CONFIG` names a TOML file; a variable wins over the file. Every field is documented in `docs/settings.md`.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from router.handshake import GO, READY


class SettingsError(Exception):
    """A setting is wrong; the message names each one and what is expected of it."""


class Settings(BaseSettings):
    """What an operator sets for one process tree. Durations in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="ROUTER_", frozen=True, extra="forbid", populate_by_name=True)

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on.")
    workers: int = Field(1, ge=1, le=64, description="Worker processes.")
    data_dir: Path = Field(Path("data"), description="Directory of the embedded stores, keys and audit checkpoints.")
    rules_dir: Path | None = Field(
        None,
        description="Directory of rule files, or the name of a starting set: seeds an empty store; a directory is a proposal afterwards.",
    )
    environment: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="Which of the `overlays/` beside rule files is read with them. Unset: none.",
    )
    redis_url: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("ROUTER_REDIS_URL", "REDIS_URL"),
        description="Redis to use (`redis://`, `rediss://`, `unix://`). Unset: a private one is started.",
    )
    redis_cluster: bool = Field(False, description="The Redis URL points at a cluster.")
    redis_vouched: bool = Field(
        False, description="The operator vouches that a managed Redis persists and does not evict; its own settings are not read."
    )
    redis_timeout: float = Field(0.8, gt=0, le=30, description="Time limit of one batch of Redis commands.")
    database_url: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("ROUTER_DATABASE_URL", "DATABASE_URL"),
        description="PostgreSQL to use (`postgresql+psycopg://`). Unset: SQLite in the data directory.",
    )
    secret_key: SecretStr | None = Field(
        None, description="32 bytes or more as hex, the same on all replicas. Unset: made once in the data directory."
    )
    governance: Literal["single", "four_eyes"] | None = Field(
        None, description="Who may change rules. Unset: `single` on loopback, `four_eyes` elsewhere."
    )
    proposers: Path | None = Field(
        None,
        description="File of pinned keys (ssh's allowed signers): `router rules propose` then takes only what one of them signed.",
    )
    webhook_secret: SecretStr | None = Field(
        None, description="32 bytes or more as hex, with which decisions on approvals are signed. Unset: no webhook decides."
    )
    notice_url: str | None = Field(None, description="Where notices of budgets are posted, signed with `notice_secret`.")
    notice_secret: SecretStr | None = Field(None, description="32 bytes or more as hex, with which notices are signed.")
    smtp_host: str | None = Field(None, description="Mail server that takes notices of budgets. Unset: none are mailed.")
    smtp_port: int = Field(587, ge=1, le=65535, description="Its port.")
    smtp_security: Literal["starttls", "tls", "none"] = Field("starttls", description="How the connection to it is protected.")
    smtp_user: str | None = Field(None, description="Name to sign in there with, where it asks for one.")
    smtp_password: SecretStr | None = Field(None, description="Password that goes with it.")
    smtp_from: str | None = Field(
        None, pattern=r"^[^\s@<>,;:]+@[^\s@<>,;:]+$", description="Address that notices come from; goes with `smtp_host`."
    )
    console_second_factor: Literal["optional", "required"] = Field(
        "optional", description="Whether everybody who signs in to the console with a password needs an authenticator app."
    )
    console_idle_seconds: float = Field(1800.0, ge=60, description="After how long without a page a visit of the console ends.")
    console_visit_seconds: float = Field(43_200.0, ge=60, description="After how long a visit of the console ends in any case.")
    oidc_issuer: str | None = Field(
        None, description="Issuer of the OpenID provider by which people sign in to the console. Unset: with passwords only."
    )
    oidc_client_id: str | None = Field(None, description="What the OpenID provider calls the console.")
    oidc_client_secret: SecretStr | None = Field(None, description="Its secret there.")
    oidc_name: str = Field("your organisation", description="How the sign-in page calls the OpenID provider.")
    max_body_bytes: int = Field(8 * 1024 * 1024, ge=1024, description="Largest request body.")
    outbox_cap: int = Field(200_000, ge=100, description="Records a shard may hold before requests are refused with 503.")
    drain_seconds: float = Field(30.0, ge=0, description="How long a stop waits for requests under way.")
    most_drains: int = Field(
        64, ge=0, description="How many streams a worker reads on at once although their clients have left; the others are cut."
    )
    checkpoint_seconds: float = Field(60.0, ge=1, description="Time between two signed audit checkpoints.")
    public_url: str | None = Field(
        None,
        description="Address at which others reach the service, as entitlement tokens and links name it. Unset: where it listens.",
    )
    tls_cert: Path | None = Field(None, description="PEM certificate chain; with `tls_key`, the service speaks HTTPS.")
    tls_key: Path | None = Field(None, description="PEM private key.")
    trusted_proxies: tuple[str, ...] = Field((), description="Addresses whose `X-Forwarded-*` headers are believed.")
    access_log: bool = Field(False, description="One log line for every request (evidence and metrics have it anyway).")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level that is logged.")
    log_format: Literal["json", "console"] = Field("json", description="How log lines look.")
    upstream_url: str | None = Field(None, description="Base URL of an OpenAI-compatible server to route to.")
    fast_model: str | None = Field(None, description="Its model for the fast tier.")
    reasoning_model: str | None = Field(None, description="Its model for the reasoning tier.")
    embedding_model: str | None = Field(None, description="Its model for embeddings.")
    upstream_api_key: SecretStr | None = Field(None, description="Its API key, where it asks for one.")

    @field_validator("upstream_url", "public_url", "oidc_issuer", "notice_url")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value

    @field_validator("redis_url")
    @classmethod
    def _of_redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must start with redis://, rediss:// or unix://")
        return value

    @field_validator("database_url")
    @classmethod
    def _of_a_store(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("postgresql", "sqlite:")):
            raise ValueError("must start with postgresql:// or postgresql+psycopg://")
        return value

    @field_validator("webhook_secret", "notice_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        try:
            long_enough = value is None or len(bytes.fromhex(value.get_secret_value())) >= 32
        except ValueError:
            long_enough = False
        if not long_enough:
            raise ValueError("at least 32 bytes as hexadecimal digits (`openssl rand -hex 32`)")
        return value

    @model_validator(mode="after")
    def _together(self) -> Settings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("ROUTER_TLS_CERT and ROUTER_TLS_KEY are set together or not at all")
        if len({value is None for value in (self.oidc_issuer, self.oidc_client_id, self.oidc_client_secret)}) > 1:
            raise ValueError(
                "ROUTER_OIDC_ISSUER, ROUTER_OIDC_CLIENT_ID and ROUTER_OIDC_CLIENT_SECRET are set together or not at all"
            )
        if (self.notice_url is None) != (self.notice_secret is None):
            raise ValueError("ROUTER_NOTICE_URL and ROUTER_NOTICE_SECRET are set together or not at all")
        if (self.smtp_host is None) != (self.smtp_from is None):
            raise ValueError("ROUTER_SMTP_HOST and ROUTER_SMTP_FROM are set together or not at all")
        if (self.smtp_user is None) != (self.smtp_password is None):
            raise ValueError("ROUTER_SMTP_USER and ROUTER_SMTP_PASSWORD are set together or not at all")
        if self.smtp_password is not None and self.smtp_security == "none":
            raise ValueError(
                "ROUTER_SMTP_SECURITY is `none`, so ROUTER_SMTP_PASSWORD would be sent in clear: use `starttls` or `tls`"
            )
        if self.upstream_url and not (self.fast_model or self.reasoning_model):
            raise ValueError("ROUTER_UPSTREAM_URL needs ROUTER_FAST_MODEL or ROUTER_REASONING_MODEL (one may serve both tiers)")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over variables, variables over the TOML file."""
        path = os.environ.get("ROUTER_CONFIG")
        file = (TomlConfigSettingsSource(settings_cls, Path(path)),) if path else ()
        return (init_settings, env_settings, *file)

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def address(self) -> str:
        """The address at which others reach the service, without a slash at its end."""
        if self.public_url is not None:
            return self.public_url.rstrip("/")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls_cert else 'http'}://{host}:{self.port}"

    @property
    def webhook_key(self) -> bytes | None:
        """The key with which webhooks are signed, or None."""
        return None if self.webhook_secret is None else bytes.fromhex(self.webhook_secret.get_secret_value())

    @property
    def notice_key(self) -> bytes | None:
        """The key with which notices of budgets are signed, or None."""
        return None if self.notice_secret is None else bytes.fromhex(self.notice_secret.get_secret_value())

    @property
    def governance_mode(self) -> str:
        """`single` or `four_eyes`, with the default of the address filled in."""
        return self.governance or ("single" if self.on_loopback else "four_eyes")

    @property
    def sql_url(self) -> str:
        """SQLAlchemy URL of the database."""
        if self.database_url is not None:
            url = self.database_url.get_secret_value()
            for prefix in ("postgres://", "postgresql://"):
                if url.startswith(prefix):
                    return "postgresql+psycopg://" + url.removeprefix(prefix)
            return url
        return f"sqlite:///{self.data_dir.absolute() / 'router.db'}"


def provider_environment(settings: Settings) -> dict[str, str]:
    """The environment in which `env:NAME` references are looked up, with the server that the settings' file may name."""
    named = {
        "ROUTER_UPSTREAM_URL": settings.upstream_url,
        "ROUTER_FAST_MODEL": settings.fast_model,
        "ROUTER_REASONING_MODEL": settings.reasoning_model,
        "ROUTER_EMBEDDING_MODEL": settings.embedding_model,
        "ROUTER_UPSTREAM_API_KEY": settings.upstream_api_key.get_secret_value() if settings.upstream_api_key else None,
    }
    return {**os.environ, **{name: value for name, value in named.items() if value is not None}}


def load_settings(**overrides: object) -> Settings:
    """Read and check all settings. Raises SettingsError with one line for each that is wrong."""
    path = os.environ.get("ROUTER_CONFIG")
    if path and not Path(path).is_file():
        raise SettingsError(f"ROUTER_CONFIG: there is no file `{path}`")
    known = {f"ROUTER_{name.upper()}" for name in Settings.model_fields} | {"ROUTER_CONFIG"}
    unknown = sorted(name for name in os.environ if name.startswith("ROUTER_") and name not in known and name not in NOT_SETTINGS)
    if unknown:
        raise SettingsError("\n".join(f"{name}: unknown setting; docs/settings.md lists all" for name in unknown))
    try:
        return Settings(**{key: value for key, value in overrides.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError(
            "\n".join(_sentence(fault) for fault in error.errors(include_url=False, include_input=False))
        ) from None


NOT_SETTINGS = frozenset(
    {"ROUTER_TEST_POSTGRES_URL", "ROUTER_URL", "ROUTER_KEY", "ROUTER_TOKEN", GO, READY, "ROUTER_RUNTIME_DIR", "ROUTER_WORKER_ID"}
)
"""Variables with our prefix that are not the service's settings: the demo's, the tests' and the supervisor's own."""


def _sentence(fault: object) -> str:
    location = fault["loc"]  # type: ignore[index]
    message = str(fault["msg"]).removeprefix("Value error, ")  # type: ignore[index]
    if not location:  # about several settings, which the message names
        return message
    return f"ROUTER_{str(location[0]).removeprefix('ROUTER_').upper()}: {message}"
