"""Threads and processes change nothing."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from plausibody.synth.raster import rasterize, rasterize_labels


@pytest.fixture(scope="module")
def scene() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    flat = torch.rand(13, 300, 2, generator=generator) * 40
    depth = torch.rand(13, 300, 1, generator=generator) + 1
    return torch.cat([flat, depth], -1), torch.arange(300).view(-1, 3)


def picture(scene: tuple[Tensor, Tensor], threads: int) -> Tensor:
    vertices, faces = scene
    fragments = rasterize(vertices, faces, (40, 40), backend="numba", threads=threads)
    face_labels = faces[:, 0].remainder(251).to(torch.uint8)
    labels = rasterize_labels(
        vertices, faces, face_labels, (40, 40), backend="numba", threads=threads
    )
    assert fragments.barycentric is not None
    parts = [fragments.face, fragments.depth.view(torch.int32), labels]
    parts += fragments.barycentric.view(torch.int32).unbind(-1)
    return torch.stack([part.int() for part in parts])


@pytest.mark.parametrize("threads", [2, 3, 32])
def test_the_number_of_threads_does_not_matter(scene, threads):
    used = torch.get_num_threads()
    assert torch.equal(picture(scene, 1), picture(scene, threads))
    assert torch.get_num_threads() == used


def test_callers_do_not_disturb_each_other(scene):
    expected = picture(scene, 1)
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda k: picture(scene, 1 + k % 3), range(24)))
    assert all(torch.equal(result, expected) for result in results)


def _checksum(scene: tuple[Tensor, Tensor]) -> int:
    fragments = rasterize(*scene, (40, 40), backend="numba", threads=2)
    return int(fragments.face.numpy().sum()) + int(fragments.depth.numpy().view("int32").sum())


def _draw(queue: multiprocessing.Queue, scene: tuple[Tensor, Tensor]) -> None:
    queue.put(_checksum(scene))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_a_forked_process_draws_too(scene):
    """With so many faces that torch would check them by threads, which a child does not have."""
    vertices, faces = scene
    many = vertices, faces.repeat(500, 1)
    expected = _checksum(many)
    used = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.aminmax(many[1])
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_draw, args=(queue, many))
    process.start()
    try:
        assert queue.get(timeout=60) == expected
    finally:
        torch.set_num_threads(used)
        process.kill()
        process.join(timeout=60)
