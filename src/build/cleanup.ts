/** Closes what a build opened, last opened first; each is closed whatever the others did. */
export class Cleanup implements AsyncDisposable {
  readonly #opened: AsyncDisposable[] = [];
  #isDone = false;

  /** What comes too late, after a failure elsewhere, is closed at once. */
  use<T extends AsyncDisposable>(opened: T): T {
    if (this.#isDone) opened[Symbol.asyncDispose]().then(undefined, () => undefined);
    else this.#opened.push(opened);
    return opened;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDone = true;
    const errors: unknown[] = [];
    for (const opened of this.#opened.splice(0).reverse()) {
      try {
        await opened[Symbol.asyncDispose]();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  }
}
