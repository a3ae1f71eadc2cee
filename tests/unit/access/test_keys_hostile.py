"""Key files that were cut short or opened to others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from amity.access.key_files import KeyFileEmpty, KeyFileOpen
from amity.access.secrets import SecretBox
from amity.access.tokens import Tokens
from amity.kernel.clock import RealSystemClock

Reader = Callable[[Path], object]
READERS: tuple[Reader, ...] = (
    SecretBox,
    lambda path: Tokens(key_file=path, clock=RealSystemClock()),
)


@pytest.mark.parametrize("reader", READERS)
def test_an_empty_key_file_is_refused_by_name(tmp_path: Path, reader: Reader) -> None:
    """A file without a key is no key of no characters."""
    file = tmp_path / "a.key"
    file.write_text("\n")
    file.chmod(0o600)
    with pytest.raises(KeyFileEmpty):
        reader(file)


@pytest.mark.parametrize("reader", READERS)
def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path, reader: Reader) -> None:
    """Whoever reads the key of tokens can make them."""
    file = tmp_path / "a.key"
    reader(file)
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    with pytest.raises(KeyFileOpen):
        reader(file)


@pytest.mark.parametrize("reader", READERS)
def test_a_start_killed_while_it_made_its_key_is_followed_by_one_that_works(
    tmp_path: Path, reader: Reader
) -> None:
    """What a killed start left behind does not stop the next."""
    (tmp_path / ".a.key.new").write_text("")
    reader(tmp_path / "a.key")
    assert (tmp_path / "a.key").read_text().strip()
