"""Reads the databases of LSUN where they lie: LMDB, a JPEG or WebP picture under each key.

A picture's number is the place of its key in the database, or in the databases one after another.
Keys are listed once, and kept in the user's cache folder: a database of millions takes a while.

Source: F. Yu et al., "LSUN: Construction of a Large-scale Image Dataset using Deep Learning with
Humans in the Loop", 2015, and its released reader, github.com/fyu/lsun.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path

import lmdb
import numpy as np
from jaxtyping import Int64, UInt8
from numpy import ndarray

from plausibody.assets.contents import read_arrays
from plausibody.models.files import cache_folder, draft_file
from plausibody.synth.picture_file import PictureError, decode_square

DATA = "data.mdb"
"""The file that makes a folder a database."""

_open: weakref.WeakValueDictionary[str, _Database] = weakref.WeakValueDictionary()
_opening = threading.Lock()


def find_databases(path: Path) -> list[Path]:
    """Lists the databases at a path: itself, or those in the folders right below, by name."""
    if (path / DATA).is_file():
        return [path]
    if not path.is_dir():
        return []
    return sorted(folder for folder in path.iterdir() if (folder / DATA).is_file())


@dataclass(frozen=True)
class _Keys:
    """The keys of a database, one after another."""

    text: UInt8[ndarray, " bytes"]
    ends: Int64[ndarray, " keys"]

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> bytes:
        begin = self.ends[number - 1] if number else 0
        return self.text[begin : self.ends[number]].tobytes()


class LsunPictures:
    """The pictures of one or several databases, as squares."""

    def __init__(self, path: Path, side: int = 256, cache: Path | None = None):
        """Args:
        path: A database (a folder with `data.mdb`), or a folder of them.
        side: Of the squares [px].
        cache: Folder for the lists of keys, instead of the user's.

        Raises:
            FileNotFoundError: If there is no database.
            ValueError: If one is cut short, damaged or empty.
        """
        folders = find_databases(path)
        if not folders:
            raise FileNotFoundError(
                f"{path}: wanted an LMDB database (a folder with {DATA}) or a folder of them, "
                "found none; do: unpack LSUN's archive and name the folder ending in _lmdb"
            )
        self._side = side
        self._databases = [_database(folder) for folder in folders]
        self._keys = [database.keys(cache) for database in self._databases]
        self._begins = np.cumsum([0, *map(len, self._keys)])

    @property
    def side(self) -> int:
        return self._side

    def __len__(self) -> int:
        return int(self._begins[-1])

    def name(self, number: int) -> str:
        database, key = self._find(number)
        return f"{database.folder}[{key.decode('utf-8', 'replace')}]"

    def read(self, number: int) -> UInt8[ndarray, "side side 3"]:
        database, key = self._find(number)
        return decode_square(database.value(key), self.name(number), self._side)

    def _find(self, number: int) -> tuple[_Database, bytes]:
        which = int(np.searchsorted(self._begins, number, "right")) - 1
        return self._databases[which], self._keys[which][number - int(self._begins[which])]


class _Database:
    """One database, opened for reading; a process may open it only once at a time."""

    def __init__(self, folder: Path):
        self.folder = folder
        file = folder / DATA
        try:
            self._environment = lmdb.open(
                str(folder), readonly=True, lock=False, readahead=False, meminit=False
            )
            page, last = self._environment.stat()["psize"], self._environment.info()["last_pgno"]
        except lmdb.Error as error:
            raise ValueError(
                f"{file}: wanted an LMDB database, came one that is cut short, damaged or "
                f"something else ({error}); do: unpack it again"
            ) from error
        # Reading beyond the end of a mapped file does not raise but kills the process.
        wanted, came = (last + 1) * page, file.stat().st_size
        if came < wanted:
            raise ValueError(
                f"{file}: wanted {wanted} bytes, came {came}: the database is cut short; "
                "do: unpack or download it again"
            )

    def value(self, key: bytes) -> bytes:
        try:
            with self._environment.begin() as transaction:
                value = transaction.get(key)
        except lmdb.Error as error:
            raise PictureError(
                f"{self.folder}[{key!r}]: wanted a picture, cannot read the database ({error}); "
                "do: unpack it again"
            ) from error
        return bytes(value or b"")

    def keys(self, cache: Path | None) -> _Keys:
        """Lists the keys, from the cache if they were listed before."""
        file = _cache_file(self.folder, cache)
        try:
            arrays = read_arrays(file)
            return _Keys(arrays["text"], arrays["ends"])
        except (OSError, ValueError, LookupError):
            listed = self._list()  # not listed yet, or the list is damaged
        _save(listed, file)
        return listed

    def _list(self) -> _Keys:
        try:
            with self._environment.begin() as transaction, transaction.cursor() as cursor:
                keys = [bytes(key) for key in cursor.iternext(keys=True, values=False)]
        except lmdb.Error as error:
            raise ValueError(
                f"{self.folder / DATA}: wanted a list of its keys, cannot read it ({error}); "
                "do: unpack it again"
            ) from error
        if not keys:
            raise ValueError(
                f"{self.folder / DATA}: wanted a database of pictures, came an empty one; "
                "do: unpack it again"
            )
        ends = np.cumsum([len(key) for key in keys], dtype=np.int64)
        return _Keys(np.frombuffer(b"".join(keys), np.uint8), ends)


def _database(folder: Path) -> _Database:
    name = str(folder.resolve())
    with _opening:
        database = _open.get(name)
        if database is None:
            database = _open[name] = _Database(folder)
        return database


def _cache_file(folder: Path, cache: Path | None) -> Path:
    """Names the file of the list of keys, another one once the database has changed."""
    place = cache or cache_folder() / "lmdb"
    state = (folder / DATA).stat()
    facts = f"{folder.resolve()} {state.st_size} {state.st_mtime_ns}"
    return place / f"{hashlib.sha256(facts.encode()).hexdigest()[:24]}.npz"


def _save(keys: _Keys, file: Path) -> None:
    """Keeps a list of keys, if the folder lets us: it only saves time."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with draft_file(file, contested=True) as draft, draft.open("wb") as content:
            np.savez(content, text=keys.text, ends=keys.ends)
