/* The latent space of a bundle: which dimensions matter, draws from the prior, paths between two codes. */

/* KL(q(z_d|x) ‖ N(0, 1)) in nats, the mean over the bundle's own images, of each dimension d. */
export function information(bundle) {
  const size = bundle.latentSize;
  const mean = bundle.array("probe", "encoder.mean").data;
  const logVariance = bundle.array("probe", "encoder.log_variance").data;
  const images = realImages(bundle);
  const nats = new Float64Array(size);
  for (let index = 0; index < images * size; index += 1) {
    const [mu, log] = [mean[index], logVariance[index]];
    nats[index % size] += (mu * mu + Math.exp(log) - 1 - log) / 2 / images;
  }
  return nats;
}

/* How many images of the probe are ordinary ones; extreme ones follow them. */
export function realImages(bundle) {
  return bundle.manifest.probe.real_images;
}

function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

/* The components of a mixture, or null for N(0, I). */
function components(bundle) {
  if (!bundle.has("prior")) return null;
  const [log, mean, factor] = ["log_weight", "mean", "factor"].map((name) => bundle.array("prior", name).data);
  return { log, mean, factor };
}

/* A code drawn from the prior; of one class if the prior has classes and one is given. */
export function draw(bundle, chosen = null) {
  const size = bundle.latentSize;
  const noise = Float32Array.from({ length: size }, normal);
  const mixture = components(bundle);
  if (mixture === null) return noise;
  const each = mixture.log.length / (bundle.classes.length || 1); // components of a class
  const first = chosen === null ? 0 : chosen * each;
  const weights = mixture.log.slice(first, chosen === null ? undefined : first + each).map(Math.exp);
  let left = Math.random() * weights.reduce((sum, weight) => sum + weight, 0);
  let picked = 0;
  while (picked < weights.length - 1 && left >= weights[picked]) left -= weights[picked++];
  const component = first + picked;
  return Float32Array.from({ length: size }, (_, row) => {
    let value = mixture.mean[component * size + row];
    for (let column = 0; column <= row; column += 1) { // lower triangular
      value += mixture.factor[(component * size + row) * size + column] * noise[column];
    }
    return value;
  });
}

/* The mean of the prior. */
export function centre(bundle) {
  const size = bundle.latentSize;
  const found = new Float32Array(size);
  const mixture = components(bundle);
  if (mixture === null) return found;
  mixture.log.forEach((log, component) => {
    for (let d = 0; d < size; d += 1) found[d] += Math.exp(log) * mixture.mean[component * size + d];
  });
  return found;
}

/* The point a share of the way from one code to another, on a straight line. */
export function between(from, to, share) {
  return from.map((value, d) => value + share * (to[d] - value));
}
