"""Files that are either absent or whole, whenever the process is killed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from radiodiff.errors import InputError

if TYPE_CHECKING:
    import numpy as np

PARTIAL = ".partial"
"""Ending of the temporary files."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, whose file takes its name at the end.

    Raises:
        InputError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    path = Path(path)
    # The token keeps apart the temporary files of a killed run's last breath and its restart, also
    # on two machines, whose process ids may be the same.
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}{PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomic(path: str | Path, content: bytes) -> None:
    """Write bytes through :func:`replacing`.

    Raises:
        InputError: as there.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text through :func:`replacing`.

    Raises:
        InputError: as there.
    """
    write_atomic(path, text.encode("utf-8"))


def write_npz(path: str | Path, **arrays: np.ndarray) -> None:
    """Write a compressed NumPy archive through :func:`replacing`.

    Raises:
        InputError: as there.
    """
    import numpy as np

    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def write_json(path: str | Path, value: object) -> None:
    """Write ``value`` as indented JSON through :func:`replacing`.

    Raises:
        InputError: as there.
    """
    write_text(path, json.dumps(value, indent=2) + "\n")
