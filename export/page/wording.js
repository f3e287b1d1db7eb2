/* Numbers and names as the reports write them: see jobs/report/wording.py. */

/* The exponent of a finite number that is not 0, in scientific notation. */
function exponent(value) {
  return Number(value.toExponential().split("e")[1]);
}

function grouped(text) {
  const [whole, ...rest] = text.split(".");
  return [whole.replace(/\B(?=(\d{3})+$)/g, ","), ...rest].join(".");
}

export function count(value) {
  return grouped(String(value));
}

export function counted(value, thing) {
  return `${count(value)} ${value === 1 ? thing : `${thing}s`}`;
}

/* `digits` significant digits, in fixed notation from 1e-5 to 1e12. */
export function number(value, digits = 4) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = exponent(value);
  const text = size < -5 || size > 11
    ? value.toExponential(digits - 1).replace(/e([+-])(\d)$/, "e$10$2")
    : grouped(value.toFixed(Math.max(0, digits - 1 - size)));
  return text.replaceAll("-", "−");
}

/* 0.0001666 → "0.00017". */
export function pValue(value) {
  if (!(value > 0 && value <= 1)) return "–";
  return value.toFixed(Math.min(1 - exponent(value), 9));
}

/* Text without characters that act on what stands around them, such as U+202E, which reverses what follows. */
export function visible(text) {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu,
    (one) => `⟨U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}
