/* Pictures that the decoder draws: sliders over latent variables, and the way from one image to another. */

import { at, element, option, picture, say } from "./dom.js";
import { between, centre, draw, realImages } from "./latents.js";
import { paint, shownWidth } from "./pictures.js";
import { session, still } from "./session.js";
import { count, number } from "./wording.js";

const SLIDERS = 12; // shown at first, and added by each press of the button
const EXTENT = 4; // of a slider: codes are about as wide as a standard normal distribution
const STEPS = 9; // pictures on the way between two images
const OWN = 6; // of the bundle's images that one can start from
const SIDE = 336; // of a large picture, pixels at most

let offered = []; // images that were scored: {name, code}
let point = null; // the code that the sliders show
let dimensions = []; // {dimension, nats}, those that tell most about an image first

/* The images of some codes, pixels [C, H, W] each. */
async function decode(codes) {
  const { bundle, engine } = session;
  const data = new Float32Array(codes.length * bundle.latentSize);
  codes.forEach((code, index) => data.set(code, index * bundle.latentSize));
  const z = { type: "float32", shape: [codes.length, bundle.latentSize], data };
  const { image } = await engine.run("decoder.onnx", { z }, ["image"]);
  const size = image.data.length / codes.length;
  return codes.map((_, index) => image.data.subarray(index * size, (index + 1) * size));
}

function paintImage(canvas, pixels) {
  paint(canvas, pixels, session.bundle.channels, session.bundle.height, session.bundle.width);
}

/* A canvas that shows the newest of the codes that it is given: those that come while the decoder is busy are skipped. */
class Stage {
  #wanted = null;
  #isBusy = false;

  constructor(canvas) {
    this.canvas = canvas;
  }

  async show(code) {
    this.#wanted = { code, since: performance.now() };
    if (this.#isBusy) return;
    this.#isBusy = true;
    this.canvas.dataset.busy = "";
    const isCurrent = still();
    try {
      while (this.#wanted !== null) {
        const { code: next, since } = this.#wanted;
        this.#wanted = null;
        const [pixels] = await decode([next]);
        if (!isCurrent()) break;
        paintImage(this.canvas, pixels);
        this.canvas.dataset.milliseconds = (performance.now() - since).toFixed(1);
        this.canvas.dataset.drawn = String(1 + Number(this.canvas.dataset.drawn ?? 0));
      }
    } catch (error) {
      if (isCurrent()) say(`The decoder failed: ${error.message}`, true);
    } finally {
      this.#isBusy = false;
      delete this.canvas.dataset.busy;
    }
  }
}

let decoded = null; // the stages: of the sliders,
let mixed = null; // and of the picture between two images

/* Begin with an open bundle; `nats` are those that each latent variable holds of an image. */
export function setUpExplorer(nats) {
  const { bundle } = session;
  const { decodesImages, classes } = bundle;
  [offered, point] = [[], null];
  at("explorer").hidden = at("interpolator").hidden = !decodesImages;
  at("explore-lead").textContent = decodesImages
    ? "Each slider is a latent variable, and those that tell most about an image come first; the nats beside it say how " +
      "much. The arrow keys move a slider, too."
    : "The bundle's model is one of features: its decoder gives feature maps and not images, so there is nothing to draw. " +
      "Scores, p-values, maps and reasons do not need it.";
  at("interpolate-lead").textContent = decodesImages
    ? "The codes on the straight line from one image's code to another's, decoded." : "Nor can it be interpolated.";
  if (!decodesImages) return;
  [decoded, mixed] = [new Stage(at("decoded")), new Stage(at("mixed"))];
  for (const { canvas } of [decoded, mixed]) {
    canvas.style.setProperty("--width", `${shownWidth(bundle.height, bundle.width, SIDE)}px`);
  }
  dimensions = Array.from(nats, (own, dimension) => ({ dimension, nats: own })).sort((a, b) => b.nats - a.nats);
  at("class-field").hidden = bundle.manifest.prior.name !== "classes";
  at("class").replaceChildren(option("", "any"), ...classes.map((name, index) => option(index, name)));
  point = centre(bundle);
  at("sliders").replaceChildren();
  addSliders();
  listCodes({ origin: "bundle-0", from: "bundle-0", to: "bundle-1" });
  reset();
  interpolate();
}

/* Name the images that were scored among the codes to choose from. */
export function offerCodes(images) {
  offered = images;
  if (point !== null) listCodes({});
}

/* Fill the three choices of a code. What was chosen stays so, unless `chosen` says otherwise. */
function listCodes(chosen) {
  const own = Array.from({ length: Math.min(OWN, realImages(session.bundle)) }, (_, index) =>
    [`bundle-${index}`, `ordinary image ${index + 1} of the bundle`]);
  const scored = offered.map(({ name }, index) => [`image-${index}`, name]);
  for (const id of ["origin", "from", "to"]) {
    const value = chosen[id] ?? at(id).value;
    const first = id === "origin" ? ["centre", "the mean of the prior"] : ["point", "where the sliders are"];
    at(id).replaceChildren(...[first, ...scored, ...own].map(([name, text]) => option(name, text)));
    at(id).value = value;
    if (at(id).selectedIndex < 0) at(id).selectedIndex = at(id).options.length - 1;
  }
}

function chosenCode(id) {
  const { bundle } = session;
  const [kind, index] = at(id).value.split("-");
  if (kind === "image") return offered[index].code;
  if (kind === "bundle") return bundle.probeRow("encoder.mean", Number(index));
  return kind === "point" ? point : centre(bundle);
}

export function addSliders() {
  const first = at("sliders").childElementCount;
  for (const { dimension, nats } of dimensions.slice(first, first + SLIDERS)) {
    const row = element("div", "slider");
    const label = element("label", "", `z${dimension + 1}`);
    label.append(element("small", "", `${number(nats, 2)} nats`));
    const input = element("input");
    Object.assign(input, { type: "range", min: -EXTENT, max: EXTENT, step: 0.05, id: `z-${dimension}` });
    Object.assign(input.dataset, { dimension });
    label.htmlFor = input.id;
    input.addEventListener("input", () => {
      point[dimension] = Number(input.value);
      showValue(row);
      decoded.show(point);
    });
    row.append(label, input, element("output"));
    at("sliders").append(row);
    showValue(row);
  }
  const left = dimensions.length - at("sliders").childElementCount;
  at("more").hidden = left === 0;
  at("more").textContent = `Show ${Math.min(SLIDERS, left)} more of ${count(dimensions.length)}`;
}

function showValue(row) {
  const [, input, output] = row.children;
  input.value = point[input.dataset.dimension];
  output.textContent = point[input.dataset.dimension].toFixed(2).replace("-", "−");
}

/* Put the sliders on a code, and decode it. */
function moveTo(code) {
  point = Float32Array.from(code);
  [...at("sliders").children].forEach(showValue);
  decoded.show(point);
}

/* Back to where the sliders start from. */
export function reset() {
  moveTo(chosenCode("origin"));
}

export function drawFromPrior() {
  moveTo(draw(session.bundle, at("class").value === "" ? null : Number(at("class").value)));
}

/* The picture between two images that the slider stands for. */
export function showMixed() {
  const share = Number(at("between").value);
  at("between-value").textContent = `${Math.round(100 * share)}%`;
  mixed.show(between(chosenCode("from"), chosenCode("to"), share));
}

/* That picture and those along the whole way. */
export async function interpolate() {
  const isCurrent = still();
  const names = `${at("from").value} ${at("to").value}`;
  const [from, to] = [chosenCode("from"), chosenCode("to")];
  showMixed();
  const pictures = await decode(Array.from({ length: STEPS }, (_, step) => between(from, to, step / (STEPS - 1))));
  if (!isCurrent()) return;
  at("strip").replaceChildren(...pictures.map((pixels, step) => {
    const canvas = picture(`${Math.round(100 * step / (STEPS - 1))}% of the way`);
    paintImage(canvas, pixels);
    return canvas;
  }));
  at("strip").dataset.between = names;
}

export function swap() {
  [at("from").value, at("to").value] = [at("to").value, at("from").value];
  interpolate();
}

function goTo(section, select, value) {
  at(select).value = value;
  at(section).scrollIntoView();
  at(select).focus({ preventScroll: true });
}

/* Go to the sliders with the code of a scored image. */
export function exploreFrom(index) {
  goTo("explore", "origin", `image-${index}`);
  reset();
}

/* Go to the interpolation, with a scored image at its end. */
export function interpolateTo(index) {
  goTo("interpolate", "to", `image-${index}`);
  interpolate();
}
