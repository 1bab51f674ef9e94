"""Configurations and weights by name."""

import functools
import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

import radiodiff
from radiodiff import cli, shipped, weight_sources
from radiodiff.commands import main as command
from radiodiff.commands.configs import copy_config
from radiodiff.config import Settings
from radiodiff.config_keys import config_keys
from radiodiff.errors import InputError
from radiodiff.models.loading import read_index
from radiodiff.shipped import find_config
from radiodiff.weight_sources import find_weights

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are found from any folder, and downloads stay in the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_configuration_is_found_by_name_and_a_file_of_that_name_comes_first() -> None:
    file = ROOT / "configs" / "small" / "survey.yaml"
    for name in ("small/survey", "configs/small/survey.yaml", str(file)):
        assert find_config(name) == file
    Path("small").mkdir()
    Path("small/survey").write_text("mine")
    assert find_config("small/survey") == Path("small/survey")
    with pytest.raises(InputError, match=r"small/survy: no such .*did you mean small/survey"):
        find_config("small/survy")


def test_a_shipped_configuration_is_copied_once() -> None:
    copy = copy_config("small/survey", Path("mine"))
    assert copy.read_bytes() == (ROOT / "configs" / "small" / "survey.yaml").read_bytes()
    with pytest.raises(InputError, match="exists already"):
        copy_config("small/survey", Path("mine"))


def test_no_shipped_configuration_names_a_file_of_the_checkout() -> None:
    for file in shipped.config_files():
        lines = [line.partition("#")[0] for line in file.read_text().splitlines()]
        assert "data/pretrained" not in "\n".join(lines)


def test_weights_are_found_by_name_below_one_and_by_path() -> None:
    prior = ROOT / "data" / "pretrained" / "prior-small"
    assert find_weights("prior-small") == prior
    assert find_weights(Path("data/pretrained/prior-small")) == prior
    assert find_weights("prior-small/unet") == prior / "unet"
    assert find_weights(prior) == prior
    assert find_weights("nowhere") == Path("nowhere")
    assert find_weights("../pretrained/prior-small") == Path("../pretrained/prior-small")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Hub(_Quiet):
    """The answers of a hub that downloading a model of one file needs."""

    commit = "c" * 40
    content = b'{"_class_name": "RadioDiffInversePipeline"}'

    def do_GET(self) -> None:
        file = {"type": "file", "path": "model_index.json", "oid": "1", "size": len(self.content)}
        if "/tree/" in self.path:
            self._answer(json.dumps([file]).encode())
        elif self.path.startswith("/api/models/"):
            siblings = [{"rfilename": file["path"]}]
            found = {"id": "me/mine", "sha": self.commit, "siblings": siblings}
            self._answer(json.dumps(found).encode())
        else:
            self._answer(self.content)

    def do_HEAD(self) -> None:
        self._answer(self.content, send=False)

    def _answer(self, content: bytes, send: bool = True) -> None:
        known = self.path.startswith(("/api/models/me/mine", "/me/mine/resolve/"))
        self.send_response(200 if known else 404)
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("ETag", '"1234"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if send:
            self.wfile.write(content)


@pytest.fixture
def serve() -> Iterator[object]:
    """Starts a server of a handler and returns its address."""
    servers = []

    def start(handler: object) -> str:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_weights_of_a_url_are_unpacked_once_if_their_digest_is_right(tmp_path, serve, kind):
    folder = tmp_path / "served"
    packed = shutil.make_archive(
        str(folder / "weights"), kind, shipped.PRETRAINED, "prior-small/scheduler"
    )
    url = f"{serve(functools.partial(_Quiet, directory=folder))}/{Path(packed).name}"
    digest = hashlib.sha256(Path(packed).read_bytes()).hexdigest()
    with pytest.raises(InputError, match="need their digest"):
        find_weights(url)
    with pytest.raises(InputError, match=r"cannot be taken for weights \(invalid hash"):
        find_weights(f"{url}#sha256={'0' * 64}")
    with pytest.raises(InputError, match=r"none\.zip: cannot be taken for weights"):
        find_weights(f"{url.rpartition('/')[0]}/none.zip#sha256={digest}")
    assert not any(weight_sources.weights_cache().iterdir())
    # A configuration holds paths, which keep one of two slashes.
    found = find_weights(Path(f"{url}#sha256={digest}"))
    scheduler = "scheduler/scheduler_config.json"
    expected = shipped.PRETRAINED / "prior-small" / scheduler
    assert (found / scheduler).read_bytes() == expected.read_bytes()
    Path(packed).unlink()
    assert find_weights(f"{url}#sha256={digest}") == found


def test_weights_of_the_hub(serve, tmp_path):
    code = (
        "import sys; from radiodiff.weight_sources import find_weights as f; print(f(sys.argv[1]))"
    )
    environment = {
        **os.environ,
        "HF_ENDPOINT": serve(_Hub),
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": "0",
    }

    def find(name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, name],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    found = Path(find("me/mine").stdout.strip())
    assert read_index(found, (), None)["_class_name"] == "RadioDiffInversePipeline"
    assert "me/other: no such folder, no shipped weights" in find("me/other").stderr


def run_command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["radiodiff", *words])
    with pytest.raises(SystemExit) as status:
        command.main()
    return int(status.value.code or 0)


def test_the_command_names_what_is_near_a_wrong_word(monkeypatch, capsys):
    for words, hint in (
        (("simulat",), "unknown command 'simulat', did you mean 'simulate'?"),
        (("train", "vea"), "unknown command 'train vea', did you mean 'train vae'?"),
        (("train",), "unknown command 'train'"),
    ):
        assert run_command(monkeypatch, *words) == 2
        assert hint in capsys.readouterr().err


def test_every_command_answers_to_help_with_all_keys_of_its_configuration(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "10000")  # so that a key is not broken into several lines
    models: list[type[Settings]] = []
    monkeypatch.setattr(
        cli, "config_keys", lambda model: models.append(model) or config_keys(model)
    )
    assert run_command(monkeypatch, "--help") == 0
    listed = capsys.readouterr().out
    for name, (module, _) in command.COMMANDS.items():
        assert name in listed
        models.clear()
        assert run_command(monkeypatch, *name.split(), "--help") == 0
        text = capsys.readouterr().out
        assert text.startswith(f"usage: radiodiff {name} ")
        source = (ROOT / "radiodiff" / "commands" / f"{module}.py").read_text()
        assert bool(models) == ("parse_config(" in source)
        for model in models:
            for path, default in keys_of(model):
                line = re.search(rf"^  {re.escape(path)}: (\S.*) \((.*)\)$", text, re.MULTILINE)
                assert line is not None, (name, path)
                if default is not None:
                    assert yaml.safe_load(line[2].removeprefix("default ")) == default, (name, path)


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield path and default of every key, found without the code that prints them.

    Defaults of null, and those that are more than a word, are not compared: None.
    """
    for name, field in model.model_fields.items():
        plain = isinstance(field.default, bool | int | float | str)
        default = "required" if field.is_required() else field.default if plain else None
        yield f"{prefix}{name}", default
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from keys_of(annotation, f"{prefix}{name}.")


def test_the_changes_begin_with_this_version():
    assert f"## {radiodiff.__version__} " in (ROOT / "CHANGELOG.md").read_text()
    project = (ROOT / "pyproject.toml").read_text()
    assert 'version = {attr = "radiodiff.__version__"}' in project  # the only place
