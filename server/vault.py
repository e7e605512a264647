"""Secrets at rest: sealed with a key that is not in the database.

The key file holds one Fernet key a line (AES-128-CBC and HMAC-SHA256,
https://github.com/fernet/spec), the newest first: that one seals, all of them open.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.problems import LadingError

if TYPE_CHECKING:
    from cryptography.fernet import Fernet


class VaultError(LadingError):
    """The key file cannot be used, or does not open what it should."""


class Vault:
    """Seals and opens texts with the keys of one file.

    Args:
        path: The key file; made, readable by its owner alone, when something is sealed first.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def seal(self, text: str) -> tuple[str, bytes]:
        """The id of the key, and the sealed text.

        Raises:
            VaultError: The key file cannot be made or read.
        """
        keys = self._keys() or [self._add(())]
        return key_id(keys[0]), _fernet(keys[0]).encrypt(text.encode())

    def open(self, key: str, sealed: bytes) -> str:
        """A text that was sealed with the key of that id.

        Raises:
            VaultError: The file does not hold the key, or the text was changed.
        """
        from cryptography.fernet import InvalidToken

        found = next((each for each in self._keys() if key_id(each) == key), None)
        if found is None:
            raise VaultError(
                f"{self.path} does not hold the key {key} that secrets were sealed with: put the "
                "key file back from where you keep it (it is not in backups of the database), or "
                "remove the secrets and set them anew"
            )
        try:
            return _fernet(found).decrypt(sealed).decode()
        except InvalidToken:
            raise VaultError(
                "a secret in the database was changed from outside: set it anew"
            ) from None

    def holds(self, key: str) -> bool:
        """Whether the file holds the key of that id."""
        return any(key_id(each) == key for each in self._keys())

    def add_key(self) -> str:
        """Put a new key in front, with which everything is sealed from now on; its id."""
        return key_id(self._add(tuple(self._keys())))

    def drop_old_keys(self) -> int:
        """Keep the newest key alone; how many went."""
        keys = self._keys()
        if len(keys) > 1:
            self._write(keys[:1])
        return max(len(keys) - 1, 0)

    def _add(self, keys: tuple[str, ...]) -> str:
        from cryptography.fernet import Fernet

        new = Fernet.generate_key().decode()
        self._write([new, *keys])
        return new

    def _keys(self) -> list[str]:
        try:
            lines = self.path.read_text().split()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise VaultError(f"the key file {self.path} cannot be read ({error})") from error
        for line in lines:
            _fernet(line)
        return lines

    def _write(self, keys: list[str]) -> None:
        """The file whole or as it was: a key that is lost takes every secret with it."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, made = tempfile.mkstemp(dir=self.path.parent, prefix=".key-")
            with os.fdopen(descriptor, "w") as file:
                file.write("\n".join(keys) + "\n")
                file.flush()
                os.fsync(file.fileno())
            Path(made).replace(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise VaultError(f"the key file {self.path} cannot be written ({error})") from error


def key_id(key: str) -> str:
    """A name for a key that tells nothing of it."""
    return hashlib.sha256(key.encode()).hexdigest()[:12]


def _fernet(key: str) -> Fernet:
    from cryptography.fernet import Fernet

    try:
        return Fernet(key)
    except ValueError:
        raise VaultError(
            "the key file holds a line that is no key: put the file back from where you keep it"
        ) from None
