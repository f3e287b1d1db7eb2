/* What is open: a bundle and the engine that runs it. */

export const session = {
  bundle: null,
  engine: null,
  number: 0, // counts openings, so that what was begun in an earlier one is dropped
};

/* Begin another session, and return a function that says whether it is still the one. */
export function begin() {
  session.number += 1;
  return still();
}

export function still() {
  const { number } = session;
  return () => session.number === number;
}
