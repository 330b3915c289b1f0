import { expect, test } from "vitest";
import { lacksRoot } from "../support/tools.js";
import { describeUnless } from "../support/tools-suite.js";
import { directory, file, LACKS, link, useBench, type Files } from "./support.js";

const TREE: Files = {
  "dir/file": file("file\n", { mode: 0o640 }),
  "dir/sub": directory({ mode: 0o700 }),
  "dir/sub/deep": "deep\n",
  "dir/link": link("file"),
  "dir/out": link("/etc/passwd"),
  top: "top\n",
  other: "other\n",
  ".hidden": "hidden\n",
  "to-top": link("top"),
  "to-dir": link("dir"),
  "abs-top": link("/top"),
  run: file("#!/bin/sh\n", { mode: 0o4755 }),
};

describeUnless(LACKS, "COPY", () => {
  const bench = useBench();

  test("a directory gives its content; a destination that is made is 0755 and root's", async () => {
    const built = await bench.build(
      [
        "FROM scratch",
        "COPY dir /new",
        "COPY dir /deep/er/",
        "COPY dir/ /top",
        "COPY top other /two/",
        "COPY top /renamed",
        "COPY run /",
        "COPY ../../top /escaped",
      ],
      { files: { dir: directory({ mode: 0o711 }), ...TREE } },
    );
    expect(built.facts("new")).toBe("dir 755 0:0");
    expect(built.facts("new/sub")).toBe("dir 700 0:0");
    expect(built.facts("new/file")).toBe("file 640 0:0");
    expect(built.text("deep/er/sub/deep")).toBe("deep\n");
    expect(built.facts("deep")).toBe("dir 755 0:0");
    expect(built.text("top/file")).toBe("file\n");
    expect(built.text("two/top")).toBe("top\n");
    expect(built.text("renamed")).toBe("top\n");
    expect(built.facts("run")).toBe("file 4755 0:0");
    expect(built.text("escaped")).toBe("top\n");
    expect(built.files.has("dir")).toBe(false);
  });

  test("an existing directory keeps what it is, those below it take the source's mode", async () => {
    const built = await bench.build(
      [
        "FROM busybox",
        "RUN mkdir -p /d/sub && chmod 750 /d && chmod 775 /d/sub && chown 5:6 /d /d/sub && touch /d/kept",
        "COPY dir /d",
        "COPY top /d",
        'RUN [ -e /d/kept ] && [ -e /d/top ] && [ -L /d/link ] && [ "$(readlink /d/out)" = /etc/passwd ]',
      ],
      { files: { dir: directory({ mode: 0o711 }), ...TREE } },
    );
    expect(built.facts("d")).toBe("dir 750 5:6");
    expect(built.facts("d/sub")).toMatch(/^dir 700 /);
  });

  test("a link that is named is followed, one below a directory stays a link", async () => {
    const built = await bench.build(
      ["FROM scratch", "COPY to-top abs-top /files/", "COPY to-dir /tree", "COPY dir/l* /wild/"],
      { files: TREE },
    );
    expect(built.text("files/to-top")).toBe("top\n");
    expect(built.text("files/abs-top")).toBe("top\n");
    expect(built.files.get("tree/link")).toMatchObject({ type: "symlink", target: "file" });
    expect(built.text("wild/link")).toBe("file\n");
  });

  test("links in the destination lead inside of the root, dangling ones to what is made", async () => {
    const built = await bench.build(
      [
        "FROM busybox",
        "RUN mkdir -p /real /place && ln -s /real /abs && ln -s ../real /place/rel && ln -s /made /dangling && ln -s /real/f /filelink",
        "COPY top /abs/",
        "COPY other /place/rel/other",
        "COPY top /dangling/top",
        "COPY top /filelink",
        "RUN [ -L /abs ] && [ -f /real/top ] && [ -f /real/other ] && [ -f /made/top ] && [ -L /dangling ]",
      ],
      { files: TREE },
    );
    expect(built.text("real/top")).toBe("top\n");
    expect(built.text("made/top")).toBe("top\n");
    expect(built.text("real/f")).toBe("top\n");
  });

  test("links of a stage that is copied from lead inside of that stage, absolute ones too", async () => {
    const built = await bench.build(
      [
        "FROM busybox AS source",
        "RUN mkdir -p /real/sub && echo real > /real/f && echo deep > /real/sub/deep && ln -s /real /abs && ln -s ../../../real/f /real/sub/up && ln -s /nowhere /dangling",
        "FROM scratch",
        "COPY real/f /real/f",
        "COPY --from=source /abs/f /through",
        "COPY --from=source /abs /tree/",
        "COPY --from=source /real/sub/up /up",
        "COPY --from=source /abs/s*/deep /wild/",
      ],
      { files: { "real/f": "the context's\n" } },
    );
    expect(built.text("real/f")).toBe("the context's\n");
    expect(built.text("through")).toBe("real\n");
    expect(built.text("tree/sub/deep")).toBe("deep\n");
    expect(built.files.get("tree/sub/up")).toMatchObject({ type: "symlink" });
    expect(built.text("up")).toBe("real\n");
    expect(built.text("wild/deep")).toBe("deep\n");
    const failed = await bench.fails([
      "FROM busybox AS source",
      "RUN ln -s /nowhere /dangling",
      "FROM scratch",
      "COPY --from=source /dangling /f",
    ]);
    expect(failed.message).toMatch(/Dockerfile:4.*"\/dangling".*not found/s);
  });

  test("--link knows nothing of what is there", async () => {
    const built = await bench.build(
      [
        "FROM busybox",
        "RUN mkdir /real && ln -s /real /abs && mkdir -m 1777 /sticky",
        "COPY --link top /abs/",
        "COPY --link dir /sticky/in",
        "COPY --link --chown=7:8 top /owned/by/",
        "RUN [ -d /abs ] && [ ! -L /abs ] && [ -f /abs/top ] && [ ! -e /real/top ]",
      ],
      { files: TREE },
    );
    expect(built.facts("sticky")).toBe("dir 755 0:0");
    expect(built.facts("owned/by/top")).toBe("file 644 7:8");
    expect(built.facts("abs")).toBe("dir 755 0:0");
  });

  test("--chown: names of the stage, numbers as they are; made parents too; USER has no say", async () => {
    const built = await bench.build(
      [
        "FROM busybox",
        "RUN echo 'ann:x:1001:2002::/:/bin/sh' >> /etc/passwd && echo 'club:x:3003:' >> /etc/group",
        "USER daemon",
        "COPY top /plain",
        "COPY --chown=ann top /name/f",
        "COPY --chown=ann:club top /both",
        "COPY --chown=1001 top /number",
        "COPY --chown=5:club dir /made/by/",
        "COPY --chown=:club top /group",
      ],
      { files: TREE },
    );
    expect(built.facts("plain")).toBe("file 644 0:0");
    expect(built.facts("name")).toBe("dir 755 1001:2002");
    expect(built.facts("name/f")).toBe("file 644 1001:2002");
    expect(built.facts("both")).toBe("file 644 1001:3003");
    expect(built.facts("number")).toBe("file 644 1001:1001");
    expect(built.facts("made/by")).toBe("dir 755 5:3003");
    expect(built.facts("made/by/sub")).toBe("dir 700 5:3003");
    expect(built.files.get("made/by/link")?.owner).toBe("5:3003");
    expect(built.facts("group")).toBe("file 644 0:3003");
  });

  test("an owner that the image does not know counts as root, and is named in a notice", async () => {
    const built = await bench.build(["FROM busybox", "COPY --chown=nobody-here:none top /f"], {
      files: TREE,
    });
    expect(built.facts("f")).toBe("file 644 0:0");
    const notices = built.events.flatMap((event) =>
      event.type === "notice" ? [event.message] : [],
    );
    expect(notices.join("\n")).toMatch(/--chown.*"nobody-here".*"none"/);
    expect(notices.join("\n")).toContain("Dockerfile:2");
  });

  test("--chmod: octal for all that is made, symbolic for each file's own mode", async () => {
    const built = await bench.build(
      [
        "FROM busybox",
        "COPY --chmod=4750 top /oct/al/f",
        "COPY --chmod=u=rwX,go=rX dir /sym",
        "COPY --chmod=+x top /plus",
        "COPY --chmod=g=u,o-r dir/file /copied",
        "ENV mode=600",
        "COPY --chmod=$mode dir /var-mode",
        "COPY --link --chmod=640 top /linked/f",
      ],
      { files: TREE },
    );
    expect(built.facts("oct/al")).toBe("dir 750 0:0");
    expect(built.facts("oct/al/f")).toBe("file 4750 0:0");
    expect(built.facts("sym/sub")).toBe("dir 755 0:0");
    expect(built.facts("sym/file")).toBe("file 644 0:0");
    expect(built.facts("plus")).toBe("file 755 0:0");
    expect(built.facts("copied")).toBe("file 660 0:0");
    expect(built.facts("var-mode")).toBe("dir 600 0:0");
    expect(built.facts("var-mode/file")).toBe("file 600 0:0");
    expect(built.facts("linked/f")).toBe("file 640 0:0");
  });

  test("wildcards: one element each, dot files too; one that matches nothing is no error", async () => {
    const built = await bench.build(
      [
        "FROM busybox",
        "COPY t?p ot* /w/",
        "COPY * /all/",
        "COPY */sub/d[a-f]ep /class/",
        "COPY none* top /mixed/",
        "COPY none* /nothing/",
        "COPY odd[[]1] /odd",
        "COPY **/deep /stars/",
      ],
      { files: { ...TREE, "odd[1]": "odd\n" } },
    );
    expect([...built.layers[1]!.keys()]).toEqual(["w", "w/other", "w/top"]);
    expect(built.text("all/.hidden")).toBe("hidden\n");
    expect(built.text("all/file")).toBe("file\n");
    expect(built.text("class/deep")).toBe("deep\n");
    expect(built.text("mixed/top")).toBe("top\n");
    expect(built.text("odd")).toBe("odd\n");
    expect(built.files.has("stars/deep")).toBe(false);
  });

  test("--parents keeps paths, cuts what is before the pivot, and knows **", async () => {
    const files = { ...TREE, "a/x1/c/p/e": "1", "a/x2/c/e": "2", "a/y/c/e": "3" };
    const built = await bench.build(
      [
        "FROM scratch",
        "COPY --parents dir/sub/deep top /kept/",
        "COPY --parents ./dir/./sub/deep /cut/",
        "COPY --parents a/x*/./c/**/e /merged/",
        "COPY --parents **/deep /stars/",
      ],
      { files },
    );
    expect(built.facts("kept/dir/sub")).toBe("dir 700 0:0");
    expect(built.text("kept/dir/sub/deep")).toBe("deep\n");
    expect(built.text("kept/top")).toBe("top\n");
    expect(built.text("cut/sub/deep")).toBe("deep\n");
    expect(built.text("merged/c/p/e")).toBe("1");
    expect(built.text("merged/c/e")).toBe("2");
    expect(built.text("stars/dir/sub/deep")).toBe("deep\n");
  });

  test("--exclude is relative to each directory and leaves named files alone", async () => {
    const built = await bench.build(
      [
        "FROM busybox AS source",
        "COPY dir /dir",
        "FROM scratch",
        "COPY --exclude=sub dir /one/",
        "COPY --exclude=** --exclude=!sub/deep dir /two/",
        "COPY --exclude=top top other /three/",
        "COPY --exclude=**/d* dir /four/",
        "ADD --exclude=file dir /five/",
        "COPY --from=source --exclude=file /dir /six/",
      ],
      { files: TREE },
    );
    expect(built.files.has("one/sub")).toBe(false);
    expect(built.files.has("one/file")).toBe(true);
    expect(built.files.has("two/file")).toBe(false);
    expect(built.text("two/sub/deep")).toBe("deep\n");
    expect(built.text("three/top")).toBe("top\n");
    expect(built.files.has("four/sub/deep")).toBe(false);
    expect(built.files.has("five/file")).toBe(false);
    expect(built.files.has("five/link")).toBe(true);
    expect(built.files.has("six/file")).toBe(false);
    expect(built.text("six/sub/deep")).toBe("deep\n");
  });

  test("destinations: relative to WORKDIR, with and without a slash, dots, JSON and flags' end", async () => {
    const built = await bench.build(
      [
        "FROM busybox",
        "WORKDIR /work",
        "COPY top .",
        "COPY top sub/",
        "COPY top ./renamed",
        "COPY top ../up",
        'COPY ["with space", "to here/"]',
        "COPY -- --odd /odd",
        "COPY top other /last",
        "COPY dir /dots/.",
      ],
      { files: { ...TREE, "with space": "space\n", "--odd": "odd\n" } },
    );
    for (const path of ["work/top", "work/sub/top", "work/renamed", "up"]) {
      expect(built.text(path), path).toBe("top\n");
    }
    expect(built.text("work/to here/with space")).toBe("space\n");
    expect(built.text("odd")).toBe("odd\n");
    expect(built.text("last")).toBe("other\n");
    expect(built.text("dots/file")).toBe("file\n");
  });

  test("copying over what is there: files replace files and links to nowhere", async () => {
    const built = await bench.build(
      ["FROM busybox", "COPY top /f", "COPY other /f", "COPY dir /t", "COPY again /t"],
      { files: { ...TREE, "again/link": "a file now\n", "again/sub/deep": "newer\n" } },
    );
    expect(built.text("f")).toBe("other\n");
    expect(built.files.get("t/link")).toMatchObject({ type: "file", text: "a file now\n" });
    expect(built.text("t/sub/deep")).toBe("newer\n");
    expect(built.text("t/file")).toBe("file\n");
  });

  test.each([
    ["a directory in a file's place", "COPY dir /f", /cannot copy to non-directory: \/f/],
    ["a file in a directory's place", "COPY clash /d", /cannot replace to directory \/d\/sub/],
    ["what is missing", "COPY nowhere /", /"\/nowhere": not found/],
    ["what is missing, by a path", "COPY dir/none/more /", /"\/dir\/none\/more": not found/],
    ["a directory's name for several", "COPY --parents none/x /p/", /"\/none\/x": not found/],
    ["a wrong mode", "COPY --chmod=8 top /", /--chmod/],
    ["a URL", "COPY http://127.0.0.1/x /", /source can't be a URL for COPY/],
    ["a git repository", "COPY git@example.com:x.git /", /source can't be a git ref for COPY/],
    ["a bad pattern", "COPY to[p /", /to\[p/],
  ])("refuses %s", async (_, line, message) => {
    const failed = await bench.fails(["FROM busybox", "COPY top /f", "COPY dir /d", line], {
      files: { ...TREE, "clash/sub": "a file" },
    });
    expect(failed.message).toMatch(message);
    expect(failed.message).toContain("Dockerfile:4");
    expect([65, 66]).toContain(failed.exitCode);
  });

  test("a name for an owner needs files: not on scratch", async () => {
    const failed = await bench.fails(["FROM scratch", "COPY --chown=ann top /"], { files: TREE });
    expect(failed.message).toMatch(/"ann".*passwd/);
    expect(failed.message).toContain("Dockerfile:2");
  });

  describeUnless([lacksRoot()], "of owned files", () => {
    test("the context's owners are lost, times and modes are kept, hard links stay one file", async () => {
      const built = await bench.build(
        [
          "FROM busybox AS source",
          "RUN mkdir /s && echo x > /s/a && ln /s/a /s/b && chown 5:6 /s /s/a && chmod 2750 /s/a",
          "FROM scratch",
          "COPY owned /owned",
          "COPY --from=source /s /from",
        ],
        {
          files: { owned: file("o\n", { owner: [1234, 5678], mode: 0o604, mtime: 1_400_000_000 }) },
        },
      );
      expect(built.facts("owned")).toBe("file 604 0:0");
      expect(built.files.get("owned")?.mtime).toBe(1_400_000_000);
      expect(built.facts("from/a")).toBe("file 2750 5:6");
      expect(built.facts("from")).toBe("dir 755 0:0");
      expect(built.layers[1]?.get("from/b")?.type).toBe("hardlink");
    });
  });
});
