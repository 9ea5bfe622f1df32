"""Predicts a body from a photo with the shipped front end and weights."""

from pathlib import Path

from plausibody.models.templates import load_template
from plausibody.predict.predictor import load_predictor

photo = Path(__file__).parent.parent / "assets" / "photos" / "skier.jpg"
predictor = load_predictor()
for image in predictor([photo]):
    print(image.path, image.status)
    for person in image.people:
        body = person.prediction.posed(load_template("open"))
        print("vertices", tuple(body.vertices.shape), "joints", tuple(body.joints.shape))
