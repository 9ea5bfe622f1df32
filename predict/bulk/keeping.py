"""Writes what was made of one photo into a folder of its own, and its entry in the summary."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plausibody.models.files import encode_arrays, write_file
from plausibody.predict.bulk import table
from plausibody.predict.bulk.options import RunOptions
from plausibody.predict.drawing.pictures import DRAWN, Photo, draw_pictures, vertex_colours
from plausibody.predict.drawing.surface import Surface, surface_files
from plausibody.predict.export import draft_folder, encode_mesh
from plausibody.predict.interchange import encode_document, person_document, refinement_record
from plausibody.predict.parameters import Origin, person_arrays
from plausibody.predict.predictor import Predictor
from plausibody.predict.reading.photo import PhotoError, read_photo
from plausibody.predict.report.files import report_files
from plausibody.predict.result import ImagePrediction, PersonPrediction

RECORD = "result.json"
"""The record in the folder of a photo. It says that the folder is ours."""

Record = dict[str, Any]
"""What `summary.json` says of one photo."""


def keep(
    image: ImagePrediction,
    blank: Record,
    folder: Path,
    predictor: Predictor,
    options: RunOptions,
    surface: Surface | None = None,
) -> Record:
    """Writes the folder of a photo, if there is a body, and gives the photo's record.

    Args:
        blank: What the record says whatever became of the photo, `path` at least.
        folder: Takes its name only when it is full.
        surface: Of bodies; needed for the words iuv and semantics.

    Raises:
        DiskFullError: If there is no space; nothing of this photo is left then.
    """
    record = blank | {
        "status": image.status,
        "message": image.message,
        "width": image.width,
        "height": image.height,
        "folder": folder.name if image.people else "",
        "people": [person_record(person) for person in image.people],
        "files": [],
    }
    if not image.people:
        return record
    origin = Origin(
        template=predictor.template,
        weights=predictor.weights_name,
        weights_sha256=predictor.weights_sha256,
        path=blank["path"],
        size=(image.height, image.width),
        gendered=predictor.gendered,
    )
    try:
        with draft_folder(folder, RECORD) as draft:
            for person, entry in zip(image.people, record["people"], strict=True):
                for name, content in _person_files(person, origin, options):
                    write_file(draft / name, content)
                    entry["files"].append(name)
            for name, content in _pictures(image, predictor, origin, options, surface):
                write_file(draft / name, content)
                if (owner := _owner(name, record)) is not None:
                    owner["files"].append(name)
            write_file(draft / RECORD, json.dumps(record, indent=1, allow_nan=False) + "\n")
    except (FileExistsError, FileNotFoundError, PhotoError) as error:
        # Something of the user's has the folder's name, or the photo has gone in the meantime.
        return record | {
            "status": "failed",
            "message": str(error),
            "folder": "",
            "people": [],
            "files": [],
        }
    return record


def _owner(name: str, record: Record) -> Record | None:
    """Gives the entry that lists a picture: a person's, the photo's, or None of the report's."""
    if name.startswith("report"):
        return None
    stem = "_".join(name.split("_")[:2])
    for person in record["people"]:
        if stem == f"person_{person['index']}":
            return person
    return record


def person_record(person: PersonPrediction) -> Record:
    """Tells of a person what `summary.json` says, but for the files, which are not yet written.

    A point (x, y, z) of the mesh file is at (x, -y, -z) + `mesh_origin` in the camera's frame [m].
    """
    error = person.fit.reprojection
    return {
        "index": person.index,
        "score": round(person.evidence.score, 4),
        "box": [round(value, 1) for value in person.evidence.box.tolist()],
        "silhouette_iou": round(person.fit.silhouette_iou, 4),
        "reprojection_percent": round(error, 3) if math.isfinite(error) else None,
        "confident_keypoints": person.fit.confident,
        "refinement": refinement_record(person),
        "flags": sorted(person.evidence.flags),
        "warnings": list(person.warnings),
        "measurements": table.measurement_record(person.measurements),
        "mesh_origin": [round(value, 5) for value in person.perspective.translation.tolist()],
        "files": [],
    }


def _person_files(
    person: PersonPrediction, origin: Origin, options: RunOptions
) -> Iterator[tuple[str, bytes | str]]:
    """Gives name and content of the files with a person's numbers and mesh."""
    stem = f"person_{person.index}"
    if "params" in options.save:
        arrays = person_arrays(person, origin, options.vertices, "samples" in options.save)
        yield f"{stem}.npz", encode_arrays(arrays)
        yield f"{stem}.json", encode_document(person_document(person, arrays))
    if "mesh" in options.save:
        faces, colours = origin.template.faces, vertex_colours(person)
        mesh = encode_mesh(person.body.vertices, faces, options.mesh_format, colours)
        yield f"{stem}.{options.mesh_format}", mesh


def _pictures(
    image: ImagePrediction,
    predictor: Predictor,
    origin: Origin,
    options: RunOptions,
    surface: Surface | None,
) -> Iterator[tuple[str, bytes]]:
    """Opens the photo once more, and gives name and content of what is drawn on it."""
    if not options.save & DRAWN:
        return
    photo = Photo(read_photo(origin.path))
    settings = predictor.regressor.proxy
    yield from draw_pictures(photo, image, origin.template, options.save, settings)
    if surface is not None:
        yield from surface_files(photo, image, origin, predictor.regressor, surface)
    if "report" in options.save:
        yield from report_files(origin.path, image, origin.template, photo.picture)
