"""Takes the pictures of a report that docs/ shows, with a Chromium.

    plausibody predict assets/photos --out RUN --samples 25 --save report
    python benchmarks/report_shots.py RUN docs/ [--photo 2] [--chromium PROGRAM]

One of a wide window, light; one of the same, dark; one of a telephone's width.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

SHOTS = {
    "report": ((1280, 800), ()),
    "report_dark": ((1280, 800), ("--blink-settings=preferredColorScheme=0",)),
    "report_phone": ((500, 1900), ()),
}
"""Name, size of the window [px], and options of the browser. Chromium has no narrower windows."""
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUALITY = 86


def shoot(
    page: Path, photo: int, picture: Path, size: tuple[int, int], options: tuple[str, ...],
    program: str,
) -> None:  # fmt: skip
    """Opens a page, waits until bodies stand still, and saves what the window shows as JPEG."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        subprocess.run(
            [
                program, "--headless=new", "--no-sandbox", "--use-angle=swiftshader",
                "--enable-unsafe-swiftshader", "--hide-scrollbars", *options,
                f"--user-data-dir={folder}/profile", f"--window-size={size[0]},{size[1]}",
                "--virtual-time-budget=4000", f"--screenshot={shot}",
                f"{page.resolve().as_uri()}#photo-{photo}",
            ],
            check=True, capture_output=True, timeout=300,
        )  # fmt: skip
        with Image.open(shot) as opened:
            opened.convert("RGB").save(picture, quality=QUALITY, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="what predict --save report wrote")
    parser.add_argument("out", type=Path)
    parser.add_argument("--photo", type=int, default=2, help="place on the page, from 0")
    parser.add_argument("--chromium", help="the program; by default one that is found")
    arguments = parser.parse_args()
    found = [program for name in PROGRAMS if (program := shutil.which(name))]
    program = arguments.chromium or next(iter(found), None)
    if program is None:
        parser.error(f"wanted a Chromium, found none of {', '.join(PROGRAMS)}; do: --chromium")
    page = arguments.run / "report.html"
    if not page.is_file():
        parser.error(f"{page}: wanted a report, found no file; do: predict --save report")
    for name, (size, options) in SHOTS.items():
        picture = arguments.out / f"{name}.jpg"
        shoot(page, arguments.photo, picture, size, options, program)
        print(f"{picture}: {picture.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
