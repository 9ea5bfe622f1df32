"""`predict`: photos in, bodies out."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any, Literal

import click

from plausibody.commands.terminal import (
    counting,
    helpful_errors,
    pick_device,
    prepare_cpu,
    stoppable,
    tell,
    teller,
    usage_errors,
)

MOST_SAMPLES = 10_000
"""More of one person tell nothing new and fill the memory."""
OTHER_CHART = (
    "note: these weights learnt u and v of the open body's chart, as --save iuv writes them; "
    "DensePose's maps have the same parts, but u and v of SMPL's chart, which weights of "
    "sources.body=smpl learn"
)
FRONT_ENDS = ("embedded", "hq", "hrnet", "files")


def _named(context: click.Context, option: click.Parameter, value: str | None) -> Path | None:
    """Makes a path of what was given, which must be more than nothing: that would be here."""
    if value is not None and not value.strip():
        raise click.BadParameter("wanted a name, got an empty one")
    return None if value is None else Path(value)


@click.command("predict")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False))
@click.option("--out", callback=_named, required=True, help="Folder for results.")
@click.option("--weights", help="A file, or the name of weights.  [default: hierprob-lite]")
@click.option(
    "--front-end",
    type=click.Choice(FRONT_ENDS),
    default="embedded",
    help="What finds people, key points and masks.",
)
@click.option(
    "--front-end-weights",
    metavar="FILE|DIR",
    help="Of hrnet: pose_hrnet_w48_384x288.pth. Of hq: a folder with its models.",
)
@click.option(
    "--files",
    type=click.Path(path_type=Path),
    help="Folder with key points and masks of the photos (files), or a COCO file.",
)
@click.option(
    "--boxes",
    type=click.Path(path_type=Path),
    help="Where people are: JSON of [x, y, width, height] or of OpenPose, a file or a folder.",
)
@click.option("--cropped", is_flag=True, help="Photos are cut to one person each.")
@click.option(
    "--silhouette-from",
    default="mask",
    metavar="mask|parts|embedded|DIR",
    help="Masks: as the front end says; of part or IUV maps, or by our nets (files); in a folder.",
)
@click.option("--distant", is_flag=True, help="Look for people far off too, part by part; slower.")
@click.option("--person", default="all", help="all, main, or a number from 0.  [default: all]")
@click.option(
    "-T",
    "--limb-confidence",
    type=float,
    help="Elbows, wrists, knees and ankles below it (0 to 1) are not seen.  "
    "[default: as the weights learnt]",
)
@click.option("--fov", type=float, help="Angle of view of the photo's diagonal [degrees].")
@click.option(
    "--samples", type=int, default=0, help="Bodies drawn from the distribution of each person."
)
@click.option("--height-cm", type=float, help="Height of the main person, barefoot.")
@click.option("--gender", type=click.Choice(["female", "male"]), help="Of the main person.")
@click.option("--same-person", is_flag=True, help="All photos show the same main person.")
@click.option("--refine", is_flag=True, help="Move bodies towards key points and mask.")
@click.option("--every", type=int, default=1, help="Of a video, one frame in so many.")
@click.option("--smooth", type=int, default=0, help="Of a video, over so many frames each way.")
@click.option(
    "--save",
    multiple=True,
    default=("overlay,mesh,params",),
    show_default=False,
    help="Some of overlay,mesh,params,samples,proxies,iuv,semantics,report, in one or in several.  "
    "[default: overlay,mesh,params]",
)
@click.option(
    "--labels",
    callback=_named,
    metavar="DIR",
    help="Label maps of the photos, as Graphonomy writes them, to draw beside the body's "
    "(--save semantics).",
)
@click.option("--mesh-format", type=click.Choice(["glb", "obj", "ply"]), default="glb")
@click.option("--recursive", is_flag=True, help="Search folders in folders too.")
@click.option("--batch-size", type=int, default=8, help="Photos opened at a time.")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", help="Who works.")
@click.option("--workers", type=int, help="Of ray.  [default: as many as there is room for]")
@click.option("--force", is_flag=True, help="Do again what an earlier run has finished.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--quiet", is_flag=True)
def predict_command(
    paths: tuple[Path, ...],
    out: Path,
    weights: str | None,
    front_end: str,
    front_end_weights: str | None,
    files: Path | None,
    boxes: Path | None,
    cropped: bool,
    silhouette_from: str,
    distant: bool,
    person: str,
    limb_confidence: float | None,
    fov: float | None,
    samples: int,
    height_cm: float | None,
    gender: Literal["female", "male"] | None,
    same_person: bool,
    refine: bool,
    every: int,
    smooth: int,
    save: tuple[str, ...],
    labels: Path | None,
    mesh_format: str,
    recursive: bool,
    batch_size: int,
    engine: str,
    workers: int | None,
    force: bool,
    device: str,
    quiet: bool,
) -> None:
    """Turn photos into bodies.

    PATHS are photos, folders, patterns in quotes ("trip/*.jpg"), lists (@photos.txt) or one video.
    """
    with helpful_errors():
        from plausibody.models.weights import DEFAULT_WEIGHTS
        from plausibody.predict.bulk.run import RunOptions, StoppedError, predict_folder
        from plausibody.predict.front_ends.opening import FrontEndSettings, open_front_end
        from plausibody.predict.placement import DIAGONAL_VIEW
        from plausibody.predict.predictor import Predictor
        from plausibody.stopping import StopRequest

        with usage_errors():
            words = (word.strip() for words in save for word in words.split(","))
            wanted = frozenset(word for word in words if word)
            options = RunOptions(
                save=wanted,
                mesh_format=mesh_format,
                batch_size=batch_size,
                recursive=recursive,
                force=force,
                labels=labels,
            )
            looking = FrontEndSettings(
                boxes=boxes,
                cropped=cropped,
                files=files,
                silhouette_from=silhouette_from,
                tiled=distant,
                weights=front_end_weights,
            )
            options.check_samples(samples)
            if weights is not None and not weights.strip():
                raise ValueError("--weights: wanted a file or a name, got nothing")
            if samples > MOST_SAMPLES:
                raise ValueError(f"--samples: wanted at most {MOST_SAMPLES}, got {samples}")
            chosen = _person(person)
            if fov is not None and not 0 < fov < 180:
                raise ValueError(f"--fov: wanted degrees above 0 and below 180, got {fov:g}")
        prepare_cpu(0)
        place = pick_device(device)
        with usage_errors():
            eyes = open_front_end(front_end, place, looking)
            predictor = Predictor(
                weights or DEFAULT_WEIGHTS,
                eyes,
                place,
                person=chosen,
                diagonal_view=DIAGONAL_VIEW if fov is None else math.radians(fov),
                samples=samples,
                height=None if height_cm is None else height_cm / 100,
                gender=gender,
                same_person=same_person,
                refine=refine,
                limb_confidence=limb_confidence,
            )
        with usage_errors():
            inputs, worker = _inputs(paths, every, smooth, engine, workers)
        say = teller(quiet)
        if predictor.regressor.proxy.channel == "iuv" and predictor.regressor.body == "open":
            say(OTHER_CHART)
        with (
            stoppable(StoppedError, "the same command does the rest"),
            counting("photos", quiet) as watch,
            StopRequest(say, "this photo is finished first") as stop,
        ):
            summary = predict_folder(
                inputs,
                out,
                predictor,
                options,
                lambda now: watch(now.done, now.total),
                stop=stop,
                engine=worker,
            )
        for entry in summary.content["inputs"]:
            if entry["message"]:  # also of photos in which not everybody was found
                tell(f"{entry['status']}: {entry['message']}")
        if not quiet:
            counts = ", ".join(f"{count} {status}" for status, count in summary.counts.items())
            tell(f"{summary.path}: {counts}")
        if not summary.usable:
            sys.exit(1)


def _person(text: str) -> Any:
    """Reads all, main or a number."""
    if text in ("all", "main"):
        return text
    if text.isdecimal():
        return int(text)
    raise click.BadParameter(f"wanted all, main or a number from 0, got {text!r}")


def _inputs(
    paths: tuple[Path, ...], every: int, smooth: int, engine: str, workers: int | None
) -> tuple[Any, Any]:
    """Gives what is to be predicted, and what does the work."""
    from plausibody.predict.bulk.engine import LocalEngine
    from plausibody.predict.reading.video import is_video, video_inputs

    if workers is not None and engine == "local":
        raise ValueError("--workers: wanted it with --engine ray, came local")
    if not any(is_video(path) for path in paths):
        if every != 1 or smooth:
            raise ValueError("--every, --smooth: wanted a video, got photos; do: leave them out")
        if engine == "local":
            return paths, LocalEngine()
        from plausibody.predict.bulk.engine_ray import RayEngine

        return paths, RayEngine() if workers is None else RayEngine(workers)
    if len(paths) > 1 or engine != "local":
        raise ValueError("a video: wanted it alone and --engine local; do: one command for each")
    if smooth < 0:
        raise ValueError(f"--smooth: wanted 0 or more frames, got {smooth}")
    frames = video_inputs(paths[0], every)
    if not smooth:
        return frames, LocalEngine()
    from plausibody.predict.bulk.engine_video import VideoEngine

    return frames, VideoEngine(frames.names, smooth)
