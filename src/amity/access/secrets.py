"""How are secrets kept at rest?

Encrypted with a key from a 0600 file (Fernet: AES-128-CBC with HMAC-SHA256). The file may hold
several keys, one a line, newest first: all of them decrypt, the first encrypts, so keys rotate.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from amity.access.key_files import read_keys
from amity.kernel.errors import Corrupt

PREFIX = "enc:"


class SecretBox:
    """Encrypts and decrypts short strings.

    Args:
        key_file: Made with a fresh key when missing; refused when others may read it.
    """

    def __init__(self, key_file: Path) -> None:
        keys = read_keys(key_file, lambda: Fernet.generate_key().decode())
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
