/* Why an image is outlying, in the words of the reports: see jobs/score/explain/reasons.py, which this follows. */

import { number } from "./wording.js";

const UNUSUAL = 2; // standard deviations; statistics with less are unusual only in combination
const MIN_SHARE = 0.15; // of the positive contributions; aspects with less are not named,
const MAX_PHRASES = 3; // nor are more than so many
const PARTS = [
  ["upper left", "top", "upper right"],
  ["left", "centre", "right"],
  ["lower left", "bottom", "lower right"],
];

/* Where a map of `height` rows of `width` values is highest, in words. */
export function highestPlace(map, height, width) {
  let highest = 0;
  for (let pixel = 1; pixel < map.length; pixel += 1) if (map[pixel] > map[highest]) highest = pixel;
  const row = Math.floor(highest / width);
  return PARTS[Math.floor(3 * row / height)][Math.floor(3 * (highest - row * width) / width)];
}

/* The contributions summed by aspect, the largest first: [{name, contribution, deviation, phrase}]. */
export function summariseAspects(statistics, contributions, deviations, place) {
  const groups = new Map();
  statistics.forEach((statistic, index) => {
    if (!groups.has(statistic.aspect)) groups.set(statistic.aspect, []);
    groups.get(statistic.aspect).push(index);
  });
  const aspects = [...groups].map(([name, members]) => {
    const leader = members.reduce((best, one) => Math.abs(deviations[one]) > Math.abs(deviations[best]) ? one : best);
    const deviation = deviations[leader];
    const words = deviation > 0 ? statistics[leader].high : statistics[leader].low;
    const phrase = words.replaceAll("{place}", place).replaceAll("{}", `${number(Math.abs(deviation), 2)} σ`);
    return { name, contribution: members.reduce((sum, one) => sum + contributions[one], 0), deviation, phrase };
  });
  return aspects.sort((a, b) => b.contribution - a.contribution);
}

/* One sentence on the largest contributions. */
export function reason(aspects) {
  const positive = aspects.filter((aspect) => aspect.contribution > 0);
  const enough = MIN_SHARE * positive.reduce((sum, aspect) => sum + aspect.contribution, 0);
  const leading = positive.filter((aspect) => aspect.contribution >= enough).slice(0, MAX_PHRASES);
  const phrases = leading.filter((aspect) => Math.abs(aspect.deviation) >= UNUSUAL).map((aspect) => aspect.phrase);
  if (phrases.length) return sentence(phrases.join("; "));
  if (leading.length) {
    return sentence(`only the combination is unusual: ${leading.map((aspect) => aspect.name).join(", ")}`);
  }
  return "No aspect raises the score.";
}

function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}.`;
}
