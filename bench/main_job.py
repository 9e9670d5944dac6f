"""Time the main job's steps, each beside a peer in the same run:  make bench-main

register  a 1024 x 1024 field and its phone capture; peer: OpenCV SIFT + RANSAC, then DIS optical flow
enhance   512 x 512 RGB; peer: the same network as published, plain fp32, one call
train     steps of the bright-field recipe; peer: the same in plain fp32
import    napari_acuity in a fresh interpreter; peer: NumPy
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import torch

import napari_acuity as acuity
from napari_acuity import samples
from napari_acuity.core.micrograph import grey
from napari_acuity.core.registration.looks import normalised
from napari_acuity.core.simulate import PHONE, capture

REPEATS = 5


def median_seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def sift_and_dis(moving: np.ndarray, fixed: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """What an OpenCV user would write: homography by SIFT, then dense flow on normalised grey."""
    sift = cv2.SIFT.create(8000)
    (kf, df), (km, dm) = (
        sift.detectAndCompute(image.astype(np.uint8), None) for image in (fixed, moving)
    )
    matches = cv2.BFMatcher(cv2.NORM_L2).knnMatch(df, dm, k=2)
    good = [m for m, n in matches if m.distance < 0.8 * n.distance]
    source = np.float32([kf[m.queryIdx].pt for m in good])
    target = np.float32([km[m.trainIdx].pt for m in good])
    plane, _ = cv2.findHomography(source, target, cv2.RANSAC, 3.0, maxIters=5000)
    height, width = fixed.shape
    warped = cv2.warpPerspective(
        moving, plane, (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    )
    a, b = (np.clip(normalised(v) * 40 + 128, 0, 255).astype(np.uint8) for v in (fixed, warped))
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(a, b, None)

    def mapped(points: np.ndarray) -> np.ndarray:
        y, x = points.astype(int).T
        moved = points + flow[y, x, ::-1]
        return cv2.perspectiveTransform(moved[:, None, ::-1].astype(np.float64), plane)[:, 0, ::-1]

    return mapped


def bench_register() -> None:
    slide = samples.slide()
    field = (1500, 800, 1024, 1024)
    phone = capture(slide, PHONE, field=field, margin=40, rotation_deg=4, shift_px=(9, -14))
    bench = slide.with_pixels(slide.pixels[1500:2524, 800:1824])
    grid = np.mgrid[8:1016:8, 8:1016:8].reshape(2, -1).T.astype(float)
    true = phone.map_points(grid)
    inside = ((true >= 2) & (true <= np.array(phone.image.shape) - 3)).all(1)

    def error(mapped: Callable) -> float:
        return float(np.median(np.linalg.norm(mapped(grid[inside]) - true[inside], axis=1)) * 2.5)

    ours = median_seconds(lambda: acuity.register(phone.image, bench), 3)
    moving, fixed = grey(phone.image), grey(bench)
    peer = median_seconds(lambda: sift_and_dis(moving, fixed), 3)
    found = acuity.register(phone.image, bench)
    print(f"register 1024: {ours:.2f} s, median error {error(found.map_points):.3f} px; ", end="")
    print(
        f"SIFT + DIS {peer:.2f} s, {error(sift_and_dis(moving, fixed)):.3f} px; ratio {ours / peer:.2f}"
    )


def bench_enhance() -> None:
    image = samples.slide().pixels[1600:2112, 900:1412]
    model = acuity.Model.new("brightfield-2017")
    ours = median_seconds(lambda: acuity.enhance(image, model))
    batch = torch.from_numpy(image.copy()).movedim(-1, 0)[None].float() / 255

    def plain() -> None:
        with torch.inference_mode():
            model.network(batch)

    peer = median_seconds(plain)
    print(f"enhance 512 x 512: {ours:.2f} s, uint8 to uint8; ", end="")
    print(f"plain network {peer:.2f} s, tensor to tensor; ratio {ours / peer:.2f}")


def bench_train() -> None:
    phone, bench = samples.phone_pair()
    pair = acuity.register(phone.image, bench).pair(phone.image, bench, scale=2.5)
    recipe = acuity.Recipe()
    steps = 64

    def seconds(half: bool) -> float:
        from napari_acuity.core.training import train as room

        chosen, kept = room.half_precision, room.place
        if not half:
            room.half_precision = lambda device: None
            room.place = lambda network, device: network
        try:
            start = time.perf_counter()
            acuity.train([pair], replace(recipe, epochs=1))
            return time.perf_counter() - start
        finally:
            room.half_precision, room.place = chosen, kept

    ours, peer = (statistics.median(seconds(half) for _ in range(3)) for half in (True, False))
    print(f"train: {steps * recipe.batch / ours:.0f} patches/s of {recipe.patch} px; ", end="")
    print(f"plain fp32 {steps * recipe.batch / peer:.0f}; ratio {peer / ours:.2f}")


def bench_import() -> None:
    def seconds(module: str) -> float:
        code = (
            f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
        )
        runs = [subprocess.check_output([sys.executable, "-c", code]) for _ in range(REPEATS)]
        return statistics.median(map(float, runs))

    print(f"import: {seconds('napari_acuity'):.3f} s; NumPy {seconds('numpy'):.3f} s")


if __name__ == "__main__":
    print(acuity.info())
    bench_import()
    bench_register()
    bench_enhance()
    bench_train()
