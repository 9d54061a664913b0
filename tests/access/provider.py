"""A tiny OpenID provider for tests: discovery, authorisation code with PKCE, RS256 tokens, some accounts."""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.running import free_port

CLIENT, SECRET = "lungvae-tests", "client-secret-of-the-tests"
ACCOUNTS = {
    "viewer": {"email": "viewer@clinic.example", "email_verified": True},
    "researcher": {"email": "Researcher@lab.example", "email_verified": True},
    "unverified": {"email": "researcher@lab.example", "email_verified": False},
    "member": {"email": "member@clinic.example", "email_verified": True, "groups": ["lung-lab", "all"]},
    "long": {"email": "long@clinic.example", "email_verified": True, "groups": ["g" * 100] * 60},
}


@dataclass
class Provider:
    """The provider's state; `origin` is where it listens."""

    origin: str = ""
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one"}))
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    sign_with: RSAKey | None = None  # another key than the one published: a forged token

    def app(self) -> Starlette:
        """Its routes."""
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._metadata),
                Route("/keys", self._keys),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
            ]
        )

    async def _metadata(self, _request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.origin,
                "authorization_endpoint": f"{self.origin}/authorize",
                "token_endpoint": f"{self.origin}/token",
                "jwks_uri": f"{self.origin}/keys",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "code_challenge_methods_supported": ["S256"],
            }
        )

    async def _keys(self, _request: Request) -> Response:
        return JSONResponse({"keys": [self.key.as_dict(private=False, use="sig", alg="RS256")]})

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        account = asked.pop("account", "")
        if account not in ACCOUNTS:
            links = "".join(
                f'<p><a href="/authorize?{urlencode({**asked, "account": name})}">{name}</a></p>'
                for name in ACCOUNTS
            )
            return HTMLResponse(f"<title>Accounts</title><link rel='icon' href='data:,'>{links}")
        code = secrets.token_urlsafe(16)
        self.codes[code] = {**asked, "account": account}
        back = urlencode({"code": code, "state": asked["state"]})
        return RedirectResponse(f"{asked['redirect_uri']}?{back}", 302)

    async def _token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        asked = self.codes.pop(form.get("code", ""), None)
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if asked is None or request.headers.get("authorization") != f"Basic {basic}":
            return JSONResponse({"error": "invalid_grant"}, 400)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != asked["code_challenge"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {
            "iss": self.origin,
            "aud": CLIENT,
            "sub": asked["account"],
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            **ACCOUNTS[asked["account"]],
        }
        token = jwt.encode({"alg": "RS256", "kid": "one"}, claims, self.sign_with or self.key)
        return JSONResponse(
            {"access_token": "of no use", "token_type": "Bearer", "expires_in": 300, "id_token": token}
        )


@contextmanager
def running() -> Iterator[Provider]:
    """The provider on a port of its own, in a thread."""
    provider, port = Provider(), free_port()
    provider.origin = f"http://127.0.0.1:{port}"
    server = uvicorn.Server(
        uvicorn.Config(provider.app(), host="127.0.0.1", port=port, log_level="warning", lifespan="off")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started and time.monotonic() < until:
        time.sleep(0.02)
    try:
        yield provider
    finally:
        server.should_exit = True
        thread.join(10)
