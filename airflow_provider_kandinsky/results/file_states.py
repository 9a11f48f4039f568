"""What many files are like. An object store is asked for lists, of which each has many of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby, takewhile
from typing import Any, Final, NamedTuple, TypeVar

T = TypeVar("T")

#: How many calls are made concurrently.
_MAX_CONCURRENT: Final = 32
#: Of fewer files, each is asked for.
_MIN_TO_LIST: Final = 100
#: So many files are to be in one list; the store gives 1000 at a time.
_MAX_WANTED: Final = 1000
#: How many lists are made concurrently: each may be of ten times as many files, in memory.
_MAX_LISTS: Final = 8
#: Where there are more others to one that is wanted, each is asked for: a folder may hold millions.
_MAX_OTHERS: Final = 10


class FileState(NamedTuple):
    """A file that exists.

    :param size: bytes.
    :param etag: changes with the content; ``None`` if the storage gives none.
    """

    size: int
    etag: str | None = None


def file_states(fs: Any, paths: Collection[str], *, can_list: bool) -> dict[str, FileState]:
    """Those of the files that exist.

    :param fs: the file system of fsspec.
    :param paths: as the file system has them.
    :param can_list: whether it lists by the beginnings of names, as object stores do.
    """
    wanted = sorted(set(paths))
    if not can_list or len(wanted) < _MIN_TO_LIST or _is_crowded(fs, wanted):
        return _ask_for_each(fs, wanted)
    found: dict[str, FileState] = {}
    for listed in concurrently(partial(_list_wanted, fs), list(_groups(wanted)), _MAX_LISTS):
        found |= listed
    return found


def file_state(fs: Any, path: str) -> FileState | None:
    """One file; ``None`` if it does not exist."""
    try:
        return _read_info(fs.info(path))
    except FileNotFoundError:
        return None


def concurrently(work: Callable[[Any], T], values: Sequence[Any], threads: int = _MAX_CONCURRENT) -> list[T]:
    """Do the same with many values, in threads.

    :return: in their order.
    """
    if len(values) <= 1:
        return [work(value) for value in values]
    with ThreadPoolExecutor(threads) as pool:
        try:
            return list(pool.map(work, values))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _ask_for_each(fs: Any, wanted: Sequence[str]) -> dict[str, FileState]:
    states = concurrently(partial(file_state, fs), wanted)
    return {path: state for path, state in zip(wanted, states, strict=True) if state is not None}


def _read_info(info: Any) -> FileState:
    etag = info.get("ETag") or info.get("etag")
    return FileState(int(info["size"]), etag if isinstance(etag, str) else None)


def _groups(wanted: Sequence[str]) -> Iterator[Sequence[str]]:
    """Split names in alphabetical order by how they begin, until few of them begin alike."""
    if len(wanted) <= _MAX_WANTED:
        yield wanted
        return
    length = len(_beginning(wanted)) + 1
    for _, group in groupby(wanted, key=lambda path: path[:length]):
        yield from _groups(list(group))


def _beginning(wanted: Sequence[str]) -> str:
    """What names in alphabetical order all begin with."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(wanted[0], wanted[-1], strict=False))
    return "".join(first for first, _ in pairs)


def _list_wanted(fs: Any, wanted: Sequence[str]) -> dict[str, FileState]:
    beginning = _beginning(wanted)
    if "/" not in beginning.rstrip("/"):  # a whole bucket
        return _ask_for_each(fs, wanted)
    listed = _list(fs, beginning)
    return {path: _read_info(listed[path]) for path in wanted if path in listed}


def _list(fs: Any, beginning: str) -> dict[str, Any]:
    # Never without a prefix: such a listing would be cached, and files change.
    folder, slash, _ = beginning.rstrip("/").rpartition("/")
    listed: dict[str, Any] = fs.find(folder, prefix=beginning[len(folder + slash) :], detail=True)
    return listed


def _is_crowded(fs: Any, wanted: Sequence[str]) -> bool:
    """Whether the files are among very many others, judged by a few of them."""
    sample = wanted[: len(wanted) // 50 + 1]
    beginning = sample[0][: len(_beginning(sample)) + 1]
    alike = sum(path.startswith(beginning) for path in sample)
    return len(_list(fs, beginning)) > _MAX_OTHERS * alike
