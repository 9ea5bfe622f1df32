/* The page of a run: chooses photo and person, filters, slides bodies over photos, and gives the one
   canvas of viewer.js to the body that is looked at. Without it the page shows everything below each
   other, with pictures of the bodies. */

"use strict";

const one = (wanted, inside = document) => inside.querySelector(wanted);
const all = (wanted, inside = document) => [...inside.querySelectorAll(wanted)];

const photos = all("article.photo");
const names = photos.map((photo) => photo.id);
photos.forEach((photo) => photo.removeAttribute("id")); // or a browser would jump there
const thumbs = all(".film a");
const state = { photo: -1, person: 0, filter: "all", tinted: true };
const meshes = new Map(); // by slot, the last few
let viewer = null, refused = "";

/* ---- the body ---- */

function openViewer() {
  if (viewer || refused) return viewer;
  const canvas = document.createElement("canvas");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label",
    "The body in 3D. Drag or press arrow keys to turn it, wheel or + and - to come nearer, 0 to go back.");
  try {
    viewer = new BodyViewer(canvas);
  } catch (error) {
    refused = error.message;
    return null;
  }
  canvas.addEventListener("drawn", (event) => {
    if (event.detail) canvas.parentElement.classList.add("live3d");
    else giveUp(canvas.parentElement, "nothing was drawn");
  });
  return viewer;
}

function giveUp(slot, why) {
  slot.classList.remove("live3d");
  slot.classList.add("only-still");
  one(".no3d", slot).textContent =
    `The body cannot be turned here (${why}); the picture shows it from the front.`;
}

/** Gives a colour such as #9ec7f5 linear in light, deeper than the overlay's, as it is lit here. */
function lightOf(colour) {
  return [1, 3, 5].map((at) => (parseInt(colour.slice(at, at + 2), 16) / 255) ** 3);
}

function meshesOf(slot) {
  if (!meshes.has(slot)) {
    const read = (kind) => {
      const held = one(`script.${kind}`, slot);
      return held ? readMeshes(bytesOf(held.textContent)) : [];
    };
    const [body] = read("glb");
    if (!body) throw new Error("its file is missing");
    meshes.set(slot, { body, samples: read("samples-glb") });
    if (meshes.size > 4) meshes.delete(meshes.keys().next().value);
  }
  return meshes.get(slot);
}

function showBody(slot) {
  stopPlaying();
  const live = openViewer();
  if (!live) return giveUp(slot, refused);
  try {
    const { body, samples } = meshesOf(slot);
    one(".space", slot).append(live.canvas);
    live.plain = lightOf(slot.dataset.colour);
    live.show(body, samples);
    live.tint(state.tinted);
    live.tinted = live.wantTint;
    all("[data-sample]", slot).forEach((button) => press(button, button.dataset.sample === "0"));
    all("[data-tint]", slot).forEach((button) =>
      press(button, (button.dataset.tint === "on") === state.tinted));
  } catch (error) {
    giveUp(slot, error.message);
  }
}

let playing = 0;
function stopPlaying() {
  clearInterval(playing);
  playing = 0;
  all("[data-play]").forEach((button) => press(button, false));
}

function chooseSample(slot, number) {
  viewer.morph(number);
  all("[data-sample]", slot).forEach((button) => press(button, Number(button.dataset.sample) === number));
}

function play(slot, button) {
  if (playing) return stopPlaying();
  press(button, true);
  const count = all("[data-sample]", slot).length;
  const next = () => chooseSample(slot, (viewer.to + 1) % count);
  next();
  playing = setInterval(next, 1400);
}

/* ---- photo and person ---- */

const press = (button, on) => button.setAttribute("aria-pressed", String(on));
const isShown = (photo) => state.filter === "all" || photo.dataset.warned !== undefined;

function choose(number, wanted) {
  const photo = photos[number];
  if (!photo) return;
  const first = one("[data-person]", photo);
  const person = wanted ?? Number(first ? first.dataset.person : 0);
  state.photo = number;
  state.person = person;
  photos.forEach((each) => each.classList.toggle("chosen", each === photo));
  thumbs.forEach((thumb, place) => {
    if (place === number) thumb.setAttribute("aria-current", "true");
    else thumb.removeAttribute("aria-current");
  });
  const film = one(".film"), thumb = thumbs[number];
  if (thumb)
    film.scrollLeft = thumb.offsetLeft - film.offsetLeft - (film.clientWidth - thumb.clientWidth) / 2;
  all("[data-person]", photo).forEach((part) =>
    part.classList.toggle("chosen", Number(part.dataset.person) === person));
  all("[data-choose]", photo).forEach((tab) => press(tab, Number(tab.dataset.choose) === person));
  const slot = one(`.viewer[data-person="${person}"]`, photo);
  if (slot) showBody(slot);
}

function go(step) {
  const shown = photos.map((_, place) => place).filter((place) => isShown(photos[place]));
  const at = shown.indexOf(state.photo);
  const next = shown[(at + step + shown.length) % shown.length];
  if (next !== undefined) visit(next);
}

/** Chooses a photo and says so in the address, without a jump. */
function visit(number) {
  history.replaceState(null, "", `#${names[number]}`);
  choose(number);
}

function filter(wanted) {
  state.filter = wanted;
  all("[data-filter]").forEach((button) => press(button, button.dataset.filter === wanted));
  thumbs.forEach((thumb, place) => { thumb.hidden = !isShown(photos[place]); });
  if (photos[state.photo] && !isShown(photos[state.photo])) go(1);
}

function followHash() {
  const number = names.findIndex((name) => `#${name}` === location.hash);
  if (number >= 0) choose(number);
}

/* ---- what is over the photo ---- */

function slide(input) {
  input.parentElement.style.setProperty("--cut", `${input.value}%`);
  input.setAttribute("aria-valuetext", `${100 - input.value} per cent covered`);
}

function layer(photo, wanted) {
  all("[data-layer]", photo).forEach((part) => part.classList.toggle("chosen", part.dataset.layer === wanted));
  all("[data-over]", photo).forEach((button) => press(button, button.dataset.over === wanted));
}

document.addEventListener("input", (event) => {
  if (event.target.matches(".compare input")) slide(event.target);
});

document.addEventListener("click", (event) => {
  const thumb = event.target.closest(".film a");
  if (thumb) {
    event.preventDefault();
    return visit(thumbs.indexOf(thumb));
  }
  const button = event.target.closest("button");
  if (!button) return;
  const { filter: wanted, step, choose: person, over, tint, turn, sample } = button.dataset;
  const slot = button.closest(".viewer");
  if (wanted) filter(wanted);
  else if (step) go(Number(step));
  else if (person) choose(state.photo, Number(person));
  else if (over) layer(button.closest("article"), over);
  else if (tint) {
    state.tinted = tint === "on";
    viewer.tint(state.tinted);
    all("[data-tint]", slot).forEach((each) => press(each, each === button));
  } else if (turn) viewer.look(Number(turn), 0.06, 1);
  else if (sample) {
    stopPlaying();
    chooseSample(slot, Number(sample));
  } else if (button.dataset.play !== undefined) play(slot, button);
});

/* ---- the start ---- */

document.documentElement.classList.add("live");
if (photos.length < 2) all(".steps").forEach((steps) => { steps.hidden = true; });
all(".compare input").forEach(slide);
photos.forEach((photo) => layer(photo, "bodies"));
addEventListener("hashchange", followHash);
followHash();
if (state.photo < 0) choose(0);
document.documentElement.dataset.ready = "true";
