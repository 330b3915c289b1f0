import { describe, expect, test } from "vitest";
import { parseGitRef, parseUrlChecksum } from "../../src/context/index.js";
import { effectOf } from "../../src/solver/handlers.js";
import type { Tools } from "../../src/solver/types.js";
import { fakeTools, instructionsOf, stateOf } from "./support-tools.js";

const DIGEST = `sha256:${"a".repeat(64)}`;
const URL = "https://example.com/f";

async function history(line: string): Promise<string | undefined> {
  const [add] = instructionsOf([line]);
  if (add === undefined) throw new Error("no instruction");
  const remote = { parseGit: parseGitRef, checkUrlChecksum: parseUrlChecksum };
  const { tools } = fakeTools(add, {}, { remote: remote as unknown as Tools["remote"] });
  const context = async () => ({ name: "context" }) as Awaited<ReturnType<Tools["context"]>>;
  return (await effectOf(add, stateOf(), { ...tools, context })).history;
}

describe("ADD --checksum", () => {
  test.each([
    ["md5:d41d8cd98f00b204e9800998ecf8427e", URL, "unsupported digest algorithm"],
    ["sha256:abc", URL, "invalid digest"],
    ["nothing", URL, "unsupported digest algorithm"],
    [DIGEST, "f", "checksum requires HTTP(S) or Git sources"],
    [DIGEST, `${URL} ${URL}`, "checksum can't be specified for multiple sources"],
    [DIGEST, "<<EOF", "checksum can't be specified for multiple sources"],
  ])("%s of %s is refused before anything is fetched: %s", async (checksum, sources, message) => {
    const body = sources.startsWith("<<") ? "\nEOF" : "";
    await expect(history(`ADD --checksum=${checksum} ${sources} /d${body}`)).rejects.toThrow(
      message,
    );
  });

  test.each([
    `--checksum=${DIGEST} ${URL}`,
    `--checksum=0123456789 ${URL}.git`,
    `--checksum=$NOTHING ${URL} f`,
  ])("%s is taken", async (words) => {
    expect(await history(`ADD ${words} /d`)).toContain("/d # buildkit");
  });

  test("a heredoc beside the URL is no second source", async () => {
    expect(await history(`ADD --checksum=${DIGEST} ${URL} <<EOF /d\nEOF`)).toContain("<<EOF");
  });
});
