"""The constants of walls and path-loss model, as ``refinement.yaml`` holds them.

Numba compiles what it finds in module variables into its cached code. So constants reach compiled
functions as arguments: a changed file then needs no other cache.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

from radiodiff.config import Settings, load_config

CONSTANTS_FILE = Path(__file__).with_name("refinement.yaml")


class WallConstants(Settings):
    """Constants of :mod:`radiodiff.inverse.walls`."""

    sweeps: int
    """Sweeps of a chain."""
    burn_in: int
    """Sweeps that are not counted."""
    count_every: int
    """Sweeps from one counted state to the next."""
    outline_tolerance_px: float
    """First outlines keep to the reconstruction's within N pixels."""
    outdoor_gain_share: float
    """A pixel counts as outdoor if its gain above the truncation exceeds this share of the local
    maximum."""
    outdoor_window_px: int
    """Side, pixels, of the window of that maximum."""
    min_gain_above_truncation: float
    """Gain above the truncation, model range, that an outdoor pixel has at first."""
    gain_std: float
    """Standard deviation of the gain outdoors around its estimate, model range."""
    gain_std_share: float
    """The same, as a share of the gain above the truncation; both are added."""
    stray_share: float
    """Share of the outdoor gains that lie anywhere in ``stray_range``: shadow edges."""
    stray_range: float
    """Width of that range, model range."""
    max_log_evidence: float
    """Nats that one measurement gives at most."""
    min_noise_std: float
    """Least sigma of a measurement, model range."""
    network_weight: float
    """Weight of the network's log-odds in a pixel without a measurement."""
    min_p_building: float
    """Least probability of a building, and of none, by the network."""
    max_p_building: float
    """Probability of a building below which a pixel is outdoors."""
    max_p_building_at_measurement: float
    """The same for a measured pixel."""
    max_building_share: float
    """Share of a building in the reconstruction below which a pixel's gain is taken as it is."""
    min_measured_gain_above_truncation: float
    """Gain above the truncation from which a measurement is of an outdoor pixel, model range."""
    measurement_weight: float
    """Weight of a measurement where the reconstruction is blurred, against clear pixels."""
    plane_std_px: float
    """Standard deviation, pixels, of the weights of the local plane beside walls."""
    plane_ridge: float
    """Ridge of its fit, pixels squared."""
    max_plane_rise: float
    """Distance of the plane from the local mean at most, model range."""
    min_share_inside: float
    """Share of measurements inside of buildings from which walls can be drawn."""


class ChainConstants(Settings):
    """Constants of :mod:`radiodiff.inverse.wall_chain`, in nats where nothing else is said."""

    vertex_cost: float
    """Cost of a corner."""
    ring_gain: float
    """Gain of a ring, a building or a courtyard, whose corners cost."""
    max_corner_cost: float
    """Cost of the angle of a corner at most."""
    corner_offset_px: float
    """Standard deviation, pixels, of the end of a corner's shorter wall from a right angle."""
    spike_cost: float
    """Cost of a corner at which a wall turns back on itself."""
    spike_cosine: float
    """Cosine between its walls' directions below which a corner is one."""

    def as_costs(self) -> Costs:
        """Return them as an argument of compiled functions."""
        return Costs(
            self.vertex_cost,
            self.ring_gain,
            self.max_corner_cost,
            self.corner_offset_px,
            self.spike_cost,
            self.spike_cosine,
        )


class Costs(NamedTuple):
    """:class:`ChainConstants` for numba."""

    vertex: float
    ring_gain: float
    max_corner: float
    corner_offset_px: float
    spike: float
    spike_cosine: float


class ModelConstants(Settings):
    """Constants of :mod:`radiodiff.inverse.propagation` and of its use."""

    layouts: int
    """Sampled layouts of buildings in which the path-loss model is computed."""
    min_variance_share: float
    """Share of the samples' variance that stays where the model is not in error."""
    transmitter_reach_px: int
    """The transmitter is looked for at most N pixels from where it is said to be."""
    min_distance_px: float
    """Measurements nearer to the transmitter than this do not tell where it is."""
    max_deviations: float
    """Deviations of a measurement that count most when the transmitter is looked for."""
    diffraction_std: float
    """Standard deviation, model range, of what the model misses before a last diffraction."""
    max_residual: float
    """Most that one measurement says about that, model range."""
    error_window_px: float
    """Standard deviation, pixels, of the window in which the model is compared with the
    measurements."""
    network_std: float
    """Standard deviation of a reconstruction's error outdoors, model range."""
    network_std_share: float
    """The same, as a share of sigma; both are added."""


class RefinementConstants(Settings):
    """What ``refinement.yaml`` holds."""

    walls: WallConstants
    chain: ChainConstants
    path_loss_model: ModelConstants


@cache
def constants() -> RefinementConstants:
    """Return the constants of the package."""
    return load_config(CONSTANTS_FILE, RefinementConstants)
