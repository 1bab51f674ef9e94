"""Run a test file as a script under the environment of torchrun; see ``run_on_two``.

A fresh interpreter finds a file by its path, but no module of the tests by its name.
"""

import os
import runpy

import torch


def main(number: int, port: int, file: str, arguments: tuple[object, ...]) -> None:
    """Run ``file``, which finds ``arguments`` as ``ARGUMENTS``, as process ``number`` of two."""
    os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2"}
    os.environ |= {"LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    runpy.run_path(file, {"ARGUMENTS": arguments}, "__main__")


main(*globals()["RUN"])
