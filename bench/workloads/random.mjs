// A seeded generator: the workloads' bytes are the same on every machine.

/** Mulberry32: small, and good enough to look like source code or like noise. */
export function seeded(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
  const below = (n) => next() % n;
  const unit = () => (next() + 0.5) / 0x1_0000_0000;
  return {
    below,
    unit,
    pick: (list) => list[below(list.length)],
    /** Bytes that do not compress. */
    bytes(length) {
      const words = new Uint32Array(Math.ceil(length / 4));
      for (let i = 0; i < words.length; i++) words[i] = next();
      return Buffer.from(words.buffer, 0, length);
    },
    /** Sizes as files of source trees have them: many small, a few large. */
    lognormal(mean, deviation) {
      const normal = Math.sqrt(-2 * Math.log(unit())) * Math.cos(2 * Math.PI * unit());
      return Math.exp(mean + deviation * normal);
    },
  };
}

const dictionary = (() => {
  const random = seeded(7);
  const letter = () => String.fromCharCode(97 + random.below(26));
  return Array.from({ length: 3_000 }, () =>
    Array.from({ length: 2 + random.below(10) }, letter).join(""),
  );
})();

/** `length` bytes that read, and compress, like source code. */
export function sourceText(random, length) {
  const word = () => random.pick(dictionary);
  const lines = [];
  for (let have = 0; have < length; have += lines.at(-1).length) {
    const comment = Array.from({ length: 5 }, word).join(" ");
    lines.push(`  const ${word()} = ${word()}(${word()}, ${word()}); // ${comment}\n`);
  }
  return Buffer.from(lines.join("")).subarray(0, length);
}
