"""The maps of a tree that belong to one part of the configured split."""

from __future__ import annotations

from radiodiff.data.settings import DataConfig
from radiodiff.data.splits import Part, fraction_maps, literature_maps
from radiodiff.data.tree import gain_folder, require_maps, scan_gain
from radiodiff.errors import InputError


def split_maps(config: DataConfig, part: Part) -> tuple[int, ...]:
    """Return the map ids of one part of the configured split, all of them present in the tree.

    Raises:
        InputError: there is no tree, the split has no such part, or a map of it is missing.
    """
    folder = gain_folder(config.root, config.simulation)
    present = scan_gain(folder)
    if config.split == "all":
        if part != "test":
            raise InputError(
                f"split all has no part {part!r}: it is every map, for testing; use fraction or "
                "explicit to train"
            )
        return tuple(sorted(present))
    if config.split == "fraction":
        return fraction_maps(tuple(present), config.fractions, part)
    if config.split == "explicit":
        if part not in config.maps:
            raise InputError(f"data.maps: no part {part!r}, only {', '.join(config.maps)}")
        maps = config.maps[part]
    else:
        maps = literature_maps(config.split, part)
    require_maps(maps, present, folder, split=f"split {config.split}, part {part}: ")
    return maps
