"""Where a data set of torchvision belongs, and what is in its place when it cannot be read."""

from collections.abc import Iterator
from os.path import isdir, isfile  # False also where one may not look
from pathlib import Path

from torchvision import datasets
from torchvision.datasets.utils import check_integrity

SHOWN = 4  # names of a directory


def archives(source: type) -> list[str]:
    """Where torchvision looks for the archives, relative to the data directory."""
    if issubclass(source, datasets.MNIST):
        return [f"{source.__name__}/raw/{file}" for file, _ in source.resources]
    return [source.filename]


def files(source: type) -> dict[str, str | None]:
    """What torchvision reads, relative to the data directory, with the checksums it compares."""
    if issubclass(source, datasets.MNIST):
        return {str(Path(archive).with_suffix("")): None for archive in archives(source)}
    batches = (*source.train_list, *source.test_list)
    every = (*batches, (source.meta["filename"], source.meta["md5"]))
    return {f"{source.base_folder}/{file}": checksum for file, checksum in every}


def explain(source: type, directory: Path) -> str:
    """Names the files expected in `directory`, those that are not, and where they seem to be."""
    expected = files(source)
    absent = [file for file in expected if not isfile(directory / file)]
    damaged = [
        file
        for file, checksum in expected.items()
        if file not in absent and not check_integrity(directory / file, checksum)
    ]
    parts = [f"it consists of {', '.join(expected)}"]
    if damaged:
        parts.append(f"{', '.join(damaged)}: not the published content")
    if absent:
        which = "all" if len(absent) == len(expected) else ", ".join(absent)
        parts += [f"not found: {which}", _hint(source, directory, absent)]
    return "; ".join(parts)


def _hint(source: type, directory: Path, absent: list[str]) -> str:
    for place in (*directory.absolute().parents, *_below(directory)):
        if all(isfile(place / file) for file in absent):
            return f"they are in {place}, so use --data-dir {place}"
    packed = archives(source)
    if all(isfile(directory / archive) for archive in packed):
        return f"{', '.join(packed)} can be found, and --download unpacks them without a network"
    for file in (*absent, *packed):
        for place in (directory, *_below(directory)):
            found = place / Path(file).name
            if isfile(found) and not _belongs_to_another(source, found):
                return f"{found} should be at {directory / file}"
    return _content(directory, Path(absent[0]).parent)


def _below(directory: Path) -> Iterator[Path]:
    """The directories inside, and those inside them."""
    for pattern in ("*", "*/*"):
        yield from filter(isdir, sorted(directory.glob(pattern)))


def _belongs_to_another(source: type, file: Path) -> bool:
    """The files of MNIST and Fashion-MNIST, among others, have the same names."""
    owner = getattr(datasets, file.parent.parent.name, None)
    return file.parent.name == "raw" and owner not in (None, source)


def _content(directory: Path, inside: Path) -> str:
    """What is in the innermost directory that exists on the way to the files."""
    place = directory / inside
    while place != directory and not isdir(place):
        place = place.parent
    try:
        names = sorted(path.name for path in place.iterdir())
    except OSError as error:
        return f"{place} cannot be listed ({error.strerror})"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{place} holds {', '.join(names[:SHOWN]) or 'nothing'}{more}"
