const SENTENCES = {
  "set-id": "set-user-id and set-group-id bits were left out of files that another owner had",
  xattrs: "extended attributes, such as file capabilities, were not kept",
  special: "devices, pipes and sockets were not made",
  links: "hard links became separate files",
  modes: "modes and times of directories of other users stayed as they were",
} as const;
type Loss = keyof typeof SENTENCES;

/** What could not be kept, said once for all files. */
export class Losses {
  readonly #found = new Map<Loss, { readonly first: string; count: number }>();

  add(loss: Loss, path: string): void {
    const known = this.#found.get(loss);
    if (known === undefined) this.#found.set(loss, { first: path, count: 1 });
    else known.count += 1;
  }

  messages(): readonly string[] {
    return [...this.#found].map(
      ([loss, { first, count }]) =>
        `${SENTENCES[loss]} (${count} ${count === 1 ? "entry" : "entries, the first is"} ${JSON.stringify(first)})`,
    );
  }
}
