"""Weights by name: a folder, a shipped name, a name of the Hugging Face hub, or a URL."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path

from radiodiff.errors import InputError
from radiodiff.files import PARTIAL
from radiodiff.shipped import PRETRAINED

URL = re.compile(r"(https?):/+([^#]+)(?:#sha256=([0-9a-fA-F]{64}))?")
"""A URL and the digest of its file. A configuration's path keeps only one of the two slashes."""
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(?:@[\w./-]+)?")
"""OWNER/NAME, or OWNER/NAME@REVISION."""
TAR = (".tar", ".tar.gz", ".tgz")
"""Archives besides .zip."""


def find_weights(source: str | Path) -> Path:
    """Return the folder or the file on this machine that weights are named by.

    Args:
        source: the first of these that fits: a path that exists; a shipped name such as
            ``prior-small``, or a folder below one; ``https://HOST/FILE#sha256=DIGEST``, a file or
            an archive (.zip, .tar, .tar.gz, .tgz), kept in :func:`weights_cache`; OWNER/NAME of
            the Hugging Face hub, with @REVISION if wanted.

    Returns:
        The path; ``source`` itself where nothing fits, so that the caller says what is missing.

    Raises:
        InputError: a download fails, has no digest, or is another file than the digest's.
    """
    path = Path(source)
    if path.exists():
        return path
    name = path.as_posix()
    shipped = PRETRAINED / name.removeprefix("data/pretrained/")
    if ".." not in path.parts and not path.is_absolute() and shipped.exists():
        return shipped
    if (url := URL.fullmatch(name)) is not None:
        return _from_url(*url.groups())
    if HUB_NAME.fullmatch(name) is not None and not Path(path.parts[0]).exists():
        return _from_hub(*name.partition("@")[::2])
    return path


def weights_cache() -> Path:
    """Return the folder of downloaded weights, ``$XDG_CACHE_HOME/radiodiff/weights``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "radiodiff" / "weights"


def _from_hub(name: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision or None))
    except Exception as error:  # the hub's own, those of its HTTP client, and of the disk
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{name}: no such folder, no shipped weights, and not found on the hub ({reason})"
        ) from None


def _from_url(scheme: str, rest: str, digest: str | None) -> Path:
    url = f"{scheme}://{rest}"
    if digest is None:
        raise InputError(f"{url}: weights of a URL need their digest, {url}#sha256=DIGEST")
    cached = weights_cache() / digest.lower()
    if not cached.is_dir():
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent, suffix=PARTIAL) as folder:
            content = Path(folder) / "content"
            content.mkdir()
            _fetch(url, digest.lower(), content)
            try:
                content.rename(cached)
            except OSError:  # another process was faster
                if not cached.is_dir():
                    raise
    entries = list(cached.iterdir())
    return entries[0] if len(entries) == 1 else cached


def _fetch(url: str, digest: str, folder: Path) -> None:
    """Download a file into a folder, compare it with its digest and unpack it if it is packed."""
    import torch.hub

    file = folder / (Path(url).name or "weights")
    try:
        torch.hub.download_url_to_file(url, str(file), hash_prefix=digest, progress=False)
        if file.suffix == ".zip":
            with zipfile.ZipFile(file) as zipped:
                zipped.extractall(folder)
        elif file.name.endswith(TAR):
            with tarfile.open(file) as tarred:
                tarred.extractall(folder, filter="data")
        else:
            return
        file.unlink()
    except (OSError, ValueError, RuntimeError, tarfile.TarError, zipfile.BadZipFile) as error:
        shutil.rmtree(folder)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{url}: cannot be taken for weights ({reason})") from None
