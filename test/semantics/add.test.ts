import { createServer, type Server } from "node:http";
import { gzipSync } from "node:zlib";
import type { AddressInfo } from "node:net";
import { createHash } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { lacksTools, mustRun } from "../support/tools.js";
import { describeUnless } from "../support/tools-suite.js";
import { writeTar } from "../support/tools-tar.js";
import { directory, LACKS, useBench } from "./support.js";

const ARCHIVE = writeTar([
  {
    name: "implied/parent/file",
    mode: 0o640,
    uid: 7,
    gid: 8,
    data: "deep\n",
    mtime: 1_400_000_000,
  },
  { name: "d", type: "dir", mode: 0o711, uid: 3, gid: 4 },
  { name: "d/a", mode: 0o4755, uid: 0, gid: 5, data: "a\n" },
  { name: "d/b", type: "hardlink", linkname: "d/a", mode: 0o4755, uid: 0, gid: 5 },
  { name: "out", type: "symlink", linkname: "/abs" },
  { name: "out/through", data: "through\n" },
  { name: "../../above", data: "above\n" },
]);
const MODIFIED = "Fri, 14 Jul 2017 02:40:00 GMT";
const BODY = gzipSync(ARCHIVE);
const DIGEST = `sha256:${createHash("sha256").update(BODY).digest("hex")}`;

describeUnless([...LACKS, lacksTools("bzip2", "xz", "zstd")], "ADD", () => {
  const bench = useBench();
  let server: Server;
  let url: string;

  beforeAll(async () => {
    server = createServer((request, response) => {
      const path = request.url ?? "";
      if (path.startsWith("/moved")) response.writeHead(302, { location: "/a.tar.gz" }).end();
      else if (path.startsWith("/none")) response.writeHead(404).end();
      else if (path === "/plain") response.end("no date\n");
      else response.writeHead(200, { "last-modified": MODIFIED }).end(BODY);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => new Promise<void>((resolve) => server.close(() => resolve())));

  test("unpacks archives by their content into a directory, with or without a slash", async () => {
    const files = {
      plain: ARCHIVE,
      "packed.bin": BODY,
      "text.tar.gz": "no archive\n",
      "inside/kept.tar": ARCHIVE,
      dir: directory(),
    };
    const built = await bench.build(
      [
        "FROM busybox",
        "ADD plain /p",
        "ADD packed.bin /gz/",
        "ADD --chown=9:9 plain /owned",
        "ADD text.tar.gz /text/",
        "ADD inside /inside",
        "ADD --unpack=false plain /asis",
        "ADD p*n packed* /wild/",
      ],
      { files },
    );
    expect(built.facts("p")).toBe("dir 755 0:0");
    expect(built.facts("p/implied/parent/file")).toBe("file 640 7:8");
    expect(built.files.get("p/implied/parent/file")?.mtime).toBe(1_400_000_000);
    expect(built.facts("p/implied")).toBe("dir 755 0:0");
    expect(built.facts("p/d")).toBe("dir 711 3:4");
    expect(built.facts("p/d/b")).toBe("file 4755 0:5");
    expect(built.layers[1]?.get("p/d/b")?.type).toBe("hardlink");
    expect(built.text("p/abs/through")).toBe("through\n");
    expect(built.text("p/above")).toBe("above\n");
    expect(built.files.has("above")).toBe(false);
    expect(built.text("gz/d/a")).toBe("a\n");
    expect(built.facts("owned/d")).toBe("dir 711 9:9");
    expect(built.text("text/text.tar.gz")).toBe("no archive\n");
    expect(built.facts("inside/kept.tar")).toBe("file 644 0:0");
    expect(built.facts("asis")).toBe("file 644 0:0");
    expect(built.text("wild/d/a")).toBe("a\n");
  });

  test("reads bzip2, xz and zstd", async () => {
    const shell = async (program: string): Promise<Buffer> =>
      Buffer.from(
        await mustRun("sh", ["-c", `base64 -d | ${program} -c | base64 -w0`], {
          input: ARCHIVE.toString("base64"),
        }),
        "base64",
      );
    const built = await bench.build(["FROM scratch", "ADD bz /bz", "ADD xz /xz", "ADD zst /zst"], {
      files: { bz: await shell("bzip2"), xz: await shell("xz"), zst: await shell("zstd") },
    });
    for (const name of ["bz", "xz", "zst"]) expect(built.text(`${name}/d/a`)).toBe("a\n");
  });

  test("an archive replaces what is in its way", async () => {
    const clash = writeTar([
      { name: "f", type: "dir", mode: 0o755 },
      { name: "f/x", data: "x\n" },
      { name: "d", data: "a file\n" },
    ]);
    const built = await bench.build(
      [
        "FROM busybox",
        "RUN mkdir -p /t/d/sub && echo > /t/f",
        "ADD clash /t",
        "RUN [ -d /t/f ] && [ -f /t/d ]",
      ],
      { files: { clash } },
    );
    expect(built.text("t/f/x")).toBe("x\n");
    expect(built.text("t/d")).toBe("a file\n");
  });

  test("a hard link of an archive to a file of an earlier layer copies that file", async () => {
    const links = writeTar([
      { name: "x/h", type: "hardlink", linkname: "x/f", mode: 0o600, uid: 5, mtime: 1_400_000_000 },
      { name: "tool", type: "hardlink", linkname: "/bin/busybox", mode: 0o755 },
      { name: "x/dir", type: "dir", mode: 0o700 },
    ]);
    const built = await bench.build(
      [
        "FROM busybox",
        "COPY f /x/f",
        "COPY f /x/other",
        "ADD links /",
        "RUN cat /x/f /x/h && [ $(stat -c %h /x/f) = 2 ] && cmp /tool /bin/busybox",
      ],
      { files: { links, f: "earlier\n" } },
    );
    expect([...(built.layers[3]?.keys() ?? [])].toSorted()).toEqual([
      "bin",
      "bin/busybox",
      "tool",
      "x",
      "x/dir",
      "x/f",
      "x/h",
    ]);
    expect(built.facts("x/f")).toBe("file 600 5:0");
    expect(built.text("x/h")).toBe("earlier\n");
    expect(built.text("x/other")).toBe("earlier\n");
    const dead = await bench.fails(["FROM busybox", "ADD --link links /"], {
      files: { links },
    });
    expect(dead.message).toMatch(/Dockerfile:2.*"x\/h".*missing/);
  });

  test("a download is 0600 with its date, named by its URL, and stays packed", async () => {
    const built = await bench.build([
      "FROM busybox",
      `ADD ${url}/a.tar.gz?query=1 /d/`,
      `ADD ${url}/moved/name.bin /d/`,
      `ADD ${url}/plain /renamed`,
      `ADD --chown=5:6 --chmod=640 ${url}/a.tar.gz /own`,
      `ADD --unpack=true ${url}/a.tar.gz /unpacked`,
      `ADD --checksum=${DIGEST} ${url}/a.tar.gz /checked/`,
      `ADD ${url}/ /unnamed/`,
    ]);
    expect(built.facts("d/a.tar.gz")).toBe("file 600 0:0");
    expect(built.files.get("d/a.tar.gz")?.mtime).toBe(1_500_000_000);
    expect(built.facts("d/name.bin")).toBe("file 600 0:0");
    expect(built.files.get("renamed")).toMatchObject({ mtime: 0, text: "no date\n", mode: "600" });
    expect(built.facts("own")).toBe("file 640 5:6");
    expect(built.text("unpacked/d/a")).toBe("a\n");
    expect(built.files.has("checked/a.tar.gz")).toBe(true);
    expect(built.files.has("unnamed/__unnamed__")).toBe(true);
  });

  test("refuses a wrong checksum, what is not there, and a checksum where it has no meaning", async () => {
    const wrong = DIGEST.replace(/.$/, (last) => (last === "0" ? "1" : "0"));
    const checksum = await bench.fails([
      "FROM scratch",
      `ADD --checksum=${wrong} ${url}/a.tar.gz /`,
    ]);
    expect(checksum.message).toContain("Dockerfile:2");
    expect(checksum.message).toContain(DIGEST);
    const missing = await bench.fails(["FROM scratch", `ADD ${url}/none /`]);
    expect(missing.message).toMatch(/404/);
    const local = await bench.fails(["FROM scratch", `ADD --checksum=${DIGEST} f /`], {
      files: { f: "" },
    });
    expect(local.message).toContain("checksum requires HTTP(S) or Git sources");
    const several = await bench.fails(["FROM scratch", `ADD --checksum=${DIGEST} ${url}/a f /d/`], {
      files: { f: "" },
    });
    expect(several.message).toContain("checksum can't be specified for multiple sources");
  });

  test("a damaged archive is an error that names it", async () => {
    const failed = await bench.fails(["FROM scratch", "ADD cut.tar /"], {
      files: { "cut.tar": ARCHIVE.subarray(0, ARCHIVE.length - 2_000) },
    });
    expect(failed.message).toContain("cut.tar");
    expect(failed.message).toContain("Dockerfile:2");
    expect(failed.exitCode).toBe(66);
  });
});
