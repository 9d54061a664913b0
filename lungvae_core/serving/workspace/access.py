"""Access rights: sign-in settings, the signed-in person behind a request, and the two roles.

Without sign-in settings, only people on this machine can use the app, as researchers. With an `[auth]` table
(the one that Streamlit's `st.login` reads) everybody signs in at an OpenID provider and is a viewer, unless
named as a researcher. The table is in the TOML file that LUNGVAE_SIGN_IN names, else in
`.streamlit/secrets.toml` below the working or the home folder. A table `[lungvae]` in the same file has the
other settings; environment variables take precedence:

    researchers = ["a@b.org", "@c.org"]      LUNGVAE_RESEARCHERS="a@b.org,@c.org"
    researcher_groups = ["lung-lab"]         LUNGVAE_RESEARCHER_GROUPS
    group_claim = "groups"                   LUNGVAE_GROUP_CLAIM
    viewers = ["@b.org"]                     LUNGVAE_VIEWERS; empty: everybody whom the provider signs in
    trust_email = false                      LUNGVAE_TRUST_EMAIL: addresses count that are not marked verified
    session_hours = 12                       LUNGVAE_SESSION_HOURS
    hosts = ["lungs.example.org"]            LUNGVAE_HOSTS: names of this server besides the sign-in's

A person is identified only by the cookie that Streamlit signs after a sign-in.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import time
import tomllib
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from itsdangerous import BadData, URLSafeTimedSerializer
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from starlette.requests import HTTPConnection

from lungvae_core.errors import UserError
from lungvae_core.json_text import parse_json

_PERSON = "lungvae.person"  # key in a connection's scope
COOKIE = "_streamlit_user"  # Streamlit's name for the sign-in cookie
CALLBACK = "/oauth2callback"
LOGOUT = "/auth/logout"
MOST_HOURS = 24 * 30  # Streamlit's cookie expires then
MOST_CHUNKS = 8  # of 4 kB; browsers send no more in total
LEAST_SECRET = 32  # characters
LOCAL = ("localhost", "127.0.0.1", "::1")
_Model = TypeVar("_Model", bound=BaseModel)
_CHUNKS = re.compile(r"chunks-([1-9]\d?)")


class Role(IntEnum):
    """What a person may do; a higher one includes the lower."""

    VIEWER = 1  # look at everything, upload, make maps, keep sets
    RESEARCHER = 2  # also start, stop and resume work, and delete


# The words that confirm, when a server is started, that it needs no sign-in, and what they allow.
OPEN_WORDS = {
    "anyone on this network may use it": Role.VIEWER,
    "anyone on this network may use it, train and delete": Role.RESEARCHER,
}


class SignIn(BaseModel):
    """The table [auth]: one OpenID provider, as `st.login` wants it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    redirect_uri: str
    cookie_secret: str = Field(min_length=LEAST_SECRET)
    client_id: str = Field(min_length=1)
    client_secret: str = Field(min_length=1)
    server_metadata_url: str
    client_kwargs: dict[str, str | int | bool] = Field(default_factory=dict)

    @field_validator("redirect_uri")
    @classmethod
    def _callback(cls, value: str) -> str:
        _secure(value)
        if urlsplit(value).path != CALLBACK or urlsplit(value).query:
            raise ValueError(f"must be the app's address with {CALLBACK}, and nothing behind it")
        return value

    @field_validator("server_metadata_url")
    @classmethod
    def _metadata(cls, value: str) -> str:
        return _secure(value)

    @property
    def origin(self) -> str:
        """Scheme, host and port under which people open the app."""
        parts = urlsplit(self.redirect_uri)
        return f"{parts.scheme}://{parts.netloc}"


class Rules(BaseModel):
    """The table [lungvae]: who may do what, and for how long."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    researchers: tuple[str, ...] = ()
    researcher_groups: tuple[str, ...] = ()
    group_claim: str = Field(default="groups", min_length=1, max_length=200)
    viewers: tuple[str, ...] = ()
    trust_email: bool = False
    session_hours: float = Field(default=12, gt=0, le=MOST_HOURS, allow_inf_nan=False)
    hosts: tuple[str, ...] = ()

    @field_validator("researchers", "viewers")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            if not re.fullmatch(r"[^@\s,]*@[^@\s,]+", entry):
                raise ValueError(f"{entry!r} is neither an e-mail address nor a domain as @example.org")
        return tuple(entry.lower() for entry in value)

    @field_validator("hosts")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            if host_name(entry) != entry.lower():
                raise ValueError(f"{entry!r} is not a host's name, without scheme and port")
        return tuple(entry.lower() for entry in value)


@dataclass(frozen=True)
class Person:
    """The person behind a request, and what they may do."""

    name: str  # e-mail address or the provider's id, as in the audit log
    role: Role | None  # None: may only sign in
    reason: str = ""  # why there is no role, in a sentence
    until: float | None = None  # seconds since 1970 when the session ends; None without a sign-in

    @property
    def role_name(self) -> str:
        """The role in one word."""
        return "nobody" if self.role is None else self.role.name.lower()


@dataclass(frozen=True)
class Access:
    """Who may use this server, and how they sign in."""

    sign_in: SignIn | None = None
    rules: Rules = field(default_factory=Rules)
    open_words: str = ""  # one of OPEN_WORDS if everybody may use the server

    def __post_init__(self) -> None:
        if self.open_words and self.open_words not in OPEN_WORDS:
            raise UserError(
                "A server that others can reach needs a sign-in (docs/server.md). To go without, say so in "
                f"exactly these words: {' or '.join(map(repr, OPEN_WORDS))}."
            )

    @property
    def local_only(self) -> bool:
        """Whether only requests from this machine are answered."""
        return self.sign_in is None and not self.open_words

    def secrets(self) -> dict[str, Any] | None:
        """The value for `st.App(secrets=...)`, so that Streamlit and this module read the same settings."""
        return None if self.sign_in is None else {"auth": self.sign_in.model_dump()}

    def host_allowed(self, header: str | None) -> bool:
        """Whether a request's Host header names this server.

        Another site's name that resolves to this server (DNS rebinding) is refused. A server without a
        sign-in still accepts every literal address, since DNS rebinding needs a name.
        """
        name = host_name(header or "")
        if not name:
            return False
        names = {*LOCAL, *self.rules.hosts}
        if self.sign_in is not None:
            names.add(host_name(urlsplit(self.sign_in.origin).netloc))
        elif self.open_words:
            if ip_address(name) is not None:
                return True
            names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        return name in names

    def person_of(self, scope: MutableMapping[str, Any]) -> Person:
        """The person behind an ASGI connection; its cookies are verified only once."""
        person: Person | None = scope.get(_PERSON)
        if person is None:
            person = scope[_PERSON] = self.person(HTTPConnection(scope).cookies)
        return person

    def person(self, cookies: Mapping[str, str], *, now: float | None = None) -> Person:
        """The person behind a browser with these cookies; never raises, whatever the cookies contain."""
        if self.sign_in is None:
            if self.open_words:
                return Person("anyone", OPEN_WORDS[self.open_words])
            return Person("this machine", Role.RESEARCHER)
        claims, since = read_cookie(cookies, self.sign_in.cookie_secret)
        if (
            not claims
            or claims.get("origin") != self.sign_in.origin
            or claims.get("is_logged_in") is not True
        ):
            return Person("", None, "Sign in to go on.")
        name = str(claims.get("email") or claims.get("sub") or "")[:254]
        until = since + 3600 * self.rules.session_hours
        if not name or (now or time.time()) >= until:
            hours = f"{self.rules.session_hours:g} hour{'s' * (self.rules.session_hours != 1)}"
            return Person(name, None, f"Sessions end after {hours}, and yours has. Sign in again to go on.")
        role = self._role(claims)
        if role is None:
            return Person(name, None, f"{name} may not use this server. Ask whoever runs it.")
        return Person(name, role, until=until)

    def _role(self, claims: Mapping[str, Any]) -> Role | None:
        # Anybody can claim an address that the provider has not verified.
        verified = self.rules.trust_email or claims.get("email_verified") is True
        email = str(claims.get("email") or "").lower() if verified else ""
        claimed = claims.get(self.rules.group_claim)
        groups = set(map(str, claimed)) if isinstance(claimed, list) else {str(claimed)}
        if _listed(email, self.rules.researchers) or groups & set(self.rules.researcher_groups):
            return Role.RESEARCHER
        return Role.VIEWER if not self.rules.viewers or _listed(email, self.rules.viewers) else None


def read_access(environment: Mapping[str, str] | None = None) -> Access:
    """The access configured by files and environment; UserError for anything wrong in them."""
    variables = os.environ if environment is None else environment
    path = sign_in_file(variables)
    tables = {} if path is None else _read_toml(path)
    rules = tables.get("lungvae", {})
    if not isinstance(rules, dict) or not isinstance(tables.get("auth", {}), dict):
        raise UserError(f"In {path}, [auth] and [lungvae] must be tables; see docs/server.md.")
    rules = {**rules, **_from_environment(variables)}
    named = variables.get("LUNGVAE_SIGN_IN")
    if named and "auth" not in tables:
        raise UserError(f"LUNGVAE_SIGN_IN names {named}, which has no table [auth]; see docs/server.md.")
    return Access(
        sign_in=_model(SignIn, tables["auth"], f"[auth] in {path}") if "auth" in tables else None,
        rules=_model(Rules, rules, f"Access rules (table [lungvae]{f' in {path}' if path else ''})"),
        open_words=variables.get("LUNGVAE_NO_SIGN_IN", ""),
    )


@cache
def current() -> Access:
    """The access of this process, read once."""
    return read_access()


def sign_in_file(environment: Mapping[str, str]) -> Path | None:
    """The file that holds the sign-in, or None."""
    if named := environment.get("LUNGVAE_SIGN_IN"):
        return Path(named)
    places = [folder / ".streamlit" / "secrets.toml" for folder in (Path.cwd(), Path.home())]
    return next((path for path in places if path.is_file()), None)


def read_cookie(cookies: Mapping[str, str], secret: str) -> tuple[dict[str, Any], float]:
    """The data Streamlit signed at sign-in, and when (seconds since 1970); ({}, 0.0) if there is none.

    A cookie that was too long is split into parts, each signed; the first says how many there are. The oldest
    part gives the time.
    """
    signed = _signed(cookies, COOKIE, secret)
    if signed is None:
        return {}, 0.0
    text, since = signed
    if parts := _CHUNKS.fullmatch(text):
        if int(parts[1]) > MOST_CHUNKS:
            return {}, 0.0
        chunks = [_signed(cookies, f"{COOKIE}_{at + 1}", secret) for at in range(int(parts[1]))]
        whole = [chunk for chunk in chunks if chunk is not None]
        if len(whole) != len(chunks):
            return {}, 0.0
        text, since = "".join(chunk[0] for chunk in whole), min(since, *(chunk[1] for chunk in whole))
    try:
        claims = parse_json(text, what="The cookie")
    except UserError:
        return {}, 0.0
    return (claims, since) if isinstance(claims, dict) else ({}, 0.0)


def _signed(cookies: Mapping[str, str], name: str, secret: str) -> tuple[str, float] | None:
    value = cookies.get(name)
    if not value or len(value) > 8192:
        return None
    try:
        text, when = URLSafeTimedSerializer(secret, salt=name).loads(value, return_timestamp=True)
    except (BadData, UnicodeError, OverflowError, ValueError):
        return None
    return (text, when.timestamp()) if isinstance(text, str) else None


def host_name(header: str) -> str:
    """The host in a Host header or a URL's netloc: lower case, without port; "" where it is malformed."""
    if not re.fullmatch(r"[A-Za-z0-9._:\[\]-]{1,255}", header):
        return ""
    try:
        parts = urlsplit(f"//{header}" if header.count(":") < 2 or "[" in header else f"//[{header}]")
        _ = parts.port  # raises if it is not a number
    except ValueError:
        return ""
    return (parts.hostname or "").rstrip(".")


def is_loopback(host: str | None) -> bool:
    """Whether an address is this machine's; a Unix socket has no address and counts as this machine."""
    if host is None or host == "localhost":
        return True
    address = ip_address(host.strip("[]"))
    return address is not None and address.is_loopback


def ip_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An IP address, as IPv4 where it only maps one into IPv6; None for any other text."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _listed(email: str, entries: tuple[str, ...]) -> bool:
    return bool(email) and any(
        email == entry or (entry[0] == "@" and email.endswith(entry)) for entry in entries
    )


def _secure(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not host_name(parts.netloc):
        raise ValueError("must be an address that begins with https://")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("must begin with https://; http is for this machine only")
    return url


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    rules: dict[str, Any] = {}
    for name, info in Rules.model_fields.items():
        if not (value := environment.get(f"LUNGVAE_{name.upper()}")):
            continue
        many = info.annotation == tuple[str, ...]
        rules[name] = [part.strip() for part in value.split(",") if part.strip()] if many else value
    return rules


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        # Do not show the file's content: it holds secrets.
        reason = error.strerror if isinstance(error, OSError) else "it is not TOML"
        raise UserError(f"The settings of the sign-in, {path}, cannot be read: {reason}.") from None


def _model(kind: type[_Model], values: dict[str, Any], where: str) -> _Model:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors(include_input=False)
        )
        raise UserError(f"{where} cannot be used. {problems}. See docs/server.md.") from None
