"""Enhance beside its peers, in one run:  make bench-inference

model    one image as a tensor, the model alone: ours, the plain float32 network, OpenVINO, ONNX Runtime,
         MONAI's sliding window (where they are installed), and how far each is from the plain network
whole    a uint8 array in the memory to a uint8 array in the memory
stream   many images one after the other (GPU)
"""

import argparse
import copy
import datetime
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from machine import processor

import napari_acuity as acuity
from napari_acuity import samples
from napari_acuity.core.device import choose_device, half_precision
from napari_acuity.core.inference import deploy
from napari_acuity.core.inference.many import enhance_many
from napari_acuity.core.inference.openvino_engine import has_openvino, openvino_engine

# Milliseconds, or how many times as fast as the plain network.
GPU_BARS = {"model 2048": 7.0, "model 160": 0.2, "whole 2048": 20.0, "images/s": 90.0}
# Without extras 2.5 and 5.5 were asked.
CPU_BARS = {"float32": 4.0, "half": 7.0}
PLAIN, WHOLE = "plain network, float32", "ours: uint8 to uint8"
Run = Callable[[torch.Tensor], torch.Tensor]


def timed_on_gpu(function: Callable[[], object], rounds: int) -> float:
    """Return the median time of a call in ms, after five calls to warm up."""
    for _ in range(5):
        function()
    found = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        start = time.perf_counter()
        function()
        torch.cuda.synchronize()
        found.append(1000 * (time.perf_counter() - start))
    return statistics.median(found)


def image_of(side: int) -> np.ndarray:
    """Tile the slide sample to a square of a side."""
    slide = samples.slide().pixels[600:1600, 600:1600]
    repeats = -(-side // slide.shape[0])
    return np.ascontiguousarray(np.tile(slide, (repeats, repeats, 1))[:side, :side])


def onnx_runtime(model: acuity.Model) -> Run | None:
    if find_spec("onnxruntime") is None or find_spec("onnxscript") is None:
        return None
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = acuity.export(model, Path(folder) / "model.onnx")
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda image: torch.from_numpy(session.run(None, {name: image.numpy()})[0])


def monai_window(model: acuity.Model) -> Run | None:
    if find_spec("monai") is None:
        return None
    from monai.inferers import sliding_window_inference

    # Windows of even sides: at odd ones it raises.
    return lambda image: sliding_window_inference(image, (256, 256), 1, model.network, overlap=0.25)


def openvino(model: acuity.Model, *, half: bool) -> Run | None:
    return openvino_engine(model.network, model.channels, half=half)[0] if has_openvino() else None


def whole(model: acuity.Model) -> Run:
    """From a uint8 array to a uint8 array, as a user calls it."""

    def run(image: torch.Tensor) -> torch.Tensor:
        pixels = (image[0].movedim(0, -1) * 255).round().byte().numpy()
        return torch.from_numpy(acuity.enhance(pixels, model, device="cpu").pixels)

    return run


RUNS: dict[str, Callable[[acuity.Model], Run | None]] = {
    PLAIN: lambda model: model.network,
    "ours: float32": lambda model: deploy.engine_for(model, choose_device("cpu"), exact=True).run,
    "ours: half": lambda model: deploy.engine_for(model, choose_device("cpu")).run,
    "OpenVINO, float32": lambda model: openvino(model, half=False),
    "OpenVINO, all in half": lambda model: openvino(model, half=True),
    "ONNX Runtime": onnx_runtime,
    "MONAI sliding window": monai_window,
    WHOLE: whole,
}


@lru_cache(maxsize=1)
def prepared(name: str, side: int) -> tuple[Run | None, torch.Tensor]:
    tensor = torch.from_numpy(image_of(side)).movedim(-1, 0)[None].float().contiguous() / 255
    return RUNS[name](acuity.load("default")), tensor


def one_call(name: str, side: int, keep: Path | None = None) -> float | None:
    """Return what one call takes, ms; None where its package is not installed. Keep the output if asked."""
    run, tensor = prepared(name, side)
    if run is None:
        return None
    with torch.inference_mode():
        start = time.perf_counter()
        output = run(tensor)
        took = 1000 * (time.perf_counter() - start)
    if keep is not None:
        np.save(keep, output.numpy())
    return took


def on_cpu(side: int, rounds: int) -> str:
    """Return the table of model times on the CPU, in Markdown.

    Each has a process of its own, as each would have with a user, and they are called in turn: the machine's
    pace changes from minute to minute.
    """
    half = half_precision(choose_device("cpu")) is not None
    names = [name for name in RUNS if half or "half" not in name]
    found: dict[str, list[float | None]] = {name: [] for name in names}
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        processes = {
            name: stack.enter_context(ProcessPoolExecutor(1, get_context("spawn")))
            for name in names
        }
        outputs = {name: Path(folder) / f"{number}.npy" for number, name in enumerate(names)}
        for name, process in processes.items():  # also warms up
            process.submit(one_call, name, side, outputs[name]).result()
        for _ in range(rounds):
            for name, process in processes.items():
                found[name].append(process.submit(one_call, name, side).result())
        truth = np.load(outputs[PLAIN])
        errors = {
            name: float(np.abs(np.load(path) - truth).max())
            for name, path in outputs.items()
            if path.exists() and name != WHOLE
        }
    lines = [
        f"{side} x {side} RGB, {torch.get_num_threads()} threads, median of {rounds} rounds.\n"
    ]
    lines += ["| | ms | times as fast | asked | largest difference |", "|---|---|---|---|---|"]
    for name, times in found.items():
        if times[0] is None:
            lines.append(f"| {name} | not installed | | | |")
            continue
        ratio = statistics.median(a / b for a, b in zip(found[PLAIN], times, strict=True))
        bar = CPU_BARS.get(name.removeprefix("ours: "), "")
        took = statistics.median(times)
        error = f"{errors[name]:.1e}" if name in errors else ""
        lines.append(f"| {name} | {took:.0f} | {ratio:.2f} | {bar} | {error} |")
    if not half:
        lines.append("\nThis processor has no bfloat16: half precision was not measured.")
    return "\n".join(lines)


def on_gpu(count: int) -> str:
    """Return the table of a GPU, in Markdown."""
    model, where = acuity.load("default"), choose_device("cuda")
    pixels = image_of(2048)
    tensor = torch.from_numpy(pixels).to(where.name).movedim(-1, 0)[None].float() / 255
    small = tensor[..., :160, :160].contiguous()
    plain = deploy._channels_last(deploy.place(copy.deepcopy(model.network), where))
    engine, exact = deploy.engine_for(model, where), deploy.engine_for(model, where, exact=True)
    exactly = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    with torch.inference_mode(), exactly:
        truth = plain(tensor)
        slow = timed_on_gpu(lambda: plain(tensor), 5)
    errors = [float((e.run(tensor) - truth).abs().max()) for e in (engine, exact)]
    large = timed_on_gpu(lambda: engine.run(tensor), 20)
    fine = timed_on_gpu(lambda: exact.run(tensor), 5)
    tiny = timed_on_gpu(lambda: engine.run(small), 50)
    whole = timed_on_gpu(lambda: acuity.enhance(pixels, model, device="cuda"), 10)
    images = [np.roll(pixels, n, axis=0) for n in range(8)]
    cold, warm = (streamed(images, model, count) for _ in range(2))
    return "\n".join(
        [
            "| | measured | asked |",
            "|---|---|---|",
            f"| plain network, float32, 2048 x 2048 | {slow:.1f} ms | |",
            f"| ours, {engine.words}, 2048 x 2048 | {large:.2f} ms | {GPU_BARS['model 2048']} ms |",
            f"| ours, {exact.words}, 2048 x 2048 | {fine:.1f} ms | |",
            f"| largest difference to float32: half, exact | {errors[0]:.1e}, {errors[1]:.1e} | "
            "3.9e-3, 1e-5 |",
            f"| ours, 160 x 160 | {tiny:.3f} ms | {GPU_BARS['model 160']} ms |",
            f"| uint8 to uint8, 2048 x 2048 | {whole:.1f} ms | {GPU_BARS['whole 2048']} ms |",
            f"| {count} images streamed, cold | {cold:.0f} images/s | |",
            f"| {count} images streamed, warm | {warm:.0f} images/s | {GPU_BARS['images/s']:.0f} |",
        ]
    )


def streamed(images: list[np.ndarray], model: acuity.Model, count: int) -> float:
    """Return how many images are enhanced in a second, of so many in all."""
    given = (images[n % len(images)] for n in range(count))
    start = time.perf_counter()
    frames = sum(1 for _ in enhance_many(given, model, device="cuda"))
    return frames / (time.perf_counter() - start)


def machine() -> str:
    """Say when and on what the figures were measured."""
    packages = []
    for name in ("torch", "openvino", "onnxruntime", "monai"):
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return (
        f"{datetime.date.today()}, {processor()} ({os.cpu_count()} cores), {choose_device().label}, "
        f"Python {platform.python_version()}, {', '.join(packages)}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=1024, help="of the image on the CPU, px")
    parser.add_argument("--rounds", type=int, default=5, help="on the CPU")
    parser.add_argument("--count", type=int, default=100, help="images to stream on a GPU")
    parser.add_argument("--skip-cpu", action="store_true")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures here as well")
    chosen = parser.parse_args()
    parts = ["## Enhance (`make bench-inference`)", machine()]
    if not chosen.skip_cpu:
        parts.append(on_cpu(chosen.side, chosen.rounds))
    gpu = torch.cuda.is_available()
    parts.append(on_gpu(chosen.count) if gpu else "GPU: not measured, torch finds none.")
    text = "\n\n".join(parts) + "\n"
    print(text)
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
