"""A method in a process of its own, so that one's threads, memory and crash are no other's."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
import warnings
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from registration_cases import shift_cases
from registration_peers import METHODS, OURS

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from registration_cases import Case

START_S = 600
STOP_S = 5
THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"),
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


class Worker:
    """Runs one method on case after case; started when first needed, again after it was stopped."""

    def __init__(self, method: str, *, threads: int = 1, gpu: bool = False) -> None:
        self.method, self.threads, self.gpu = method, threads, gpu
        self.process: Any = None
        self.ends: Any = None

    def run(self, case: Case, timeout_s: float) -> dict[str, Any]:
        """Return {"estimate", "wall", "cpu"}, or {"status": why not}."""
        if self.process is None and not self._start():
            return {"status": "does not start"}
        with contextlib.suppress(BrokenPipeError):
            self.ends.send((case.moving, case.fixed, case.points))
        return self._receive(timeout_s)

    def stop(self) -> None:
        """End the process, by force where it is still busy."""
        if self.process is None:
            return
        with contextlib.suppress(BrokenPipeError):
            self.ends.send(None)
        self.process.join(STOP_S)
        self.process.kill()
        self.process.join()
        self.process = None

    def _start(self) -> bool:
        """Start the process and wait until its imports and first call are behind it."""
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(self.threads)))
        spawn = multiprocessing.get_context("spawn")
        self.ends, theirs = spawn.Pipe()
        arguments = (theirs, self.method, self.threads, self.gpu)
        self.process = spawn.Process(target=serve, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        return "ready" in self._receive(START_S)

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        try:
            if self.ends.poll(timeout_s):
                return self.ends.recv()
            status = f"timeout, {timeout_s:.0f} s"
        except (EOFError, ConnectionResetError):
            status = "crash"
        self.stop()
        return {"status": status}


def serve(ends: Connection, name: str, threads: int, gpu: bool) -> None:
    """Answer (moving, fixed, points) with where the points are and what it cost, until sent None."""
    # What libraries print and warn of would break up the tables.
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    set_limits(name, threads, gpu)
    # Some write files where they are.
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        small = shift_cases(count=3)[0]
        answer(name, small.moving, small.fixed, small.points)
        ends.send({"ready": True})
        while (task := ends.recv()) is not None:
            ends.send(answer(name, *task))


def set_limits(name: str, threads: int, gpu: bool) -> None:
    """Keep to a number of threads, and off the GPU where none was asked for."""
    if not gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    cv2.setNumThreads(threads)
    if name == OURS:
        import torch

        torch.set_num_threads(threads)


def answer(name: str, moving: np.ndarray, fixed: np.ndarray, points: np.ndarray) -> dict[str, Any]:
    """Time one registration; what maps the points is not timed."""
    register = METHODS[name][1]
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        mapped = register(moving, fixed)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return {"estimate": np.asarray(mapped(points), np.float64), "wall": wall, "cpu": cpu}
    except Exception as error:  # noqa: BLE001 - whatever a peer raises is its result
        traceback.print_exc()
        return {"status": f"{type(error).__name__}: {str(error)[:100]}"}
