/** Reads YAML by Debian's reader of it: nothing that tsbuild installs reads YAML. */
import { findTool, run } from "./tools.js";

export type Json = string | number | boolean | null | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

const PROGRAM = `import json, re, sys, yaml
class Reader(yaml.SafeLoader): pass
# YAML 1.2 and Kubernetes: "on" is a word.
Reader.yaml_implicit_resolvers = {k: [r for r in v if r[0] != "tag:yaml.org,2002:bool"] for k, v in Reader.yaml_implicit_resolvers.items()}
Reader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$"), list("tf"))
json.dump(list(yaml.load_all(sys.stdin, Reader)), sys.stdout)
`;

/** The first is the user's own, which need not be the one that Debian's packages are for. */
const READERS = ["python3", "/usr/bin/python3"];

/** Why no YAML can be read here; `undefined` when it can. */
export async function lacksYaml(): Promise<string | undefined> {
  return (await findReader()) === undefined ? "python3-yaml is not installed" : undefined;
}

async function findReader(): Promise<string | undefined> {
  for (const name of READERS) {
    if (findTool(name) === undefined) continue;
    const { code } = await run(name, ["-c", "import yaml"]);
    if (code === 0) return name;
  }
  return undefined;
}

/** The documents of a YAML stream. */
export async function readYaml(text: string): Promise<readonly JsonObject[]> {
  const reader = await findReader();
  if (reader === undefined) throw new Error("python3-yaml is not installed");
  const { code, stdout, stderr } = await run(reader, ["-c", PROGRAM], { input: text });
  if (code !== 0) throw new Error(`not YAML: ${stderr}`);
  return JSON.parse(stdout) as readonly JsonObject[];
}
