"""A step that CUDA records once and replays.

    (step, device) -> the same step, without what it costs to start it

A step of a small network is hundreds of kernels of a few microseconds each, started one by one from Python, so that a
large GPU waits for its host. Recorded as a graph they are one call. The CPU has nothing to record.

This part has not run on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

EAGER = 3
"""Steps taken before one is recorded: libraries choose their kernels in the first ones."""


class Replayed:
    """`step`, recorded at its fourth call on CUDA. What it reads and writes has to stay at the same addresses."""

    def __init__(self, step: Callable[[], None], device: str) -> None:
        self._step = step
        self._calls = 0
        self._stream = torch.cuda.Stream() if device == "cuda" else None  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        self._calls += 1
        if self._stream is None:
            self._step()
        elif self._calls <= EAGER:
            self._aside(self._stream)
        else:
            self._graph = self._graph or self._recorded(self._stream)
            self._graph.replay()

    def _aside(self, stream: torch.cuda.Stream) -> None:
        """The step on the stream that it will be recorded on, so that nothing is left to be set up there."""
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._step()
        torch.cuda.current_stream().wait_stream(stream)

    def _recorded(self, stream: torch.cuda.Stream) -> torch.cuda.CUDAGraph:
        """The step as a graph; recording does not run it."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            self._step()
        return graph
