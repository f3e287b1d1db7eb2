/* Images that a person drops: their scores, reconstructions, maps of surprise, and reasons. */

import { at, button, element, picture, sayOfImages } from "./dom.js";
import { exploreFrom, interpolateTo, offerCodes } from "./explorer.js";
import { ImageError, readImage } from "./images.js";
import { realImages } from "./latents.js";
import { paint, paintMap, shownWidth } from "./pictures.js";
import { highestPlace, reason, summariseAspects } from "./reasons.js";
import { session, still } from "./session.js";
import { counted, number, pValue, visible } from "./wording.js";

const MOST_CARDS = 100;
const UNUSUAL = 0.01; // p-values up to this get a badge
const EXAMPLES = 6; // ordinary images of the bundle that can be tried, besides two extreme ones
const SIDE = 128; // of a picture on the page, pixels at most

let images = []; // {name, pixels, notes, score, p, map, …}, in the order in which they came
let top = 1; // the value of the brightest colour of maps

/* Begin with an open bundle; `isAllowed` unless the browser computes other scores than the bundle's. */
export function setUpScoring(isAllowed) {
  const { bundle } = session;
  clearImages();
  at("scoring").hidden = !isAllowed;
  at("score-lead").textContent = isAllowed
    ? "Higher scores are more outlying; a small p-value is rare among ordinary images. " +
      `Images of another size than ${bundle.width}×${bundle.height} are letterboxed first, and their cards say so.`
    : "No image is scored, as this browser computes other scores than those of the calibration images.";
  // The maps of all images share a scale, so that ordinary ones are dark.
  const maps = bundle.array("probe", "explainer.surprise");
  const ordinary = maps.data.slice(0, maps.data.length / maps.shape[0] * realImages(bundle)).sort();
  top = Math.max(1e-6, ordinary[Math.floor(0.999 * (ordinary.length - 1))]);
  at("scale-high").textContent = `≥ ${number(top, 2)} nats, more than 99.9% of the pixels of ordinary images`;
  at("reading-reconstruction").hidden = !bundle.decodesImages;
  at("cards").style.setProperty("--width", `${shownWidth(bundle.height, bundle.width, SIDE)}px`);
  at("cards").style.setProperty("--count", bundle.decodesImages ? 3 : 2);
}

export function clearImages() {
  images = [];
  at("cards").replaceChildren();
  at("refused").replaceChildren();
  sayOfImages("");
  showTools();
}

function showTools() {
  at("card-tools").hidden = at("reading").hidden = images.length === 0;
  at("refused").hidden = at("refused").childElementCount === 0;
  offerCodes(images.map(({ name, code }) => ({ name: visible(name), code })));
}

function refuse(name, why) {
  const item = element("li");
  item.append(element("b", "", visible(name)), ` ${why}`);
  at("refused").append(item);
}

/* Score image files one after another; those that cannot be are named with the reason. */
export async function addFiles(files) {
  const { bundle } = session;
  const isCurrent = still();
  at("refused").replaceChildren();
  const chosen = files.slice(0, MOST_CARDS - images.length);
  if (files.length > chosen.length) {
    const left = counted(files.length - chosen.length, "more image");
    refuse(left, `This page shows ${MOST_CARDS} at most; \`vae score\` takes any number.`);
  }
  let done = 0;
  for (const [index, file] of chosen.entries()) {
    sayOfImages(`Scoring image ${index + 1} of ${chosen.length}…`);
    try {
      const { pixels, notes } = await readImage(file, bundle.channels, bundle.height, bundle.width);
      if (!isCurrent()) return;
      await addImage(file.name || "pasted image", pixels, notes);
      done += 1;
    } catch (error) {
      if (!isCurrent()) return;
      refuse(file.name, error instanceof ImageError ? error.message : `cannot be scored: ${error.message}`);
    }
  }
  finish(done);
}

/* Score some of the bundle's own probe images. */
export async function addExamples() {
  const { bundle } = session;
  const isCurrent = still();
  at("refused").replaceChildren();
  const [ordinary, total] = [realImages(bundle), bundle.array("probe", "image").shape[0]];
  const extreme = [ordinary + 3, total - 1].filter((index) => index >= ordinary && index < total);
  const chosen = [...Array(Math.min(EXAMPLES, ordinary)).keys(), ...extreme].slice(0, MOST_CARDS - images.length);
  for (const index of chosen) {
    const kind = index < ordinary ? "ordinary" : "extreme";
    await addImage(`${kind} image ${index + 1} of the bundle`, bundle.probeRow("image", index), []);
    if (!isCurrent()) return;
  }
  finish(chosen.length);
}

function finish(done) {
  const left = at("refused").childElementCount;
  sayOfImages(`${counted(done, "image")} scored${left ? `; ${counted(left, "file")} could not be` : ""}.`, left > 0);
  showTools();
}

async function addImage(name, pixels, notes) {
  const { bundle, engine } = session;
  const isCurrent = still();
  const inputs = { image: { type: "uint8", shape: [1, bundle.channels, bundle.height, bundle.width], data: pixels } };
  const scored = await engine.run("scorer.onnx", inputs, ["outlier_score", "p_value"]);
  const explained = await engine.run("explainer.onnx", inputs);
  const classified = "classes.onnx" in bundle.manifest.graphs
    ? await engine.run("classes.onnx", inputs, ["log_class_probability"]) : null;
  if (!isCurrent()) return;
  const map = explained.surprise.data;
  const mapSize = explained.surprise.shape.slice(1);
  const { contributions, deviations, mean, reconstructed } = explained;
  const one = {
    name,
    pixels,
    notes,
    score: scored.outlier_score.data[0],
    p: scored.p_value.data[0],
    reconstructed: reconstructed?.data ?? null,
    map,
    mapSize,
    code: mean.data,
    aspects: summariseAspects(bundle.statistics, contributions.data, deviations.data, highestPlace(map, ...mapSize)),
    logClasses: classified?.log_class_probability.data ?? null,
  };
  images.push(one);
  one.card = makeCard(one, images.length - 1);
  order();
}

/* Put the cards in the order that was chosen. */
export function order() {
  const isByScore = at("order").value === "score";
  const sorted = [...images].reverse();
  if (isByScore) sorted.sort((a, b) => b.score - a.score);
  const cards = at("cards");
  sorted.forEach(({ card }, index) => {
    if (cards.children[index] !== card) cards.insertBefore(card, cards.children[index] ?? null);
  });
}

function makeCard(one, index) {
  const { bundle } = session;
  const title = visible(one.name);
  const show = (label, pixels) => {
    const canvas = picture(label);
    paint(canvas, pixels, bundle.channels, bundle.height, bundle.width);
    return canvas;
  };
  const trio = element("div", "trio");
  trio.append(show(title, one.pixels));
  if (one.reconstructed) trio.append(show("its reconstruction", one.reconstructed));
  one.mapCanvas = picture("map of surprise");
  paintOver(one);
  trio.append(one.mapCanvas);

  const headline = element("p", "headline", number(one.score, 4));
  headline.append(" ", element("small", "", `p ${pValue(one.p)}`));
  if (one.p <= UNUSUAL) headline.append(element("span", "badge", `p ≤ ${UNUSUAL}`));

  const card = element("li", "card");
  Object.assign(card.dataset, { score: one.score, p: one.p });
  card.append(trio, headline, element("p", "source", title));
  if (one.notes.length) card.append(element("p", "source", `Converted: ${one.notes.join("; ")}.`));
  if (one.logClasses) card.append(element("p", "source", likeliestClass(one.logClasses)));
  card.append(element("p", "reason", reason(one.aspects)), bars(one.aspects));
  if (bundle.decodesImages) {
    const buttons = element("p", "buttons");
    buttons.append(
      button("Explore", `Explore from ${title}`, () => exploreFrom(index)),
      button("Interpolate to", `Interpolate to ${title}`, () => interpolateTo(index)),
    );
    card.append(buttons);
  }
  return card;
}

function likeliestClass(logClasses) {
  const best = logClasses.reduce((most, value, index) => value > logClasses[most] ? index : most, 0);
  return `Class: ${session.bundle.classes[best]} (${number(Math.exp(logClasses[best]), 2)})`;
}

/* Draw the map again, over the image or alone. */
function paintOver(one) {
  const over = at("over").checked ? one.pixels : null;
  paintMap(one.mapCanvas, one.map, top, ...one.mapSize, over, session.bundle.channels);
}

export function paintMaps() {
  images.forEach(paintOver);
}

/* What each aspect adds to the score: to the right of zero it raises it. */
function bars(aspects) {
  const list = element("dl", "bars");
  const contributions = aspects.map((one) => one.contribution);
  const [low, high] = [Math.min(0, ...contributions), Math.max(0, ...contributions)];
  const place = (value) => 100 * (value - low) / (high - low || 1);
  list.style.setProperty("--zero", `${place(0)}%`);
  for (const { name, contribution } of aspects) {
    const bar = element("i", contribution > 0 ? "out" : "in");
    bar.style.left = `${place(Math.min(0, contribution))}%`;
    bar.style.right = `${100 - place(Math.max(0, contribution))}%`;
    const track = element("dd");
    track.append(bar);
    list.append(element("dt", "", name), track, element("dd", "bar-value", number(contribution, 2)));
  }
  return list;
}
