"""How far a predicted map is from the true one: one value per map, never averaged here.

Maps are gray in [0, 1], (N, H, W), or (H, W) for a single one; every function returns (N,) float64
on the CPU. The two papers leave the following open; each is an argument with the usual choice as
its default, and a table should say which was used:

- RMSE: on gray in RadioDiff (Table II), in model range [-1, 1], so twice as large, in
  RadioDiff-Inverse (Table I); dB is what an engineer reads. Argument ``unit`` of :func:`rmse`.
- PSNR: "the maximal variation in the input image" (RadioDiff, eq. (31)) is the full scale, 1, as in
  RadioDiff-Inverse with scikit-image, or the range of the true map. Argument ``peak`` of
  :func:`psnr`.
- Scale: gray as stored, or stretched above the noise floor (``thr2``), which makes the power of the
  truth, and so the denominator of NMSE, smaller. The maps are stretched before they come here.
- Means: over maps, of every map's NMSE, PSNR and RMSE, or of the sums over all maps first, which
  gives a lower PSNR and a higher RMSE. Argument ``averaging`` of :func:`average`.
- SSIM: the window. Argument ``window`` of :func:`ssim`.
- Pixels: both papers count all, buildings included. ``where`` restricts NMSE, RMSE and PSNR.
"""

from __future__ import annotations

import numpy as np
import torch
from skimage.metrics import structural_similarity

from radiodiff.errors import InputError
from radiodiff.evaluation.settings import Averaging, PsnrPeak, RmseUnit, SsimWindow
from radiodiff.units import GAIN_RANGE_DB, RESOLUTION_M


def nmse(
    prediction: torch.Tensor, truth: torch.Tensor, where: torch.Tensor | None = None
) -> torch.Tensor:
    """Squared error over squared truth: RadioDiff, eq. (25). Range [0, inf), 0 is best.

    Args:
        prediction: (N, H, W) or (H, W) gray.
        truth: the same shape, gray.
        where: the same shape, bool; the pixels that count. None counts all.

    Returns:
        (N,) float64.

    Raises:
        InputError: shapes differ, a value is not finite, or a true map is 0 wherever pixels count.
    """
    prediction, truth, where = _as_maps(prediction, truth, where)
    power = torch.where(where, truth**2, 0.0).sum(dim=(1, 2))
    if (power == 0).any():
        raise InputError(f"NMSE: true map {int((power == 0).nonzero()[0])} is 0 everywhere")
    return torch.where(where, (prediction - truth) ** 2, 0.0).sum(dim=(1, 2)) / power


def truth_power(truth: torch.Tensor, where: torch.Tensor | None = None) -> torch.Tensor:
    """Mean square of each true map over the pixels that count: the weight of its NMSE when pooled.

    Args:
        truth: (N, H, W) or (H, W) gray.
        where: the same shape, bool; the pixels that count. None counts all.

    Returns:
        (N,) float64.

    Raises:
        InputError: shapes differ, a value is not finite, or no pixel counts.
    """
    return _mean_squared_error(torch.zeros_like(truth), truth, where)


def rmse(
    prediction: torch.Tensor,
    truth: torch.Tensor,
    unit: RmseUnit = "gray",
    where: torch.Tensor | None = None,
    range_db: float = GAIN_RANGE_DB,
) -> torch.Tensor:
    """Root mean squared error: RadioDiff, eq. (26); RadioDiff-Inverse, eq. (44). 0 is best.

    Args:
        prediction: (N, H, W) or (H, W) gray.
        truth: the same shape, gray.
        unit: "gray" as RadioDiff; "model", twice that, as RadioDiff-Inverse, Table I; or "db".
        where: the same shape, bool; the pixels that count. None counts all.
        range_db: decibels from gray 0 to gray 1; the default is RadioMapSeer's.

    Returns:
        (N,) float64 in that unit.

    Raises:
        InputError: shapes differ, a value is not finite, or no pixel counts.
    """
    scale = {"gray": 1.0, "model": 2.0, "db": range_db}[unit]
    return scale * _mean_squared_error(prediction, truth, where).sqrt()


def mae(
    prediction: torch.Tensor, truth: torch.Tensor, where: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean absolute error. 0 is best.

    Args:
        prediction: (N, H, W) or (H, W) gray.
        truth: the same shape, gray.
        where: the same shape, bool; the pixels that count. None counts all.

    Returns:
        (N,) float64 gray.

    Raises:
        InputError: shapes differ, a value is not finite, or no pixel counts.
    """
    prediction, truth, where = _as_maps(prediction, truth, where)
    error = torch.where(where, (prediction - truth).abs(), 0.0).sum(dim=(1, 2))
    return error / _count(where)


def psnr(
    prediction: torch.Tensor,
    truth: torch.Tensor,
    peak: PsnrPeak = "full_scale",
    where: torch.Tensor | None = None,
) -> torch.Tensor:
    """Peak signal-to-noise ratio 10 log10(r^2 / MSE) in dB.

    RadioDiff, eq. (31); RadioDiff-Inverse, eq. (42).

    Args:
        prediction: (N, H, W) or (H, W) gray.
        truth: the same shape, gray.
        peak: r, "full_scale" (1, scikit-image's ``data_range=1``) or "truth_range" (maximum minus
            minimum of each true map, over the pixels that count).
        where: the same shape, bool; the pixels that count. None counts all.

    Returns:
        (N,) float64, dB; infinite for equal maps, higher is better.

    Raises:
        InputError: shapes differ, a value is not finite, or no pixel counts.
    """
    error = _mean_squared_error(prediction, truth, where)
    if peak == "full_scale":
        return -10.0 * error.log10()
    _, truth, where = _as_maps(prediction, truth, where)
    highest = torch.where(where, truth, -torch.inf).amax(dim=(1, 2))
    lowest = torch.where(where, truth, torch.inf).amin(dim=(1, 2))
    return 20.0 * (highest - lowest).log10() - 10.0 * error.log10()


def ssim(
    prediction: torch.Tensor, truth: torch.Tensor, window: SsimWindow = "uniform"
) -> torch.Tensor:
    """Structural similarity by scikit-image with ``data_range=1``. Range [-1, 1], 1 is best.

    This is the index of Wang et al. (2004): RadioDiff-Inverse, eq. (43). RadioDiff, eq. (30) prints
    it without the factor 2 of the covariance; it is the product of RadioDiff, eq. (27),
    RadioDiff, eq. (28) and RadioDiff, eq. (29).

    Args:
        prediction: (N, H, W) or (H, W) gray.
        truth: the same shape, gray.
        window: "uniform", 7 x 7 and sample covariance, scikit-image's default; or "gaussian",
            11 x 11, standard deviation 1.5 and population covariance, as Wang et al. define it.

    Returns:
        (N,) float64.

    Raises:
        InputError: shapes differ, a value is not finite, or a map is smaller than the window.
    """
    prediction, truth, _ = _as_maps(prediction, truth, None)
    size = 7 if window == "uniform" else 11
    if min(truth.shape[1:]) < size:
        raise InputError(
            f"SSIM: maps of {truth.shape[1]} x {truth.shape[2]} are smaller than the {window} "
            f"window of {size} x {size}"
        )
    options = (
        {}
        if window == "uniform"
        else {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    )
    values = [
        structural_similarity(a, b, data_range=1.0, **options)
        for a, b in zip(prediction.numpy(), truth.numpy(), strict=True)
    ]
    return torch.tensor(np.array(values, dtype=np.float64))


def iou(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Intersection over union of two masks: RadioDiff-Inverse, eq. (45). Range [0, 1], 1 is best.

    Args:
        predicted: (N, H, W) or (H, W) bool, such as gray <= threshold for building shadows.
        truth: the same shape, bool.

    Returns:
        (N,) float64; 1 where both masks are empty.

    Raises:
        InputError: shapes differ, or a mask is not bool.
    """
    predicted, truth = _as_batch(predicted, "predicted mask"), _as_batch(truth, "true mask")
    _require_same_shape(predicted, truth)
    for mask in (predicted, truth):
        if mask.dtype != torch.bool:
            raise InputError(f"IoU: masks are bool, found {mask.dtype}; apply the threshold first")
    intersection = (predicted & truth).sum(dim=(1, 2)).double()
    union = (predicted | truth).sum(dim=(1, 2)).double()
    return torch.where(union == 0, 1.0, intersection / union.clamp(min=1.0))


def building_ious(
    predicted: torch.Tensor, buildings_png: torch.Tensor, buildings: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Intersection over union with the buildings under both raster rules of the dataset.

    The papers compare with the dataset's building images, which lie half a pixel off the gain
    images: on a real map a perfect estimate has IoU 0.91 with the image, and 1 with the footprint.

    Args:
        predicted: (N, H, W) or (H, W) bool, estimated from a map of gain.
        buildings_png: the same shape, bool, the dataset's building image.
        buildings: the same shape, bool, the footprint: the pixels without gain.

    Returns:
        ``iou`` with the image, as in the papers, and ``iou_gain`` with the footprint, (N,) float64.

    Raises:
        InputError: as :func:`iou`.
    """
    return {"iou": iou(predicted, buildings_png), "iou_gain": iou(predicted, buildings)}


def transmitter_error_m(
    predicted: torch.Tensor, truth: torch.Tensor, resolution_m: float = RESOLUTION_M
) -> torch.Tensor:
    """Distance between estimated and true transmitter in metres. 0 is best.

    Args:
        predicted: (N, 2) or (2,) positions (row, column) in pixels, fractions allowed.
        truth: the same shape.
        resolution_m: metres per pixel.

    Returns:
        (N,) float64, metres.

    Raises:
        InputError: shapes differ or are no positions.
    """
    if predicted.shape != truth.shape or predicted.shape[-1:] != (2,) or predicted.ndim > 2:
        raise InputError(
            f"transmitter error: shapes {tuple(predicted.shape)} and {tuple(truth.shape)}, "
            "expected (N, 2) twice"
        )
    offset = predicted.detach().cpu().double() - truth.detach().cpu().double()
    return resolution_m * offset.reshape(-1, 2).norm(dim=1)


def interval_coverage(
    lower: torch.Tensor,
    upper: torch.Tensor,
    truth: torch.Tensor,
    where: torch.Tensor | None = None,
) -> torch.Tensor:
    """Fraction of pixels whose true value lies in the predicted interval, bounds included.

    A calibrated 90 % interval has coverage 0.9; less is over-confident.

    Args:
        lower: (N, H, W) or (H, W), in the unit of the truth.
        upper: the same shape.
        truth: the same shape.
        where: the same shape, bool; the pixels that count. None counts all.

    Returns:
        (N,) float64 in [0, 1].

    Raises:
        InputError: shapes differ, a value is not finite, or no pixel counts.
    """
    lower, truth, where = _as_maps(lower, truth, where)
    upper = _as_maps(upper, truth, None)[0]
    inside = (lower <= truth) & (truth <= upper) & where
    return inside.sum(dim=(1, 2)).double() / _count(where)


def average(
    metric: str,
    values: torch.Tensor,
    averaging: Averaging = "maps",
    power: torch.Tensor | None = None,
) -> float:
    """Average a metric over maps.

    Args:
        metric: its name; "nmse", "psnr" and "rmse" depend on ``averaging``.
        values: (N,), one value per map.
        averaging: "maps", the mean of the values; or "pooled", the PSNR and RMSE of the mean
            squared error of all maps (with the range of each map divided out of the squared error
            where the PSNR refers to it), and the NMSE of all maps as one, as training code that
            scores whole batches has it.
        power: (N,) of :func:`truth_power`; needed for the pooled NMSE of maps of one size.

    Raises:
        InputError: the pooled NMSE is asked for without ``power``.
    """
    values = values.double()
    if averaging == "pooled" and metric == "nmse":
        if power is None:
            raise InputError("average: the pooled NMSE needs the power of the true maps")
        return float((values * power).sum() / power.sum())
    if averaging == "pooled" and metric == "psnr":
        return float(-10.0 * (10.0 ** (-values / 10.0)).mean().log10())
    if averaging == "pooled" and metric == "rmse":
        return float(values.square().mean().sqrt())
    return float(values.mean())


def _mean_squared_error(
    prediction: torch.Tensor, truth: torch.Tensor, where: torch.Tensor | None
) -> torch.Tensor:
    """RadioDiff, eq. (24), over the pixels that count."""
    prediction, truth, where = _as_maps(prediction, truth, where)
    return torch.where(where, (prediction - truth) ** 2, 0.0).sum(dim=(1, 2)) / _count(where)


def _count(where: torch.Tensor) -> torch.Tensor:
    count = where.sum(dim=(1, 2))
    if (count == 0).any():
        raise InputError(f"metrics: no pixel of map {int((count == 0).nonzero()[0])} counts")
    return count.double()


def _as_maps(
    prediction: torch.Tensor, truth: torch.Tensor, where: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return float64 maps (N, H, W) on the CPU and the mask of the pixels that count."""
    prediction = _as_batch(prediction, "predicted maps").double()
    truth = _as_batch(truth, "true maps").double()
    _require_same_shape(prediction, truth)
    for name, maps in (("predicted", prediction), ("true", truth)):
        if not maps.isfinite().all():
            broken = (~maps.isfinite()).flatten(1).any(dim=1).nonzero()[0]
            raise InputError(f"metrics: {name} map {int(broken)} holds NaN or infinity")
    if where is None:
        return prediction, truth, torch.ones_like(truth, dtype=torch.bool)
    where = _as_batch(where, "mask of pixels that count").bool()
    _require_same_shape(where, truth)
    return prediction, truth, where


def _as_batch(maps: torch.Tensor, name: str) -> torch.Tensor:
    if maps.ndim not in (2, 3):
        raise InputError(f"{name}: shape {tuple(maps.shape)}, expected (N, H, W) or (H, W)")
    return maps.detach().cpu().reshape(-1, *maps.shape[-2:])


def _require_same_shape(prediction: torch.Tensor, truth: torch.Tensor) -> None:
    if prediction.shape != truth.shape:
        raise InputError(
            f"metrics: shapes {tuple(prediction.shape)} and {tuple(truth.shape)} differ"
        )
