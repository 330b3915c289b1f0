/**
 * A wrong flag: exit code 64, as the library's USAGE. Its own class, so that reading the flags does not load the
 * library: `--help` starts nothing.
 */
export class UsageError extends Error {
  override readonly name: string = "UsageError";
  readonly hint: string;
  readonly exitCode = 64;

  constructor(message: string, hint = "tsbuild --help lists the flags") {
    super(message);
    this.hint = hint;
  }
}
