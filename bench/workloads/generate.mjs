// The contexts and Dockerfiles of W1 to W7; see bench/README.md for what each measures. `short` makes them small enough
// for a test, and their steps such that busybox alone can run them.
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  mkdirSync,
  openSync,
  closeSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { seeded, sourceText } from "./random.mjs";

const MTIME = 1_700_000_000;
const MIB = 1 << 20;

/** Writes the context of the workload into `dir`, which is empty; a Dockerfile is not among it. */
export function writeContext(name, dir, { short = false } = {}) {
  mkdirSync(dir, { recursive: true });
  CONTEXTS[name]?.(dir, short);
  settle(dir);
}

/** The Dockerfile's text, its bases at `from`, as `127.0.0.1:5000/library`. */
export function dockerfileOf(name, from, { short = false } = {}) {
  return DOCKERFILES[name](from, short);
}

/** Changes what W9 changes. */
export function changeOneSource(dir, round) {
  put(join(dir, "src/m42.js"), changedSource(round));
}

/** What the source file holds then. */
export function changedSource(round) {
  return `exports.v42 = 42; // round ${round}\n`;
}

/** How many `RUN` W2 has. */
export const W2_STEPS = 20;

/** What the shell does in the i-th of them, in the directories `srv` and `etc` of `root`. */
export function stepCommand(i, root = "") {
  return `mkdir -p ${root}/srv/step${i} && for j in 1 2 3; do echo "step ${i} file $j" > ${root}/srv/step${i}/f$j; done && echo ${i} >> ${root}/etc/steps`;
}

const CONTEXTS = {
  W3: manyFiles,
  W4: (dir, short) => writeMixed(join(dir, "data"), short ? 1 : 128),
  W5: twoWorks,
  W6: server,
  W7: nodeApp,
};

const DOCKERFILES = {
  W1: (from) =>
    `FROM ${from}/busybox:latest\nRUN echo hello > /hello.txt\nENV A=1 B=two\nCMD ["cat", "/hello.txt"]\n`,
  W2: (from) => {
    const steps = Array.from({ length: W2_STEPS }, (_, i) => `RUN ${stepCommand(i)}\n`);
    return `FROM ${from}/debian:full\n${steps.join("")}CMD ["cat", "/etc/steps"]\n`;
  },
  W3: (from) =>
    `FROM ${from}/debian:bookworm-slim\nWORKDIR /app\nCOPY ctx/ /app/\nCMD ["ls", "/app"]\n`,
  W4: (from) => `FROM ${from}/debian:bookworm-slim\nCOPY data/ /data/\nCMD ["ls", "/data"]\n`,
  W5: (from, short) => {
    const [file, program] = short ? ["sh", "sh"] : ["py", "python3"];
    const stages = ["a", "b"].map(
      (name) =>
        `FROM ${from}/debian:full AS ${name}\nCOPY work_${name}.${file} /work\nRUN mkdir -p /out && ${program} /work\n`,
    );
    return `${stages.join("")}FROM ${from}/busybox:latest\nCOPY --from=a /out/ /out/\nCOPY --from=b /out/ /out/\nCMD ["ls", "/out"]\n`;
  },
  W6: (from) =>
    `FROM ${from}/debian:full\nLABEL org.example.name=w6\nENV PORT=8080\nCOPY server /usr/local/bin/server\nEXPOSE 8080\nUSER 1000:1000\nENTRYPOINT ["/usr/local/bin/server"]\n`,
  W7: (from, short) => `FROM ${from}/node:20 AS build
WORKDIR /app
COPY package*.json ./
COPY vendor/node_modules.tar.gz /tmp/
RUN tar ${short ? "xzf" : "xf"} /tmp/node_modules.tar.gz -C /app && rm /tmp/node_modules.tar.gz
COPY build.* ./
COPY src ./src
RUN ${short ? "sh build.sh" : "node build.js"}

FROM ${from}/node:20
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY package.json ./
USER nobody
CMD ["node", "dist/bundle.js"]
`,
};

/** 50,000 files in 5,000 directories; a hundredth of that for a test. */
function manyFiles(dir, short) {
  const random = seeded(3);
  const texts = Array.from({ length: 20 }, () => sourceText(random, 65_536));
  const below = ["lib", "dist", "src/util", "node_modules/dep"];
  for (let d = 0; d < (short ? 50 : 5_000); d++) {
    const top = `ctx/node_modules/pkg-${String(d - (d % 5)).padStart(4, "0")}`;
    const folder = d % 5 === 0 ? top : `${top}/${below[(d % 5) - 1]}`;
    mkdirSync(join(dir, folder), { recursive: true });
    for (let f = 0; f < 10; f++) {
      const size = Math.trunc(Math.min(60_000, Math.max(60, random.lognormal(8, 0.9))));
      const noise = f === 0 && random.unit() < 0.1;
      const start = random.below(5_000);
      const data = noise ? random.bytes(size) : random.pick(texts).subarray(start, start + size);
      const suffix = ["js", "js", "d.ts", "map", "md"][f % 5];
      const name = f === 0 ? "package.json" : `file${f}.${suffix}`;
      put(join(dir, folder, name), data, f === 9 ? 0o755 : 0o644);
    }
  }
}

/** Eight files of `mebibytes` each, every other one of noise. */
export function writeMixed(dir, mebibytes) {
  const random = seeded(4);
  const texts = Array.from({ length: 16 }, () => sourceText(random, MIB));
  mkdirSync(dir, { recursive: true });
  for (let i = 0; i < 8; i++) {
    const file = openSync(join(dir, `big${i}.bin`), "w", 0o644);
    for (let k = 0; k < mebibytes; k++) {
      writeSync(file, i % 2 === 1 ? random.bytes(MIB) : texts[(k * 7 + i) % 16]);
    }
    closeSync(file);
  }
}

function twoWorks(dir, short) {
  for (const name of ["a", "b"]) {
    if (short) put(join(dir, `work_${name}.sh`), `echo ${name} > /out/${name}\n`);
    else {
      put(
        join(dir, `work_${name}.py`),
        `import hashlib\nh = b'${name}'\nfor i in range(9000000): h = hashlib.md5(h).digest()\nopen('/out/${name}', 'w').write(h.hex() * 1000)\n`,
      );
    }
  }
}

function server(dir, short) {
  const random = seeded(6);
  const halves = () => [random.bytes(MIB / 2), sourceText(random, MIB / 2)];
  const length = short ? 1 : 10;
  put(join(dir, "server"), Buffer.concat(Array.from({ length }, halves).flat()), 0o755);
}

const BUILD_JS = `const fs = require('fs'), path = require('path'), crypto = require('crypto');
fs.mkdirSync('dist', { recursive: true });
let all = '';
for (const d of fs.readdirSync('node_modules').sort()) all += '// ' + d + '=' + require('./node_modules/' + d) + '\\n';
for (const f of fs.readdirSync('src').sort()) all += fs.readFileSync(path.join('src', f), 'utf8');
let hash = all;
for (let i = 0; i < 300; i++) hash = crypto.createHash('sha256').update(hash + all.slice(0, 100000)).digest('hex');
fs.writeFileSync('dist/bundle.js', all + '\\nexports.hash = "' + hash + '";\\n');
for (let i = 0; i < 50; i++) fs.writeFileSync('dist/chunk' + i + '.js', 'module.exports=' + JSON.stringify(all.slice(i * 1000, i * 1000 + 20000)));
console.log('built', hash);
`;

const BUILD_SH = `set -e
mkdir -p dist
cat src/*.js > dist/bundle.js
ls node_modules | wc -l > dist/modules
`;

function nodeApp(dir, short) {
  const random = seeded(77);
  const texts = Array.from({ length: 10 }, () => sourceText(random, 65_536));
  const modules = join(dir, "vendor", "node_modules");
  for (let i = 0; i < (short ? 20 : 500); i++) {
    const name = `p${String(i).padStart(3, "0")}`;
    const manifest = { name, version: `1.0.${i}`, main: "index.js" };
    put(join(modules, name, "package.json"), `${JSON.stringify(manifest)}\n`);
    put(join(modules, name, "index.js"), `module.exports = ${i};\n`);
    for (let f = 0; f < 18; f++) {
      const size = Math.trunc(Math.min(50_000, Math.max(60, random.lognormal(8, 1))));
      const start = random.below(5_000);
      put(join(modules, name, "lib", `f${f}.js`), random.pick(texts).subarray(start, start + size));
    }
  }
  settle(modules);
  const archive = join(dir, "vendor/node_modules.tar.gz");
  const owner = ["--owner=0", "--group=0", "--numeric-owner", "--sort=name"];
  const tar = spawnSync("tar", [
    "-C",
    dirname(modules),
    "-I",
    "gzip -6n",
    ...owner,
    "-cf",
    archive,
    "node_modules",
  ]);
  if (tar.status !== 0) throw new Error(`tar: ${tar.stderr.toString()}`);
  rmSync(modules, { recursive: true });
  put(
    join(dir, "package.json"),
    '{"name":"app","version":"1.0.0","scripts":{"build":"node build.js"}}\n',
  );
  put(join(dir, "package-lock.json"), sourceText(seeded(78), 200_000));
  for (let i = 0; i < (short ? 50 : 100); i++) {
    put(
      join(dir, "src", `m${i}.js`),
      `exports.v${i} = ${i};\n/*${sourceText(seeded(100 + i), 8_000).toString()}*/\n`,
    );
  }
  put(join(dir, short ? "build.sh" : "build.js"), short ? BUILD_SH : BUILD_JS);
}

function put(path, data, mode = 0o644) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, data);
  chmodSync(path, mode);
}

/** One time for every file, so that no tool gains by an mtime. */
function settle(dir) {
  for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
    utimesSync(join(entry.parentPath, entry.name), MTIME, MTIME);
  }
  utimesSync(dir, MTIME, MTIME);
}
