"""How are secrets kept at rest?

Encrypted with a key from a 0600 file (Fernet: AES-128-CBC with HMAC-SHA256). The file may hold
several keys, one a line, newest first: all of them decrypt, the first encrypts, so keys rotate.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from amity.kernel.errors import Corrupt, Forbidden

PREFIX = "enc:"


class KeyFileOpen(Forbidden):
    """The key file can be read by others: set its mode to 0600."""


class SecretBox:
    """Encrypts and decrypts short strings.

    Args:
        key_file: Made with a fresh key when missing; refused when others may read it.
    """

    def __init__(self, key_file: Path) -> None:
        if not key_file.exists():
            self._make(key_file)
        if stat.S_IMODE(key_file.stat().st_mode) & 0o077:
            raise KeyFileOpen(f"{key_file.name} can be read by others: set its mode to 0600")
        keys = [line.strip() for line in key_file.read_text().splitlines() if line.strip()]
        self._box = MultiFernet([Fernet(key) for key in keys])

    def encrypt(self, plain: str) -> str:
        return PREFIX + self._box.encrypt(plain.encode()).decode()

    def decrypt(self, sealed: str) -> str:
        try:
            return self._box.decrypt(sealed.removeprefix(PREFIX).encode()).decode()
        except InvalidToken as error:
            raise Corrupt(
                "a stored secret was encrypted with a key that is not in the key file"
            ) from error

    @staticmethod
    def _make(key_file: Path) -> None:
        handle = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as out:
            out.write(Fernet.generate_key().decode() + "\n")
            out.flush()
            os.fsync(out.fileno())
