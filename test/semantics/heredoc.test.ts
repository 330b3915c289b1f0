import { expect, test } from "vitest";
import { describeUnless } from "../support/tools-suite.js";
import { LACKS, useBench } from "./support.js";

describeUnless(LACKS, "heredocs", () => {
  const bench = useBench();

  test("of COPY: names, mode, expansion, and none of it with a quote", async () => {
    const built = await bench.build(
      [
        "FROM busybox",
        "ENV name=value",
        "COPY <<first.txt <<'second' <<th\"ird\" /d/",
        "one $name ${name:-x} \\$name \\\\ \"quoted\" 'single'",
        "first.txt",
        "two $name",
        "second",
        "three $name",
        "third",
        "COPY <<EOF plain.txt /m/",
        "mixed",
        "EOF",
        "ADD --chmod=755 --chown=1:2 <<EOF /script",
        "#!/bin/sh",
        "# FROM here on this is text",
        "RUN false \\",
        "EOF",
        "COPY <<-EOF /tabs",
        "\t\ttext\tkept",
        "\tEOF",
        'RUN [ "$(stat -c %a:%u /d/second)" = 644:0 ]',
      ],
      { files: { "plain.txt": "plain\n" } },
    );
    expect(built.text("d/first.txt")).toBe("one value value $name \\ \"quoted\" 'single'\n");
    expect(built.text("d/second")).toBe("two $name\n");
    expect(built.text("d/third")).toBe("three $name\n");
    expect(built.text("m/EOF")).toBe("mixed\n");
    expect(built.text("m/plain.txt")).toBe("plain\n");
    expect(built.facts("script")).toBe("file 755 1:2");
    // A backslash before the line's end is taken away; the line's end stays.
    expect(built.text("script")).toBe("#!/bin/sh\n# FROM here on this is text\nRUN false \n");
    expect(built.text("tabs")).toBe("text\tkept\n");
  });

  test("are dated like everything else that a build makes", async () => {
    const before = Math.floor(Date.now() / 1000) - 1; // a filesystem's clock ticks seldom
    const built = await bench.build(["FROM scratch", "COPY <<a /a", "x", "a"]);
    expect(built.files.get("a")?.mtime).toBeGreaterThanOrEqual(before);
  });

  test("of RUN: a script for the shell, not expanded by the builder", async () => {
    const built = await bench.build([
      "FROM busybox",
      "ARG word=outer",
      "RUN <<EOF",
      "word=inner",
      "echo $word > /one",
      "# a comment",
      '  echo "and  $0" >> /one',
      "EOF",
      "RUN <<'EOF' cat > /two",
      "$word",
      "EOF",
      "RUN cat <<EOF > /three",
      "$word",
      "EOF",
      "RUN cat - /dev/fd/3 <<A <<B 3<<C > /four",
      "a",
      "A",
      "b",
      "B",
      "c",
      "C",
      "RUN <<-EOF",
      "\techo tabs > /five",
      "\tEOF",
    ]);
    expect(built.text("one")).toBe("inner\nand  /bin/sh\n");
    expect(built.text("two")).toBe("$word\n");
    expect(built.text("three")).toBe("outer\n");
    expect(built.text("four")).toBe("b\nc\n");
    expect(built.text("five")).toBe("tabs\n");
  });

  test("of RUN with a first line #! run by what it names; the file is gone afterwards", async () => {
    const built = await bench.build([
      "FROM busybox",
      "RUN <<EOF",
      "#!/usr/bin/awk -f",
      'BEGIN { print "awk" > "/awk" }',
      "EOF",
      "RUN <<-NAMED",
      "\t#!/bin/sh -e",
      "\techo $0 > /name",
      "\tNAMED",
      "RUN [ ! -e /dev/pipes ]",
    ]);
    expect(built.text("awk")).toBe("awk\n");
    expect(built.text("name")).toBe("/dev/pipes/NAMED\n");
    expect([...built.layers[1]!.keys()]).toEqual(["awk"]);
  });

  test("a lone heredoc goes to whatever SHELL says", async () => {
    const built = await bench.build([
      "FROM busybox",
      'SHELL ["/usr/bin/awk"]',
      "RUN <<EOF",
      'BEGIN { print "by awk" > "/made" }',
      "EOF",
    ]);
    expect(built.text("made")).toBe("by awk\n");
  });

  test("a script that fails stops the build where it is written, with the code of its last command", async () => {
    const failed = await bench.fails([
      "FROM busybox",
      "RUN <<EOF",
      "false",
      "echo went on",
      "exit 9",
      "EOF",
    ]);
    expect(failed.exitCode).toBe(9);
    expect(failed.message).toContain("Dockerfile:2");
    expect(failed.output).toContain("went on");
  });

  test("a name that is a path leads nowhere but into the destination", async () => {
    const built = await bench.build([
      "FROM busybox",
      "COPY <<../../up <<x/../inside /d/",
      "up",
      "../../up",
      "inside",
      "x/../inside",
    ]);
    expect([...(built.layers[1]?.keys() ?? [])].toSorted()).toEqual(["d", "d/inside", "d/up"]);
    const failed = await bench.fails(["FROM busybox", "COPY <<x/y /d/", "1", "x/y"]);
    expect(failed.message).toMatch(/Dockerfile:2.*heredoc <<x\/y/);
  });

  test("one that does not end is an error", async () => {
    const failed = await bench.fails(["FROM busybox", "RUN <<EOF", "echo"]);
    expect(failed.message).toMatch(/unterminated heredoc/);
    expect(failed.message).toContain("Dockerfile:2");
  });
});
