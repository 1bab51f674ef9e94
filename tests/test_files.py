import json
from pathlib import Path

import pytest

from radiodiff.errors import InputError
from radiodiff.files import replacing, write_atomic, write_json


def test_json_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_json(path, {"a": [1, 2]})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": [1, 2]}
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_a_disk_that_fills_up_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, content: bytes) -> None:
        with self.open("wb") as file:
            file.write(content[:10])
        raise OSError(28, "No space left on device")

    path = tmp_path / "gain" / "1_0.png"
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"1_0\.png: cannot be written \(No space left"):
        write_atomic(path, b"0" * 100)
    assert not list(path.parent.iterdir())


def test_what_fails_half_way_keeps_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def stop(temporary: Path) -> None:
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        stop(temporary)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
