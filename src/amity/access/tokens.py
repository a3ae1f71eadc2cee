"""What is an access token, and is it still good?

A JWT signed with HMAC-SHA256 under a key of this installation; valid 24 hours
(platform-collect.md §1). Tokens live in system time: a virtual business clock does not age them.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from amity.access.key_files import read_keys
from amity.kernel.clock import SystemClock
from amity.kernel.errors import Unauthorized

TOKEN_S = 86_400
ALGORITHM = "HS256"


class InvalidToken(Unauthorized):
    """Oauth token is not valid."""

    code = "401013"


class Tokens:
    """Issues and checks access tokens."""

    def __init__(self, *, key_file: Path, clock: SystemClock) -> None:
        self._clock = clock
        key, *_ = read_keys(key_file, lambda: secrets.token_hex(32))
        self._key = OctKey.import_key(key)
        self._checked: dict[str, tuple[dict[str, Any], int]] = {}

    def issue(self, client_id: str, org: str, seconds: int = TOKEN_S) -> tuple[str, int]:
        """A token for a client, and how many seconds it lives."""
        now_s = self._clock.now_ms() // 1_000
        claims = {"client_id": client_id, "org": org, "iat": now_s, "exp": now_s + seconds}
        return jwt.encode({"alg": ALGORITHM}, claims, self._key), seconds

    def check(self, token: str) -> dict[str, Any]:
        """The claims of a token that is ours and not expired."""
        now_s = self._clock.now_ms() // 1_000
        known = self._checked.get(token)
        if known is None:
            known = self._decode(token)
            if len(self._checked) > 1_000:
                self._checked.clear()
            self._checked[token] = known
        claims, expires_s = known
        if expires_s <= now_s:
            raise InvalidToken
        return claims

    def _decode(self, token: str) -> tuple[dict[str, Any], int]:
        try:
            claims = jwt.decode(token, self._key, algorithms=[ALGORITHM]).claims
        except (JoseError, ValueError) as error:
            raise InvalidToken from error
        expires = claims.get("exp")
        if not isinstance(expires, int):
            raise InvalidToken
        return claims, expires
