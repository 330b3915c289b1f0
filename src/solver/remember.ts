/** The promise of that key, made when there is none. A failure is remembered too: whoever awaits it sees it. */
export function remember<K, V>(
  map: Map<K, Promise<V>>,
  key: K,
  make: () => Promise<V>,
): Promise<V> {
  const known = map.get(key);
  if (known !== undefined) return known;
  const promise = make();
  map.set(key, promise);
  // Nobody else must be told of an unhandled one.
  promise.catch(() => undefined);
  return promise;
}
