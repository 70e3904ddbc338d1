// How old is what we show? The same rules as freshness.py; the browser adds `offline`: it lost the server.

/** `live`, `late` or `stale` of a source last heard at `heard` (0: never); a dead one is stale at once. */
export function freshnessOf(heard, dead, now, limits) {
  if (dead !== null || !heard) return 'stale';
  const age = now - heard;
  return age <= limits.live ? 'live' : age <= limits.late ? 'late' : 'stale';
}
