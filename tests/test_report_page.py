"""The page of a run: whole, offline, safe with any name, and alive in a browser if there is one."""

from __future__ import annotations

import base64
import io
import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from plausibody.predict.bulk.table import measurement_record
from plausibody.predict.export import linear_light
from plausibody.predict.fit import Fit
from plausibody.predict.report.files import CARD, MOST_PEOPLE, PHOTO, report_files
from plausibody.predict.report.folder import look_into, size_of_whole
from plausibody.predict.report.mesh import encode_body, encode_samples
from plausibody.predict.report.page import write_report_page
from plausibody.predict.report.page_parts import Curve, Report, Table, render_parts
from plausibody.predict.result import ImagePrediction, Refinement

WEIRD = '<b>Tom<i> & "Zoë\'s".png'
VOID = {"meta", "link", "img", "input"}
SAMPLES = 4


class Outline(HTMLParser):
    """Refuses tags that do not match; collects what scripts and pictures hold, and all words."""

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.scripts: dict[str, list[str]] = {}
        self.words: list[str] = []
        self.pictures: list[str] = []
        self.ids: list[str] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag == "img":
            self.pictures.append(told["src"] or "")
        if "id" in told:
            self.ids.append(told["id"] or "")
        if tag == "script":
            self.scripts.setdefault(told.get("class") or "code", []).append("")
            self.kind = told.get("class") or "code"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[self.kind][-1] += data
        else:
            self.words.append(data)

    def meshes(self, kind: str) -> list[trimesh.Scene]:
        return [
            trimesh.load(io.BytesIO(base64.b64decode(content)), file_type="glb")
            for content in self.scripts.get(kind, [])
        ]


@pytest.fixture(scope="module")
def image(known_person: Any, tmp_path_factory: pytest.TempPathFactory) -> ImagePrediction:
    """One picture of one person, with samples; all told, refined, and with a warning."""
    path = tmp_path_factory.mktemp("photos") / "a.png"
    colours = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 255, (*known_person.size, 3), generator=colours, dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(path)
    predictor = known_person.doubting_predictor(samples=SAMPLES, height=1.8, gender="female")
    (found,) = predictor.stream([path])
    before = Fit(silhouette_iou=0.5, reprojection=8.0, confident=17)
    person = replace(
        found.people[0],
        warnings=("the picture's border cuts the person off",),
        refinement=Refinement(True, before, found.people[0].fit),
    )
    return replace(found, people=(person,))


@pytest.fixture(scope="module")
def files(known_person: Any, image: ImagePrediction) -> dict[str, bytes]:
    return dict(report_files(image.path or "", image, known_person.template))


def people(image: ImagePrediction, count: int) -> ImagePrediction:
    """The same person several times, unwarned from the second on."""
    first = image.people[0]
    others = (replace(first, index=n, warnings=()) for n in range(1, count))
    return replace(image, people=(first, *others))


def record_of(name: str, image: ImagePrediction, folder: str = "a") -> dict[str, Any]:
    """What `summary.json` says of a photo."""
    return {
        "path": f"photos/{name}", "status": image.status, "message": image.message,
        "folder": folder if image.people else "",
        "people": [
            {
                "index": person.index,
                "silhouette_iou": person.fit.silhouette_iou,
                "reprojection_percent": person.fit.reprojection,
                "confident_keypoints": person.fit.confident,
                "warnings": list(person.warnings),
                "measurements": measurement_record(person.measurements),
                "files": [f"person_{person.index}.npz"],
            }
            for person in image.people
        ],
    }  # fmt: skip


def run(out: Path, entries: Iterable[tuple[dict[str, Any], dict[str, bytes]]]) -> dict[str, Any]:
    """Makes the folder of a run and gives its summary."""
    inputs = []
    for record, content in entries:
        inputs.append(record)
        if record["folder"]:
            (out / record["folder"]).mkdir(parents=True, exist_ok=True)
        for name, data in content.items():
            (out / record["folder"] / name).write_bytes(data)
    return {
        "versions": {"plausibody": "0.1"},
        "settings": {"weights": "in memory", "front_end": {"name": "embedded"}, "samples": SAMPLES},
        "timing": {"photos": 20, "photos_per_second": 6.25},
        "inputs": inputs,
    }


def failed(name: str, status: Any, message: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    return record_of(name, ImagePrediction(None, 0, 0, status, message)), {}


def page_of(out: Path, summary: dict[str, Any], **options: Any) -> str:
    return write_report_page(out, summary, **options).read_text("utf-8")


def check_offline(page: str) -> None:
    """Nothing on the page leads to the network, and a browser is told to refuse it."""
    assert not re.search(r"https?:|[\"'(]//|@import|url\(|fetch\(|XMLHttpRequest|import\(", page)
    assert "default-src 'none'" in page


def test_page_holds_everything(tmp_path: Path, image: ImagePrediction, files: Any) -> None:
    name = WEIRD
    summary = run(
        tmp_path,
        [
            (record_of(name, image, "a b"), files | {"person_0.npz": b""}),
            failed("broken.png", "unreadable", "photos/broken.png: <damaged>"),
            failed("nobody.png", "no_person", "no person found"),
        ],
    )
    page = page_of(tmp_path, summary)
    check_offline(page)
    outline = Outline(page)
    words = "".join(outline.words)
    assert name in words and "<b>Tom" not in page and "<damaged>" in words
    assert words.count("photos/broken.png") == 1  # though the message begins with it, too
    assert "3 photos · 1 body · 1 without a person · 1 unreadable · 6.2 photos/s" in words
    assert "told: height 180 cm" in words and "told: female" in words
    assert "refined; marks show the fit before" in words and 'b style="left:50.0%"' in page
    assert "the picture's border cuts the person off" in words and "To look at twice 1" in words
    assert 'href="a%20b/person_0.npz"' in page
    assert page.count('<td class="track">') == 13 and page.count('data-measure="waist"') == 1
    assert len(outline.pictures) == 5  # one photo has no gallery
    for picture in outline.pictures:
        kind, data = picture.removeprefix("data:image/").split(";base64,")
        with Image.open(io.BytesIO(base64.b64decode(data))) as opened:
            opened.load()
            assert opened.format == kind.upper() and max(opened.size) <= 1024


def test_bodies_on_the_page_are_the_predicted_ones(
    tmp_path: Path, known_person: Any, image: ImagePrediction, files: Any
) -> None:
    outline = Outline(page_of(tmp_path, run(tmp_path, [(record_of("a.png", image), files)])))
    (scene,) = outline.meshes("glb")
    person = image.people[0]
    low, high = person.body.vertices.amin(0).numpy(), person.body.vertices.amax(0).numpy()
    np.testing.assert_allclose(scene.bounds, [low, high], atol=1e-5)  # metres, y up
    (body,) = scene.dump()
    np.testing.assert_allclose(body.vertices, person.body.vertices.numpy(), atol=5e-5)
    assert len(body.faces) == 13776 and len(files["report_0.glb"]) < 170_000
    assert person.samples is not None
    (clouds,) = outline.meshes("samples-glb")
    posed = person.samples.parameters.posed(known_person.template).vertices
    assert len(clouds.geometry) == SAMPLES
    for sample in posed.numpy():
        assert min(np.abs(cloud.vertices - sample).max() for cloud in clouds.dump()) < 5e-5


def test_meshes_keep_places_and_colours() -> None:
    places = torch.rand(5, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    places[:, 2] = 0.25  # flat
    colours = torch.tensor([[0.0, 0.5, 1.0]]).expand(5, 3)
    faces = torch.tensor([[0, 1, 2], [2, 3, 4]])
    (mesh,) = trimesh.load(io.BytesIO(encode_body(places, faces, colours)), file_type="glb").dump()
    np.testing.assert_allclose(mesh.vertices, places.numpy(), atol=2e-5)
    np.testing.assert_array_equal(mesh.faces, faces.numpy())
    linear = linear_light(colours)[0]
    assert linear[0] == 0 and linear[2] == 1 and abs(float(linear[1]) - 0.2140) < 1e-4
    (mesh,) = trimesh.load(
        io.BytesIO(encode_body(places, faces, colours)), file_type="glb"
    ).geometry.values()
    assert mesh.visual.vertex_attributes["color"][0].tolist() == [0, 55, 255, 255]
    scene = trimesh.load(io.BytesIO(encode_samples(places[None])), file_type="glb")
    np.testing.assert_allclose(scene.bounds[1], places.amax(0).numpy(), atol=1e-5)
    many = torch.rand(70_000, 3)
    (mesh,) = trimesh.load(
        io.BytesIO(encode_body(many, torch.tensor([[0, 1, 69_999]]))), file_type="glb"
    ).dump()
    assert mesh.faces.tolist() == [[0, 1, 69_999]]


def test_three_people_of_one_photo_and_more_than_are_shown(
    tmp_path: Path, known_person: Any, image: ImagePrediction
) -> None:
    three, many = people(image, 3), people(image, MOST_PEOPLE + 2)
    drawn = dict(report_files(image.path or "", three, known_person.template))
    card = json.loads(drawn[CARD])
    more = {f"report_{n}{end}": drawn[f"report_0{end}"] for n in range(3, MOST_PEOPLE)
            for end in (".glb", ".webp", "_samples.glb", "_samples.webp")}  # fmt: skip
    card["people"] += [card["people"][0] | {"index": n} for n in range(3, MOST_PEOPLE)]
    summary = run(
        tmp_path,
        [
            (record_of("three.png", three, "three"), drawn),
            (record_of("many.png", many, "many"), drawn | more | {CARD: json.dumps(card).encode()}),
        ],
    )
    page = page_of(tmp_path, summary)
    outline = Outline(page)
    assert len(outline.meshes("glb")) == 3 + MOST_PEOPLE
    assert page.count('data-choose="2"') == 2 and f'data-choose="{MOST_PEOPLE}"' not in page
    numbers = re.findall(r'class="numbers".*?</div>', page)
    assert [shown.count("</b>") for shown in numbers] == [3, MOST_PEOPLE]
    assert "2 more people are in summary.json" in page and "Measurements of person 2" in page
    assert outline.ids == ["photo-0", "photo-1"]


def test_single_bodies_have_neither_colours_nor_samples(
    tmp_path: Path, known_person: Any, image: ImagePrediction
) -> None:
    (found,) = known_person.predictor().stream([image.path])
    drawn = dict(report_files(found.path or "", found, known_person.template))
    assert sum("samples" in name for name in drawn) == 0
    page = page_of(tmp_path, run(tmp_path, [(record_of("a.png", found), drawn)]))
    outline = Outline(page)
    assert len(outline.meshes("glb")) == 1 and not outline.meshes("samples-glb")
    assert "data-tint" not in re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert "no intervals" in page and "To look at twice" not in page


@pytest.mark.parametrize("place", [(-500.0, 100.0), (100.0, 900.0)])
def test_bodies_beyond_the_photo_are_no_harm(
    tmp_path: Path, known_person: Any, image: ImagePrediction, place: tuple[float, float]
) -> None:
    person = image.people[0]
    keypoints = torch.cat([torch.full((17, 2), math.nan), torch.zeros(17, 1)], 1)
    person = replace(
        person,
        camera=replace(person.camera, origin=torch.tensor(place)),
        evidence=replace(person.evidence, keypoints=keypoints),
        samples=None,
        refinement=Refinement(False, person.fit, person.fit, "key points are worse"),
    )
    moved = replace(image, people=(person,))
    drawn = dict(report_files(image.path or "", moved, known_person.template))
    left, top, across, down = json.loads(drawn[CARD])["bodies"]
    assert 0 <= left < left + across <= 1.0001 and 0 <= top < top + down <= 1.0001
    page = page_of(tmp_path, run(tmp_path, [(record_of("a.png", moved), drawn)]))
    assert "refinement not taken: key points are worse" in page and "<circle" not in page


def test_nobody_at_all_is_said(tmp_path: Path) -> None:
    page = page_of(tmp_path, run(tmp_path, [failed("a.png", "no_person", "nobody")]))
    Outline(page)
    check_offline(page)
    assert "There is no body in any of these photos" in page and "<article" not in page


def test_damaged_files_are_said_and_left_out(
    tmp_path: Path, image: ImagePrediction, files: dict[str, bytes]
) -> None:
    record = record_of("a.png", image)
    summary = run(tmp_path, [(record, files)])
    folder = tmp_path / "a"
    whole = look_into(folder)
    assert whole.broken == () and whole.size == len("".join(map(whole.text, files))) - len(
        whole.text(CARD)
    )
    for name in files:
        if name != CARD:
            (folder / name).write_bytes(files[name][:-100])
            assert size_of_whole(folder / name) == 0
            assert look_into(folder).broken == (name,)
            page = page_of(tmp_path, summary)
            Outline(page)
            assert f"{name}: missing or damaged" in page and "--force" in page
            (folder / name).write_bytes(files[name])
    (folder / PHOTO).unlink()
    assert "There is no picture of this photo" in page_of(tmp_path, summary)
    for content in (b"{", b"[]", b'{"people": [{}]}', b'{"schema_version": 0, "people": []}'):
        (folder / CARD).write_bytes(content)
        page = page_of(tmp_path, summary)
        Outline(page)
        assert "what the page needs of it: missing or damaged" in page
        assert 'data-measure="waist"' in page  # what the summary tells is there all the same


def test_page_stays_small_enough_to_open(
    tmp_path: Path, image: ImagePrediction, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [(record_of(f"{n}.png", image, f"f{n}"), files) for n in range(3)]
    summary = run(tmp_path, entries)
    found = look_into(tmp_path / "f0")
    assert found.size < 25e6 / 60 * 2
    assert found.size - found.size_of_samples < 25e6 / 60
    least = found.size - found.size_of_samples
    monkeypatch.setattr("plausibody.predict.report.page.MOST_BYTES", 3 * found.size - 1)
    page = page_of(tmp_path, summary)
    outline = Outline(page)
    assert len(outline.meshes("glb")) == 3 and not outline.meshes("samples-glb")
    assert "cannot be turned about" in page
    monkeypatch.setattr("plausibody.predict.report.page.MOST_BYTES", 2 * least)
    page = page_of(tmp_path, summary)
    assert "the first 2 with bodies are shown" in page
    assert page.count("<article") == 2 and '<a href="f2/">photos/2.png</a>' in page
    monkeypatch.setattr("plausibody.predict.report.page.MOST_PHOTOS", 1)
    monkeypatch.setattr("plausibody.predict.report.page.MOST_ROWS", 1)
    page = page_of(tmp_path, summary, inputs=iter(summary["inputs"]))
    assert page.count("<article") == 1 and "1 more are in summary.json" in page


def test_curves_and_tables_are_safe_and_finite() -> None:
    loss = [(0.0, 3.0), (10.0, 1.0), (20.0, math.nan), (30.0, 0.5)]
    parts = render_parts(
        Report(
            "",
            curves=[Curve("Loss", "loss", loss), Curve("Nothing", "loss", [])],
            tables=[Table("<i>Errors", ["metric", "mm"], [["PVE", 81.234567]], note="a & b")],
        )
    )
    page = "".join(parts)
    assert "&lt;i&gt;Errors" in page and "a &amp; b" in page and "81.23" in page
    assert page.count("<polyline") == 1 and "nan" not in page and "Too few values" in page
    points = re.search(r'points="([^"]*)"', page)
    assert points and len(points[1].split()) == 3


def test_page_elsewhere_with_more_on_it(tmp_path: Path, image: ImagePrediction, files: Any) -> None:
    out = tmp_path / "photos of us"
    summary = run(out, [(record_of("a.png", image), files | {"person_0.npz": b""})])
    report = Report("A demo", ["Hello."], tables=[Table("Errors", ["mm"], [[1.5]])])
    page = page_of(out, summary, page=tmp_path / "demo.html", report=report)
    assert 'href="photos%20of%20us/a/person_0.npz"' in page
    assert "<h1>A demo</h1>" in page and "Hello." in page and "<td>1.5</td>" in page
    assert not list(tmp_path.glob(".*"))


def test_names_that_are_no_utf8_are_shown(
    tmp_path: Path, image: ImagePrediction, files: Any
) -> None:
    summary = run(tmp_path, [(record_of("f\udcfcr.png", image), files)])
    assert "f\\udcfcr.png" in page_of(tmp_path, summary)


# What the page writes of itself: where the waist's interval is, and how it went.
PROBE = """<script>
addEventListener("load", () => setTimeout(() => {
  const shown = [...document.querySelectorAll("[data-measure=waist] td:nth-child(3)")]
    .filter((cell) => cell.offsetParent);
  const { left, top, right, bottom } = shown[0].getBoundingClientRect();
  const canvas = document.querySelector("canvas");
  document.documentElement.dataset.probe = JSON.stringify({
    waist: [left, top, right, bottom], words: shown[0].textContent, shown: shown.length,
    window: [innerWidth, innerHeight], wide: document.documentElement.scrollWidth,
    drawn: Number(canvas && canvas.dataset.drawn), still: canvas.parentElement.className,
    errors: document.documentElement.dataset.errors || "",
    ready: document.documentElement.dataset.ready,
  });
  const probe = JSON.parse(document.documentElement.dataset.probe), yaw = viewer.now.yaw;
  const click = (wanted) => document.querySelector(wanted).click();
  canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft" }));
  canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: -200, cancelable: true }));
  probe.turned = [viewer.now.yaw - yaw, viewer.now.zoom];
  click(".chosen [data-sample='2']");
  click(".chosen [data-tint=off]");
  click(".chosen [data-over=seen]");
  const slider = document.querySelector(".chosen .compare input");
  slider.value = 20;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  probe.changed = [viewer.to, viewer.wantTint, slider.parentElement.style.getPropertyValue("--cut"),
    document.querySelector(".over.chosen").dataset.layer];
  click("[data-step='1']");
  click(".photo.chosen [data-choose='2']");
  probe.second = [location.hash, canvas.closest(".viewer").dataset.person, viewer.to,
    document.querySelectorAll("canvas").length];
  click("[data-filter=warned]");
  const thumbs = [...document.querySelectorAll(".film a")];
  probe.filtered = [thumbs.filter((thumb) => !thumb.hidden).length, location.hash];
  document.documentElement.dataset.probe = JSON.stringify(probe);
}, 400));
</script></body>"""


def browse(page: Path, folder: Path, *, size: str = "1280,800") -> tuple[dict[str, Any], str]:
    """Opens a page in Chromium and gives what the page found, and what the browser said."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    program = next((found for name in names if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium is found here")
    probed = folder / "probed.html"
    probed.write_text(page.read_text("utf-8").replace("</body>", PROBE), "utf-8")
    done = subprocess.run(
        [
            program, "--headless=new", "--no-sandbox", "--use-angle=swiftshader",
            "--enable-unsafe-swiftshader", "--enable-logging=stderr", "--no-first-run",
            "--disable-extensions", "--disable-background-networking", "--hide-scrollbars",
            "--force-prefers-reduced-motion", f"--user-data-dir={folder / 'profile'}",
            f"--window-size={size}", "--virtual-time-budget=2500", "--dump-dom", probed.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    told = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert told, done.stderr
    probe: dict[str, Any] = json.loads(told[1].replace("&quot;", '"'))
    return probe, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def test_page_lives_in_a_browser(tmp_path: Path, known_person: Any, image: ImagePrediction) -> None:
    three = people(image, 3)
    three = replace(three, people=tuple(replace(one, warnings=()) for one in three.people))
    drawn = dict(report_files(image.path or "", three, known_person.template))
    out = tmp_path / "out"
    summary = run(
        out,
        [
            (record_of(WEIRD, image, "a"), drawn),
            (record_of("b.png", three, "b"), drawn),
            failed("c.png", "unreadable", "damaged"),
        ],
    )
    probe, console = browse(write_report_page(out, summary), tmp_path)
    assert console == "" and probe["errors"] == "" and probe["ready"] == "true"
    assert probe["drawn"] > 5000 and "live3d" in probe["still"]
    left, top, right, bottom = probe["waist"]
    assert 0 <= left < right <= 1280 and 0 <= top < bottom <= 800 and probe["shown"] == 1
    assert probe["wide"] <= probe["window"][0]
    assert probe["turned"][0] == pytest.approx(0.2) and probe["turned"][1] > 1.2
    assert probe["changed"] == [2, 0, "20%", "seen"]
    assert probe["second"] == ["#photo-1", "2", 0, 1] and probe["filtered"] == [1, "#photo-0"]
    waist = measurement_record(image.people[0].measurements)["waist_cm"]
    assert probe["words"] == f"{waist[1]:.1f}–{waist[2]:.1f}"
