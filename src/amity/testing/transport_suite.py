"""What must every `Store` of files do? Subclass and give it a `store` fixture, empty at first."""

from __future__ import annotations

from pathlib import Path

import pytest

from amity.transports.errors import BadPath, NoSuchFile
from amity.transports.ports import NAME_BYTES_MAX, Store

ODD_NAMES = ("a b.csv", "ü%20#?&=+.csv", "%41.csv", "~x.csv", "'q\".csv", "日本/語.txt", "..a/b..")


class TransportSuite:
    """The contract of the port."""

    def test_what_is_put_can_be_read(self, store: Store, tmp_path: Path) -> None:
        """Bytes and local files alike, whole and in part; a second put replaces the first."""
        store.put("out/a.csv", b"first")
        store.put("out/a.csv", b"second", content_type="text/csv")
        source = tmp_path / "source"
        source.write_bytes(b"0123456789" * 1_000_000)
        store.put("out/big.bin", source)

        assert store.get("out/a.csv") == b"second"
        with store.open("out/big.bin") as file:
            file.seek(9_999_995)
            assert bytes(file.read(3)) == b"567"
        stat = store.head("out/big.bin")
        assert stat is not None
        assert (stat.path, stat.size) == ("out/big.bin", 10_000_000)
        assert stat.modified_ms > 1_500_000_000_000

    def test_what_is_not_there_is_said_so(self, store: Store) -> None:
        """Reading raises, asking answers None, deleting is no error."""
        for read in (store.get, store.open):
            with pytest.raises(NoSuchFile, match=r"no/such\.csv"):
                read("no/such.csv")
        assert store.head("no/such.csv") is None
        assert list(store.list()) == []
        store.delete("no/such.csv")

    def test_listing_is_by_prefix_and_in_order(self, store: Store) -> None:
        """A prefix may end within a name; folders are no files."""
        for path in ("b/2", "a/1", "b/1", "bb", "b/sub/3"):
            store.put(path, path.encode())

        assert [stat.path for stat in store.list()] == ["a/1", "b/1", "b/2", "b/sub/3", "bb"]
        assert [stat.path for stat in store.list("b")] == ["b/1", "b/2", "b/sub/3", "bb"]
        assert [stat.path for stat in store.list("b/")] == ["b/1", "b/2", "b/sub/3"]
        assert [stat.path for stat in store.list("b/s")] == ["b/sub/3"]
        assert [stat.size for stat in store.list("bb")] == [2]

    def test_a_deleted_file_is_gone(self, store: Store) -> None:
        """And can be put again."""
        store.put("x", b"1")
        store.delete("x")
        assert store.head("x") is None
        store.put("x", b"2")
        assert store.get("x") == b"2"

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_names_are_kept_as_they_are(self, store: Store, name: str) -> None:
        """Nothing in a name is decoded, encoded or cut."""
        store.put(name, name.encode())

        assert store.get(name) == name.encode()
        assert [stat.path for stat in store.list()] == [name]
        assert store.head(name) is not None

    @pytest.mark.parametrize(
        "path", ["", "/a", "a//b", "../a", "a/../../b", "a/.", "a\\b", "a\0", "a\nb", "\ud800"]
    )
    def test_a_path_stays_inside(self, store: Store, path: str) -> None:
        """No path leads out of the store, or names a file two ways."""
        for use in (store.get, store.open, store.head, store.delete):
            with pytest.raises(BadPath):
                use(path)
        with pytest.raises(BadPath):
            store.put(path, b"")

    def test_the_longest_name_fits(self, store: Store) -> None:
        """255 bytes do, 256 do not."""
        store.put("n" * NAME_BYTES_MAX, b"1")
        assert store.get("n" * NAME_BYTES_MAX) == b"1"
        with pytest.raises(BadPath):
            store.put("n" * (NAME_BYTES_MAX + 1), b"1")

    def test_a_put_that_fails_leaves_what_was_there(self, store: Store, tmp_path: Path) -> None:
        """A source that cannot be read changes nothing."""
        store.put("x", b"old")
        with pytest.raises(Exception, match=r"gone|(?i:no such file)"):
            store.put("x", tmp_path / "gone")
        assert store.get("x") == b"old"
        assert [stat.path for stat in store.list()] == ["x"]
