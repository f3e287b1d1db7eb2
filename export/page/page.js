/* The page: opens a bundle, compares it with its probe, and gives every control its action. */

import { BundleError, fromAddress, fromFiles, openBundle } from "./bundle.js";
import { at, option, say } from "./dom.js";
import { Engine, PROVIDERS, hasRuntime, hasWebGPU } from "./engine.js";
import { addSliders, drawFromPrior, interpolate, reset, setUpExplorer, showMixed, swap } from "./explorer.js";
import { filesOf } from "./files.js";
import { information } from "./latents.js";
import { compareWithProbe } from "./probe.js";
import { addExamples, addFiles, clearImages, order, paintMaps, setUpScoring } from "./scoring.js";
import { begin, session } from "./session.js";
import { showVerdict } from "./verdict.js";
import { counted, visible } from "./wording.js";

/* Open the bundle whose files `read` reads by name. */
async function open(read) {
  const isCurrent = begin();
  say("Opening the bundle…");
  hide();
  try {
    const bundle = await openBundle(read);
    if (!isCurrent()) return;
    session.bundle = bundle;
    describe(bundle);
    await start(isCurrent);
  } catch (error) {
    if (isCurrent()) say(error instanceof BundleError ? error.message : `The bundle cannot be opened: ${error.message}`, true);
  }
}

function hide() {
  delete at("status").dataset.verdict;
  at("sections").hidden = at("figures").hidden = at("probe").hidden = true;
}

/* Run the open bundle with the chosen provider: compare with the probe, and show everything. */
async function start(isCurrent) {
  const { bundle } = session;
  const provider = at("provider").value;
  session.engine?.close();
  const engine = new Engine();
  session.engine = engine;
  say(`Loading ONNX Runtime Web with ${PROVIDERS[provider]}…`);
  hide();
  const begun = performance.now();
  try {
    await engine.open(bundle, provider);
    if (!isCurrent()) return;
    const opened = performance.now();
    say("Comparing with the probe…");
    const rows = await compareWithProbe(engine, bundle);
    if (!isCurrent()) return;
    const seconds = { open: (opened - begun) / 1000, probe: (performance.now() - opened) / 1000 };
    const nats = information(bundle);
    const isAllowed = showVerdict(bundle, rows, provider, seconds, nats.reduce((sum, one) => sum + one, 0));
    at("sections").hidden = false;
    setUpExplorer(nats);
    setUpScoring(isAllowed);
  } catch (error) {
    if (!isCurrent()) return;
    if (provider === "wasm") throw error;
    at("provider").value = "wasm";
    await start(isCurrent);
    say(`WebGPU cannot run this bundle, so WebAssembly does: ${error.message}`, true);
  }
}

function describe(bundle) {
  const { model, training, calibration } = bundle.manifest;
  const kind = { 1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGBA" }[bundle.channels];
  const name = training?.data || "a bundle without a name";
  const title = `${name[0].toUpperCase()}${name.slice(1)}`;
  const size = `${bundle.width}×${bundle.height}`;
  at("kicker").textContent = `${model.family} model of ${size} ${kind} images · bundle ${bundle.manifest.bundle.slice(0, 12)}`;
  at("title").textContent = title;
  document.title = `${title} · model in the browser`;
  at("lead").textContent = `Trained on ${counted(training?.training_images ?? 0, "image")}; p-values rank an image among ` +
    `${counted(calibration.images, "calibration image")}. Images are scored on this machine and go nowhere.`;
}

/* Open the bundle among some files if there is one, else score them as images. */
async function take(files) {
  const read = fromFiles(files);
  if (read !== null) {
    at("models").value = "";
    await open(read);
  } else if (at("sections").hidden) say("Open a bundle first, then drop images.", true);
  else if (files.length && !at("scoring").hidden) await addFiles(files);
}

/* Give the files that were chosen with an input to `use`, and forget them, so that the same can be chosen again. */
function whenChosen(input, use) {
  at(input).addEventListener("change", () => {
    const files = [...at(input).files];
    at(input).value = "";
    use(files);
  });
}

function listen() {
  const on = (id, event, action) => at(id).addEventListener(event, () => action());
  on("models", "change", () => at("models").value && open(fromAddress(at("models").value)));
  on("provider", "change", () => session.bundle !== null && start(begin()).catch((error) => say(error.message, true)));
  on("open-folder", "click", () => at("folder").click());
  whenChosen("folder", (files) => fromFiles(files) === null
    ? say("This folder holds no manifest.json; choose one that `vae export --for web` wrote.", true) : take(files));

  on("choose", "click", () => at("files").click());
  whenChosen("files", addFiles);
  on("examples", "click", addExamples);
  on("order", "change", order);
  on("over", "change", paintMaps);
  on("clear", "click", () => {
    clearImages();
    at("choose").focus();
  });

  on("origin", "change", reset);
  on("reset", "click", reset);
  on("draw", "click", drawFromPrior);
  on("more", "click", addSliders);
  on("from", "change", interpolate);
  on("to", "change", interpolate);
  on("swap", "click", swap);
  on("between", "input", showMixed);

  const mark = (isDragging) => document.body.classList.toggle("dragging", isDragging);
  document.addEventListener("dragover", (event) => {
    event.preventDefault(); // or the browser would open what is dropped
    mark(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget === null && mark(false));
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    mark(false);
    await take(await filesOf(event.dataTransfer));
  });
  document.addEventListener("paste", (event) => event.clipboardData.files.length && take([...event.clipboardData.files]));
}

/* Offer the bundles that lie beside the page, which models.json lists, and return their folders. */
async function listModels() {
  const response = await fetch("models.json");
  const listed = response.ok ? await response.json() : [];
  const named = listed.map((folder) => option(folder, folder === "." ? "beside this page" : visible(folder)));
  at("models").replaceChildren(...named, option("", "a folder of your own"));
  at("models-field").hidden = listed.length === 0;
  return listed;
}

async function main() {
  if (!(await hasRuntime())) {
    say("ONNX Runtime Web is not beside this page: run `python serve.py` in the page's folder, which fetches it with npm.", true);
    return;
  }
  listen();
  if (await hasWebGPU()) at("provider").append(option("webgpu", PROVIDERS.webgpu));
  at("tools").hidden = false;
  const listed = await listModels();
  const asked = new URLSearchParams(location.search).get("bundle") ?? listed[0];
  at("models").value = listed.includes(asked) ? asked : "";
  if (asked === undefined) say("Open or drop a folder that `vae export --for web` wrote.");
  else await open(fromAddress(asked));
}

main().catch((error) => say(error.message, true));
