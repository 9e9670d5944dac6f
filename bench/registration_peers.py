"""The methods: ours, and each peer as its user would call it, with the settings that served it best.

A method is a function of (moving, fixed), RGB bytes, that returns a function from fixed to moving (row,
col). Each imports its library itself, so that those not installed can be left out.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from functools import partial
from typing import TYPE_CHECKING

import cv2
import numpy as np
from registration_prepare import (
    SWAP,
    after_plane,
    grey,
    matched,
    normalised,
    on_fixed,
    resize_plane,
    start_plane,
    to_bytes,
)
from registration_truth import apply_plane

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from registration_prepare import Map, Pixels

    Method = Callable[[Pixels, Pixels], Map]

OURS = "napari-acuity"


def ours(moving: Pixels, fixed: Pixels) -> Map:
    import napari_acuity

    return napari_acuity.register(moving, fixed).map_points


def resize(moving: Pixels, fixed: Pixels) -> Map:
    return partial(apply_plane, resize_plane(moving, fixed))


def sift(moving: Pixels, fixed: Pixels) -> Map:
    return partial(apply_plane, start_plane(moving, fixed))


def sift_dis(moving: Pixels, fixed: Pixels) -> Map:
    plane = start_plane(moving, fixed)
    target, source = (to_bytes(image) for image in normalised(moving, fixed, plane))
    return after_plane(plane, _dis(target, source))


def sift_dis_matched(moving: Pixels, fixed: Pixels) -> Map:
    plane = start_plane(moving, fixed)
    images = matched(moving, fixed, plane)
    target, source = (np.clip(image, 0, 255).astype(np.uint8) for image in images)
    return after_plane(plane, _dis(target, source))


def _dis(target: Pixels, source: Pixels) -> NDArray[np.float32]:
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(target, source, None)
    return flow[..., ::-1]


def tv_l1(moving: Pixels, fixed: Pixels) -> Map:
    from skimage.registration import optical_flow_tvl1

    plane = start_plane(moving, fixed)
    flow = optical_flow_tvl1(*normalised(moving, fixed, plane))
    return after_plane(plane, np.moveaxis(flow, 0, -1))


def ilk(moving: Pixels, fixed: Pixels) -> Map:
    from skimage.registration import optical_flow_ilk

    plane = start_plane(moving, fixed)
    flow = optical_flow_ilk(*normalised(moving, fixed, plane), radius=15)
    return after_plane(plane, np.moveaxis(flow, 0, -1))


def simpleitk(moving: Pixels, fixed: Pixels) -> Map:
    import SimpleITK as sitk

    plane = start_plane(moving, fixed)
    target, source = (sitk.GetImageFromArray(image) for image in matched(moving, fixed, plane))
    spline = sitk.BSplineTransformInitializer(target, [max(2, len(fixed) // 128)] * 2)
    method = sitk.ImageRegistrationMethod()
    method.SetInitialTransformAsBSpline(spline, inPlace=True, scaleFactors=[1, 2, 4])
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.2, 1)
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SetOptimizerAsGradientDescentLineSearch(
        5.0, 100, convergenceMinimumValue=1e-4, convergenceWindowSize=5
    )
    method.SetInterpolator(sitk.sitkLinear)
    found = method.Execute(target, source)
    field = sitk.TransformToDisplacementField(found, sitk.sitkVectorFloat64, target.GetSize())
    return after_plane(plane, sitk.GetArrayFromImage(field)[..., ::-1])


def elastix(moving: Pixels, fixed: Pixels, *, spacing_px: float | None = None) -> Map:
    import itk

    plane = start_plane(moving, fixed)
    target, source = map(itk.image_from_array, matched(moving, fixed, plane))
    parameters = itk.ParameterObject.New()
    spacing = () if spacing_px is None else (spacing_px,)
    parameters.AddParameterMap(parameters.GetDefaultParameterMap("bspline", 4, *spacing))
    _, found = itk.elastix_registration_method(
        target, source, parameter_object=parameters, log_to_console=False
    )
    field = itk.transformix_deformation_field(source, found)
    return after_plane(plane, itk.array_from_image(field)[..., ::-1])


def ants_syn(moving: Pixels, fixed: Pixels) -> Map:
    import ants

    plane = start_plane(moving, fixed)
    target, source = map(ants.from_numpy, matched(moving, fixed, plane))
    found = ants.registration(
        target,
        source,
        type_of_transform="SyNOnly",
        initial_transform="Identity",
        syn_metric="CC",
        syn_sampling=4,
        random_seed=1,
    )
    field = next(path for path in found["fwdtransforms"] if path.endswith(".nii.gz"))
    shift = ants.image_read(field).numpy()
    for path in {*found["fwdtransforms"], *found["invtransforms"]}:
        with contextlib.suppress(OSError):
            os.remove(path)
    return after_plane(plane, shift)


def nanopyx(moving: Pixels, fixed: Pixels, *, blocks: int = 5) -> Map:
    from nanopyx.core.analysis._le_channel_registration import ChannelRegistrationEstimator

    plane = start_plane(moving, fixed)
    target, source = matched(moving, fixed, plane)
    rows, cols = target.shape
    search_px = min(32, min(rows, cols) // blocks // 4)
    found = ChannelRegistrationEstimator(verbose=False).run(
        np.stack([target, source]), 0, search_px, blocks, 0.3, run_type="threaded"
    )
    if found is None:
        return partial(apply_plane, plane)
    # One channel's columns, then its rows, side by side; to be subtracted.
    shift = -np.stack([found[1][:, cols:], found[1][:, :cols]], -1)
    return after_plane(plane, shift)


def stackreg(moving: Pixels, fixed: Pixels) -> Map:
    from pystackreg import StackReg

    frames = resize_plane(moving, fixed)
    source, _ = on_fixed(moving, fixed, frames)
    affine = StackReg(StackReg.AFFINE).register(
        grey(fixed).astype(np.float64), grey(source).astype(np.float64)
    )
    return partial(apply_plane, frames @ SWAP @ affine @ SWAP)


METHODS: dict[str, tuple[str, Method]] = {
    OURS: ("napari_acuity", ours),
    "SIFT + DIS flow": ("cv2", sift_dis),
    "SIFT + DIS flow, histogram-matched": ("cv2", sift_dis_matched),
    "SIFT + ILK": ("skimage", ilk),
    "SIFT + TV-L1": ("skimage", tv_l1),
    "SIFT + itk-elastix": ("itk", elastix),
    "SIFT + itk-elastix, 32 px": ("itk", partial(elastix, spacing_px=32.0)),
    "SIFT + SimpleITK B-spline": ("SimpleITK", simpleitk),
    "SIFT + ANTs SyN (CC)": ("ants", ants_syn),
    "SIFT + NanoPyx, 5 x 5 blocks": ("nanopyx", nanopyx),
    "SIFT homography": ("cv2", sift),
    "pystackreg, affine": ("pystackreg", stackreg),
    "frame on frame": ("cv2", resize),
}
"""Name: (module it needs, function)."""


def installed(name: str) -> bool:
    """Say whether the library of a method is there."""
    return importlib.util.find_spec(METHODS[name][0]) is not None
