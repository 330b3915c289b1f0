/** A layer that is sound but has something that an image cannot have, or not as unpacking would make it. */
export class Refusal extends Error {}
