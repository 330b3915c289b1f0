import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { fetchUrlFile, urlFileName } from "../../src/context/index.js";
import type { UrlFile } from "../../src/context/index.js";
import { TsbuildError } from "../../src/errors.js";
import { createHttpClient, type HttpClient } from "../../src/internal/http.js";
import { openStore, type Store } from "../../src/store/index.js";
import { startUrlServer, type UrlServer } from "./url-server.js";

const OLD = "Fri, 14 Jul 2017 02:40:00 GMT";

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

let root: string;
let store: Store;
let client: HttpClient;
let server: UrlServer;
let answer: Answer;

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), "tsbuild-url-"));
  store = await openStore(root, new AbortController().signal);
  client = createHttpClient({});
  server = await startUrlServer((request, response) => answer(request, response));
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
  await client[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
  rmSync(root, { recursive: true, force: true });
});

/** Where a server is to be waited for shortly. Else a slow machine is taken for a dead server. */
async function useClient(timeouts: Parameters<typeof createHttpClient>[1]): Promise<void> {
  await client[Symbol.asyncDispose]();
  client = createHttpClient({}, timeouts);
}

interface Extra {
  readonly checksum?: string;
  readonly authorization?: string;
  readonly signal?: AbortSignal;
}

async function fetch(address: string, extra: Extra = {}): Promise<UrlFile> {
  const temporaryPath = (): Promise<string> => Promise.resolve(store.stagingPath("download"));
  const { signal } = new AbortController();
  const url = address.startsWith("/") ? server.origin + address : address;
  try {
    return await fetchUrlFile(url, {
      client,
      cache: store.downloads,
      temporaryPath,
      signal,
      ...extra,
    });
  } finally {
    expect(readdirSync(store.staging)).toEqual([]);
  }
}

async function text(address: string, extra: Extra = {}): Promise<string> {
  return readFileSync((await fetch(address, extra)).path, "utf8");
}

async function failure(address: string, extra: Extra = {}): Promise<TsbuildError> {
  try {
    await fetch(address, extra);
  } catch (error) {
    if (error instanceof TsbuildError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

function digest(content: string): string {
  return `sha256:${createHash("sha256").update(content).digest("hex")}`;
}

/** A server as they should be: it knows what If-None-Match and If-Modified-Since mean. */
function serves(content: string, headers: Readonly<Record<string, string>>): Answer {
  return (request, response) => {
    const { "if-none-match": match, "if-modified-since": since } = request.headers;
    const etag = headers["etag"];
    const same =
      match === undefined
        ? since !== undefined && since === headers["last-modified"]
        : match.split(", ").some((one) => one.replace(/^W\//, "") === etag?.replace(/^W\//, ""));
    response.writeHead(same ? 304 : 200, headers);
    response.end(same ? undefined : content);
  };
}

describe("a file of a URL", () => {
  test.each([
    ["an ETag", { etag: '"one"' }],
    ["a weak ETag", { etag: 'W/"one"' }],
    ["a date that was old when it came", { "last-modified": OLD }],
    ["both", { etag: '"one"', "last-modified": OLD }],
  ])("with %s is fetched once, and then asked for with HEAD", async (_, headers) => {
    answer = serves("one\n", headers);
    expect(await text("/f")).toBe("one\n");
    expect(server.take()).toEqual(["GET /f"]);
    const again = await fetch("/f");
    expect(server.take()).toEqual(["HEAD /f"]);
    expect(readFileSync(again.path, "utf8")).toBe("one\n");
    const mtimeNs = "last-modified" in headers ? 1_500_000_000_000_000_000n : 0n;
    expect(again).toMatchObject({ name: "f", size: 4, digest: digest("one\n"), mtimeNs });
  });

  test("that has changed is fetched again, and both are known from then on", async () => {
    answer = serves("one\n", { etag: '"1"' });
    await fetch("/f");
    answer = serves("two\n", { etag: '"2"' });
    expect(await text("/f")).toBe("two\n");
    server.take();
    answer = serves("one\n", { etag: '"1"' });
    expect(await text("/f")).toBe("one\n");
    expect(server.requests[0]?.headers["if-none-match"]).toBe('"2", "1"');
    expect(server.take()).toEqual(["HEAD /f"]);
  });

  test.each([
    ["no validator", (): Readonly<Record<string, string>> => ({})],
    [
      "a date that was young",
      () => ({ "last-modified": new Date(Date.now() + 60_000).toUTCString() }),
    ],
  ])("with %s is fetched each time", async (_, headers) => {
    const said = headers();
    for (const content of ["one\n", "two\n"]) {
      answer = serves(content, said);
      expect(await text("/f")).toBe(content);
    }
    expect(server.take()).toEqual(["GET /f", "GET /f"]);
  });

  test.each([
    ["sends all again to a GET, but tells the ETag", 200, "HEAD"],
    ["answers 304 without the ETag", 304, "HEAD"],
    ["refuses HEAD", 405, "GET"],
  ])("of a server that %s is not fetched again", async (_, status, last) => {
    answer = serves("one\n", { etag: '"1"' });
    await fetch("/f");
    server.take();
    answer = (request, response) => {
      const isHead = request.method === "HEAD";
      if (isHead && status === 200) response.writeHead(200, { etag: '"1"' }).end();
      else if (isHead && status === 405) response.writeHead(405).end();
      else response.writeHead(304).end();
    };
    expect(await text("/f")).toBe("one\n");
    expect(server.take().at(-1)).toBe(`${last} /f`);
  });

  test("is fetched again when what is kept of it is damaged, with its record or without", async () => {
    answer = serves("one\n", { etag: '"1"' });
    const { path } = await fetch("/f");
    for (const bad of ["two\n", "longer than it was\n"]) {
      writeFileSync(path, bad);
      expect(await text("/f")).toBe("one\n");
      expect(server.take()).toContain("GET /f");
    }
    for (const name of readdirSync(join(root, "downloads"))) {
      writeFileSync(join(root, "downloads", name), '{"records":[{"digest":"../../x"},3');
    }
    expect(await text("/f")).toBe("one\n");
    expect(server.take()).toEqual(["GET /f"]);
  });

  test("with a checksum is asked for once, and nobody after that", async () => {
    answer = serves("one\n", {});
    const checksum = digest("one\n");
    await fetch("/f", { checksum });
    server.take();
    answer = (_, response) => response.writeHead(500).end();
    expect(await text("/f", { checksum })).toBe("one\n");
    expect(server.take()).toEqual([]);
  });

  test("with a checksum is not believed, neither the server nor the store", async () => {
    const checksum = digest("one\n");
    answer = serves("two\n", { etag: '"1"' });
    for (let build = 0; build < 2; build++) {
      const error = await failure("/f", { checksum });
      expect(error.code).toBe("CONTEXT_UNREADABLE");
      expect(error.message).toContain(`digest mismatch ${digest("two\n")}: ${checksum}`);
    }
    answer = serves("one\n", {});
    const { path } = await fetch("/f", { checksum });
    writeFileSync(path, "two\n");
    expect(await text("/f", { checksum })).toBe("one\n");
    const wrong = await failure("/f", { checksum: "sha512:00" });
    expect(wrong.code).toBe("DOCKERFILE_INVALID");
    expect((await failure("/f", { checksum: "sha256:00" })).code).toBe("DOCKERFILE_INVALID");
  });

  test("comes without the compression of the way", async () => {
    answer = (_, response) => {
      response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync("one\n"));
    };
    expect(await text("/f")).toBe("one\n");
    answer = (_, response) => {
      response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync("one\n").subarray(0, 9));
    };
    expect((await failure("/f")).message).toContain("unexpected end of file");
  });

  test("of a busy server or a broken connection is tried again", async () => {
    let tries = 0;
    answer = (request, response) => {
      tries++;
      if (tries === 1) response.writeHead(503, { "retry-after": "0" }).end();
      else if (tries === 2) {
        response.writeHead(200, { "content-length": "4" }).write("on");
        setTimeout(() => request.socket.destroy(), 20);
      } else response.end("one\n");
    };
    expect(await text("/f")).toBe("one\n");
    expect(tries).toBe(3);
  });

  test.each([
    ["/a/b.tar.gz?x=1#y", "b.tar.gz"],
    ["/", "__unnamed__"],
    ["/a%20b", "a b"],
    ["/a%2Fb", "b"],
    ["/a%2F..", "__unnamed__"],
    ["/a%00", "__unnamed__"],
    ["/100%", "100%"],
  ])("is named by %s: %s", (path, name) => {
    expect(urlFileName(`https://example.com${path}`)).toBe(name);
  });
});

describe("a server that means harm, or is dead", () => {
  test.each([
    ["file:///etc/passwd", /a redirect to file: is not followed/],
    ["ftp://127.0.0.1/f", /a redirect to ftp: is not followed/],
    ["http://[bad", /leads to no address/],
    ["/again", /more than 10 redirects/],
  ])("is not followed to %s", async (location, message) => {
    answer = (_, response) => response.writeHead(302, { location }).end();
    const error = await failure("/f");
    expect(error.message).toMatch(message);
    expect(error.code).toBe("CONTEXT_UNREADABLE");
  });

  test("is left when it stops in the middle, or never answers", async () => {
    answer = (_, response) => {
      response.writeHead(200, { "content-length": "10" }).write("some");
    };
    await useClient({ stallMs: 300 });
    expect((await failure("/f")).message).toMatch(/no byte came for 0\.3 s/);
    answer = () => undefined;
    await useClient({ answerMs: 400 });
    expect((await failure("/f")).message).toMatch(/no answer came for 0\.4 s/);
    // A server that stalls is not asked three times.
    expect(server.take()).toEqual(["GET /f", "GET /f"]);
  });

  test("is left at once on abort", async () => {
    const stop = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    answer = (_, response) => {
      timer = setInterval(() => response.write("more"), 5);
      response.on("close", () => clearInterval(timer));
      setTimeout(() => stop.abort(new Error("enough")), 50);
    };
    await expect(fetch("/f", { signal: stop.signal })).rejects.toThrow("enough");
  });
});

describe("credentials of a URL", () => {
  const login = `Basic ${Buffer.from("user:pass word").toString("base64")}`;
  const secretUrl = (): string => server.origin.replace("//", "//user:pass%20word@");

  test("go to the server, whoever gives them, and into no record", async () => {
    answer = serves("one\n", { etag: '"1"' });
    await fetch(`${secretUrl()}/f?token=hunter2`);
    await fetch("/f?token=hunter2", { authorization: "Bearer opaque" });
    expect(server.requests.map(({ headers }) => headers.authorization)).toEqual([
      login,
      "Bearer opaque",
    ]);
    const directory = join(root, "downloads");
    const kept = readdirSync(directory).map(
      (name) => name + readFileSync(join(directory, name), "utf8"),
    );
    expect(kept).toHaveLength(1);
    expect(kept.join()).not.toMatch(/hunter2|user|pass|opaque/);
  });

  test.each([301, 302, 303, 307, 308])(
    "stay behind at a redirect, %i, elsewhere",
    async (status) => {
      await using other = await startUrlServer((_, response) => response.end("other\n"));
      const elsewhere = [other.origin, other.origin.replace("127.0.0.1", "localhost")];
      for (const origin of elsewhere) {
        answer = (_, response) => response.writeHead(status, { location: `${origin}/g` }).end();
        expect(await text("/f", { authorization: "Bearer abc" })).toBe("other\n");
        expect(await text(`${secretUrl()}/f`)).toBe("other\n");
      }
      expect(other.requests).toHaveLength(4);
      expect(other.requests.some(({ headers }) => headers.authorization !== undefined)).toBe(false);
      expect(server.requests.every(({ headers }) => headers.authorization !== undefined)).toBe(
        true,
      );
    },
  );

  test("stay behind for good, even when the way leads back", async () => {
    await using other = await startUrlServer((_, response) =>
      response.writeHead(302, { location: `${server.origin}/back` }).end(),
    );
    answer = (request, response) => {
      if (request.url === "/back") response.end("back\n");
      else response.writeHead(302, { location: other.origin }).end();
    };
    expect(await text("/f", { authorization: "Bearer abc" })).toBe("back\n");
    expect(server.requests.map(({ headers }) => headers.authorization)).toEqual([
      "Bearer abc",
      undefined,
    ]);
  });

  test("go along on the same server; those of a Location are used and not shown", async () => {
    answer = (request, response) => {
      if (request.url === "/f") response.writeHead(302, { location: "/g" }).end();
      else response.end("here\n");
    };
    await fetch("/f", { authorization: "Bearer abc" });
    expect(server.requests.at(-1)?.headers.authorization).toBe("Bearer abc");
    const to = `${secretUrl()}/g`;
    answer = (request, response) => {
      if (request.url === "/f") response.writeHead(302, { location: to }).end();
      else response.writeHead(404).end();
    };
    const error = await failure("/f");
    expect(server.requests.at(-1)?.headers.authorization).toBe(login);
    answer = (_, response) => response.writeHead(302, { location: to }).end();
    const endless = await failure("/f");
    for (const { message, cause } of [error, endless]) {
      expect(message + String(cause)).not.toMatch(/pass|user/);
    }
  });

  test("that are missing or refused give a hint, and are not shown", async () => {
    answer = (_, response) => response.writeHead(401).end();
    expect((await failure("/f")).hint).toContain("--secret id=HTTP_AUTH_TOKEN_127.0.0.1");
    const refused = await failure(`${secretUrl()}/f?sig=hunter2`, {
      authorization: "Bearer opaque",
    });
    expect(refused.hint).toContain("refuses the login");
    expect(refused.message).toContain("invalid response status 401");
    expect(refused.message).not.toMatch(/hunter2|pass|opaque/);
  });
});
