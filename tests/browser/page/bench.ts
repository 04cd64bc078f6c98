/** Filled in below. */
export const bench = {};
