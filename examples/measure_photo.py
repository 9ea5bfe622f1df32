"""Measures a person on a photo with intervals, first from the picture alone, then knowing more."""

from pathlib import Path

from plausibody.predict.front_ends.embedded import load_embedded
from plausibody.predict.predictor import Predictor

photo = Path(__file__).parent.parent / "assets" / "photos" / "skier.jpg"
front_end = load_embedded()

predictor = Predictor("hierprob-lite", front_end, person="main", samples=25)
person = predictor([photo])[0].people[0]
low, high = person.measurements.interval("waist", level=0.9)
print(f"waist: {low:.2f} to {high:.2f} m, calibrated: {person.measurements.calibrated}")

# Bodies that may all be true, those that agree best with the photo first.
bodies = person.samples.parameters.posed(predictor.template)
print("samples:", tuple(bodies.vertices.shape))

# How sure each place is: here the tip of the left hand.
hand = predictor.template.vertices[:, 0].argmax()
spread = person.samples.uncertainty
print(f"hand: {spread.depth[hand]:.2f} m in depth, {spread.across[hand]:.2f} m across")

# The same person with a known height and gender.
told = Predictor("hierprob-lite", front_end, person="main", height=1.68, gender="female")
person = told([photo])[0].people[0]
low, high = person.measurements.interval("waist", level=0.9)
print(f"{person.measurements.condition}: waist {low:.2f} to {high:.2f} m")
