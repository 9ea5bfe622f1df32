"""Measures the shipped weights again: every result and picture that the README and docs show.

    python benchmarks/remeasure.py [--only STEP ...]

To be run from the checkout after weights were replaced: half an hour on two quiet cores. What
other weights or other machines are needed for (`heads`, `step`, `proxy_gap` and the like) stays.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

RESULTS = Path("benchmarks/results")
STEPS = {
    "calibration": "plausibody evaluate calibration --out {scratch}/calibration",
    "open-v0": "plausibody evaluate open-v0 --out {scratch}/hierprob-lite",
    "open-v0-lite": "plausibody evaluate open-v0 --weights lite --out {scratch}/lite",
    "open-v1": "python benchmarks/leaderboard.py README.md --measure hierprob-lite lite",
    "renders": "python benchmarks/renders.py benchmarks/results/renders.json hierprob-lite lite",
    "photos": "python benchmarks/photos.py benchmarks/results/photos.json hierprob-lite lite",
    "refine": "python benchmarks/refine.py benchmarks/results/refine.json",
    "predict": "plausibody bench predict --json benchmarks/results/predict.json",
    "protocols": "python benchmarks/protocols.py benchmarks/results/protocols.json hierprob-lite "
    "--document docs/protocols.md",
    "figures": "python benchmarks/figures.py docs/",
    "report": "plausibody predict assets/photos --out {scratch}/report --samples 25 --save report",
    "shots": "python benchmarks/report_shots.py {scratch}/report docs/",
    "tables": "python benchmarks/readme_tables.py README.md",
    "manifest": "python -m plausibody.assets.builders.manifest",
}
"""By name, in order; what a step leaves in the scratch folder and results keep is in `KEPT`."""
KEPT = {
    "calibration": ("calibration/calibration.json", "calibration.json"),
    "open-v0": ("hierprob-lite/results.json", "open-v0_hierprob-lite.json"),
    "open-v0-lite": ("lite/results.json", "open-v0_lite.json"),
}
"""Where a step leaves its result, and what it is called."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS))
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        for name in given.only:
            words = shlex.split(STEPS[name].format(scratch=scratch))
            print("$", shlex.join(words), flush=True)
            program = [sys.executable, "-m", "plausibody"] if words[0] == "plausibody" else None
            subprocess.run([*(program or [sys.executable]), *words[1:]], check=True)
            if name in KEPT:
                source, target = KEPT[name]
                shutil.copyfile(Path(scratch) / source, RESULTS / target)


if __name__ == "__main__":
    main()
