"""Measures weights on people of the stream that they learnt from, with poses that no training saw.

Whatever a network reads, its own stream can show it: colours, IUV pictures, edges or silhouettes.
The people are those of the training's own validation, and more of the same kind.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plausibody import __version__
from plausibody.config import RunConfig
from plausibody.config_file import from_json, to_json
from plausibody.evaluate.baselines import MeanBody, NearestPose
from plausibody.evaluate.figures import MEAN_BODY, NEAREST_POSE
from plausibody.evaluate.open import facing, signed_sum, stoutness
from plausibody.evaluate.result import Result, worst_cases
from plausibody.evaluate.ruler import PROTOCOLS, errors, joint_area
from plausibody.evaluate.run import (
    REGRESSOR,
    SUBSETS_BY_BUILD,
    SUBSETS_BY_FACING,
    Estimator,
    Watch,
    summary,
)
from plausibody.evaluate.saving import save_result
from plausibody.evaluate.unusable import Unusable
from plausibody.evaluate.values import Attribute, Values, summarise
from plausibody.models.records import take, to_device
from plausibody.models.weights import TrainedRegressor, find_weights, load_regressor
from plausibody.sources import open_assets
from plausibody.synth.stores import SynthAssets, load_assets
from plausibody.training.validation import (
    HELD_OUT_SEED,
    held_out_people,
    held_out_ruler,
    true_measures,
)

PEOPLE = 1024


def validate_weights(
    weights: Path | str,
    out: Path | None = None,
    device: str = "cpu",
    people: int = PEOPLE,
    watch: Watch = lambda done, total: None,
) -> Result:
    """Evaluates weights on people of their own stream, beside those that have learnt nothing.

    Args:
        weights: A file, the folder of a run, or the name of weights that ship.
        out: Folder for results.json, results.md and people.npz; none to write nothing.
        people: How many, from the first on.

    Raises:
        FileNotFoundError: If weights, or what their stream draws from, are missing.
        ValueError: If nothing is known of their training, or they give a body for nobody.
    """
    path = find_weights(weights)
    regressor = load_regressor(path, device)
    if "stream" not in regressor.card.get("config", {}):
        raise ValueError(
            f"validation: wanted weights whose card has the configuration of their training, got "
            f"{path.stem}, whose card has none; do: evaluate open, renders or a data set"
        )
    config = from_json(regressor.card["config"])
    bank = load_assets("train", config.gender, sources=config.sources)
    result = validate(regressor, config, open_assets(config, "val"), bank, people, device, watch)
    if out is not None:
        save_result(result, out)
    return result


@torch.no_grad()
def validate(
    regressor: TrainedRegressor,
    config: RunConfig,
    held_out: SynthAssets,
    trained: SynthAssets,
    people: int = PEOPLE,
    device: str = "cpu",
    watch: Watch = lambda done, total: None,
) -> Result:
    """Does the same with what is open already.

    Networks are asked without mirror images, as in training.

    Args:
        config: Of the training.
        held_out: To draw people from: poses of the validation split.
        trained: Of the training: baselines know its poses.
    """
    if people < 1:
        raise ValueError(f"--people: wanted at least 1, got {people}")
    ruler = held_out_ruler(held_out, device)
    bank = trained.bank.to(device)
    estimators: dict[str, Estimator] = {
        REGRESSOR: regressor.network,
        MEAN_BODY: MeanBody.of(bank, ruler.assets),
        NEAREST_POSE: NearestPose.of(bank, ruler.assets),
    }
    taken = {name: _Taken() for name in estimators}
    content, unusable, seen, done = hashlib.sha256(), Unusable(), _Seen(), 0
    content.update(json.dumps(_described(config, people), sort_keys=True).encode())
    for batch in held_out_people(config, held_out, people):
        names = [str(number) for number in range(done, done + len(batch))]
        parameters = batch.target.parameters
        truth = f"{signed_sum(parameters.shape):.1f} {signed_sum(parameters.rotations):.1f}"
        content.update(truth.encode())
        placed = to_device(batch, device)
        answer = regressor.network.predict(placed.proxy)
        rows = torch.tensor(unusable.look(answer, names), dtype=torch.long, device=device)
        if len(rows):
            placed, answer = take(placed, rows), take(answer, rows)
            true = true_measures(ruler, placed.target)
            seen.facing.append(facing(placed.target.parameters.rotations).cpu())
            seen.stoutness.append(stoutness(true.rest, ruler.assets.template.faces).cpu())
            seen.names += [names[n] for n in rows.tolist()]
            for name, estimator in estimators.items():
                said = answer if name == REGRESSOR else estimator.predict(placed.proxy)
                found = ruler(said.mode(), said.camera)
                taken[name].rows.append(errors(found, true))
                taken[name].areas.append(joint_area(found, true))
        done += len(batch)
        watch(done, people)
    unusable.require_some("validation", people)
    everybody = tuple(str(number) for number in range(people))
    values = {name: one.values(seen).over(everybody) for name, one in taken.items()}
    ours = values.pop(REGRESSOR)
    return Result(
        benchmark="validation",
        sealed=not unusable.troubles,
        digest=content.hexdigest(),
        gender=f"{regressor.gender} (predicted and true)",
        people=people,
        settings=_described(config, people),
        regressor=summary(regressor.card),
        plausibody=__version__,
        figures=summarise(ours, PROTOCOLS, values),
        note=unusable.note(people),
        remarks=(
            "People of the stream that this network learnt from, with poses of the validation "
            "subjects: figures of networks with other streams do not compare.",
            "Predictions are without mirror images. Errors in pictures are against exact key "
            "points; true silhouettes are drawn with the orthographic camera nearest to the true "
            "one.",
        ),
        failed=tuple(unusable.troubles),
        worst=worst_cases(ours, "pa_mpjpe"),
        worst_by="pa_mpjpe",
        values=ours,
    )


@dataclass
class _Seen:
    """Of the people who have a body."""

    names: list[str] = field(default_factory=list)
    facing: list[Tensor] = field(default_factory=list)
    stoutness: list[Tensor] = field(default_factory=list)


@dataclass
class _Taken:
    """What was measured of one estimator so far."""

    rows: list[dict[str, Tensor]] = field(default_factory=list)
    areas: list[Tensor] = field(default_factory=list)

    def values(self, seen: _Seen) -> Values:
        found = {
            name: torch.cat([row[name] for row in self.rows]).double().cpu()
            for name in self.rows[0]
        }
        pooled = [name for name in found if PROTOCOLS[name].pooled]
        area = torch.cat(self.areas).cpu()
        attributes = {
            "view": Attribute(SUBSETS_BY_FACING, torch.cat(seen.facing)),
            "build": Attribute.thirds(torch.cat(seen.stoutness), SUBSETS_BY_BUILD),
        }
        return Values(tuple(seen.names), found, {name: area for name in pooled}, attributes)


def _described(config: RunConfig, people: int) -> dict[str, Any]:
    """Gives what decides the people; JSON can hold it."""
    tables = json.loads(json.dumps(to_json(config)))
    return {
        "people": people,
        "stream": {**tables["stream"], "seed": HELD_OUT_SEED},
        "sources": tables["sources"],
        "gender": config.gender,
    }
