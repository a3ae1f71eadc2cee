"""Clients, tokens, write keys and secrets: who gets in, and who does not."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from amity.access.clients import Clients, WrongClient
from amity.access.key_files import KeyFileOpen
from amity.access.secrets import SecretBox
from amity.access.tokens import InvalidToken, Tokens
from amity.access.write_keys import WriteKeys
from amity.kernel.errors import Corrupt
from amity.kernel.ids import SeededIds
from amity.kernel.scope import Scope

SCOPE = Scope("O@AmityOrg", "prod")


class DictStore:
    """An `AccessStore` in a dict."""

    def __init__(self) -> None:
        self.bodies: dict[tuple[str, str], dict[str, Any]] = {}

    def get(self, kind: str, id: str) -> dict[str, Any] | None:
        return self.bodies.get((kind, id))

    def find(self, kind: str) -> list[dict[str, Any]]:
        return [body for (one, _), body in self.bodies.items() if one == kind]

    def put(self, kind: str, id: str, body: dict[str, Any]) -> None:
        self.bodies[kind, id] = body

    def version(self) -> int:
        return len(self.bodies)


class SteppingClock:
    """A system clock a test moves."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic_s(self) -> float:
        return self.ms / 1_000

    def sleep(self, seconds: float) -> None:
        self.ms += round(seconds * 1_000)


def clients(store: DictStore) -> Clients:
    """Clients over a store, with repeatable ids."""
    return Clients(store=store, ids=SeededIds(random.Random(7)), clock=SteppingClock())


def test_right_secret_opens() -> None:
    """The client's own secret is accepted; the store never holds it in clear."""
    store = DictStore()
    known = clients(store)
    client_id, secret = known.create("O", "test")

    assert known.verify(client_id, secret).id == client_id
    assert secret not in repr(store.bodies)


@pytest.mark.parametrize("attempt", ["", "s8e-wrong", "x" * 10_000])
def test_wrong_secret_is_refused(attempt: str) -> None:
    """A wrong secret and an unknown client are refused alike."""
    known = clients(DictStore())
    client_id, _ = known.create("O", "test")

    for name in (client_id, "nobody"):
        with pytest.raises(WrongClient):
            known.verify(name, attempt)


def test_token_lives_a_day(tmp_path: Path) -> None:
    """A token is good until its last second and not one longer."""
    clock = SteppingClock()
    tokens = Tokens(key_file=tmp_path / "key", clock=clock)
    token, seconds = tokens.issue("c1", "O")
    clock.sleep(seconds - 1)
    claims = tokens.check(token)
    clock.sleep(1)

    assert claims["client_id"] == "c1"
    with pytest.raises(InvalidToken):
        tokens.check(token)


@pytest.mark.parametrize("forged", ["", "abc", "a.b.c", "eyJhbGciOiJub25lIn0.eyJjIjoxfQ."])
def test_forged_token_is_refused(tmp_path: Path, forged: str) -> None:
    """Neither noise nor an unsigned token passes."""
    tokens = Tokens(key_file=tmp_path / "key", clock=SteppingClock())

    with pytest.raises(InvalidToken):
        tokens.check(forged)


def test_token_of_another_installation_is_refused(tmp_path: Path) -> None:
    """A token signed with another key is no token of ours."""
    ours = Tokens(key_file=tmp_path / "one", clock=SteppingClock())
    theirs = Tokens(key_file=tmp_path / "two", clock=SteppingClock())

    with pytest.raises(InvalidToken):
        ours.check(theirs.issue("c1", "O")[0])


def test_write_key_names_its_datasets() -> None:
    """A key is found with its scope and datasets; an unknown one is not."""
    keys = WriteKeys(store=DictStore(), ids=SeededIds(random.Random(1)))
    made = keys.create(SCOPE, profile_dataset="p", event_dataset="e")

    assert keys.find(made.id) == made
    assert made.scope == SCOPE
    assert keys.find("other") is None


def test_secrets_rotate(tmp_path: Path) -> None:
    """A new first key encrypts; the old one still decrypts; without it nothing does."""
    file, other = tmp_path / "keys", tmp_path / "new"
    sealed = SecretBox(file).encrypt("connection string")
    SecretBox(other)
    old = file.read_text()
    file.write_text(other.read_text() + old)

    assert "connection" not in sealed
    assert SecretBox(file).decrypt(sealed) == "connection string"
    with pytest.raises(Corrupt):
        SecretBox(other).decrypt(sealed)


def test_open_key_file_is_refused(tmp_path: Path) -> None:
    """A key file that others may read is not used."""
    file = tmp_path / "keys"
    SecretBox(file)
    file.chmod(0o644)

    with pytest.raises(KeyFileOpen):
        SecretBox(file)
