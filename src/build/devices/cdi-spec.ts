import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf } from "../../errors.js";

/** What a device, or all of a file, changes in a container: https://github.com/cncf-tags/container-device-interface, SPEC.md. */
export interface ContainerEdits {
  readonly env: readonly string[];
  readonly deviceNodes: readonly { readonly path: string; readonly hostPath: string }[];
  readonly mounts: readonly {
    readonly hostPath: string;
    readonly containerPath: string;
    readonly readonly: boolean;
  }[];
  readonly groups: readonly number[];
  /** What the file asks for and a step cannot be given. */
  readonly left: readonly string[];
}

export interface CdiDevice {
  /** `vendor/class=name` */
  readonly name: string;
  /** Those of the file and those of the device, the device's last. */
  readonly annotations: ReadonlyMap<string, string>;
  readonly edits: readonly ContainerEdits[];
}

/** The devices of some directories, sorted by name. */
export interface CdiRegistry {
  readonly devices: readonly CdiDevice[];
  /** Files that were found and could not be used, each with why. */
  readonly unread: readonly string[];
}

const KIND = /^[A-Za-z](?:[\w.-]*[A-Za-z0-9])?\/[A-Za-z](?:[\w.-]*[A-Za-z0-9])?$/;
const NAME = /^[A-Za-z0-9](?:[\w.:-]*[A-Za-z0-9])?$/;

/**
 * Reads the files of the directories. A later directory's device takes the place of an earlier one's; of two in one
 * directory neither is used. What cannot be read is told, not thrown: it matters only to who asks for a device.
 */
export async function readCdiDirectories(directories: readonly string[]): Promise<CdiRegistry> {
  const devices = new Map<string, CdiDevice>();
  const unread: string[] = [];
  for (const directory of directories) {
    const here = new Map<string, CdiDevice>();
    const twice = new Set<string>();
    for (const name of await namesIn(directory)) {
      const path = join(directory, name);
      const found = await readSpec(path);
      if (typeof found === "string") unread.push(`${path}: ${found}`);
      else {
        for (const device of found) {
          if (here.has(device.name)) twice.add(device.name);
          here.set(device.name, device);
        }
      }
    }
    for (const name of twice) unread.push(`${directory}: ${name} is there twice`);
    for (const [name, device] of here) if (!twice.has(name)) devices.set(name, device);
  }
  return { devices: [...devices.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1)), unread };
}

async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return (await readdir(directory)).filter((name) => /\.(?:json|ya?ml)$/.test(name)).toSorted();
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return [];
    throw error;
  }
}

/** The file's devices, or why it has none. */
async function readSpec(path: string): Promise<readonly CdiDevice[] | string> {
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, "utf8"));
  } catch (error) {
    const code = errnoOf(error);
    if (code !== undefined) return code;
    return path.endsWith(".json") ? "it is not JSON" : "only JSON is read, not YAML";
  }
  const spec = record(json);
  const kind = text(spec["kind"]);
  if (!KIND.test(kind)) return `its kind "${kind}" is not vendor/class`;
  const common = readEdits(spec["containerEdits"]);
  const devices: CdiDevice[] = [];
  for (const item of list(spec["devices"])) {
    const device = record(item);
    const name = text(device["name"]);
    if (!NAME.test(name)) return `"${name}" is no device's name`;
    devices.push({
      name: `${kind}=${name}`,
      annotations: new Map([...pairs(spec["annotations"]), ...pairs(device["annotations"])]),
      edits: [common, readEdits(device["containerEdits"])],
    });
  }
  return devices;
}

function readEdits(value: unknown): ContainerEdits {
  const edits = record(value);
  const hooks = list(edits["hooks"]).map((hook) => `the hook ${text(record(hook)["path"])}`);
  const interfaces = list(edits["netDevices"]).map(
    (each) => `the network interface ${text(record(each)["hostInterfaceName"])}`,
  );
  const mounts = list(edits["mounts"]).map((each) => record(each));
  const isBind = ({ type }: Record<string, unknown>): boolean =>
    ["", "none", "bind"].includes(text(type));
  const others = mounts
    .filter((mount) => !isBind(mount))
    .map(({ containerPath }) => `the mount ${text(containerPath)}`);
  return {
    env: list(edits["env"]).map(text),
    deviceNodes: list(edits["deviceNodes"]).map((each) => {
      const { path, hostPath } = record(each);
      return { path: text(path), hostPath: text(hostPath) || text(path) };
    }),
    mounts: mounts.filter(isBind).map(({ hostPath, containerPath, options }) => ({
      hostPath: text(hostPath),
      containerPath: text(containerPath),
      readonly: list(options).includes("ro"),
    })),
    groups: list(edits["additionalGids"]).flatMap((gid) =>
      typeof gid === "number" && Number.isInteger(gid) && gid > 0 ? [gid] : [],
    ),
    left: [
      ...hooks,
      ...interfaces,
      ...others,
      ...(edits["intelRdt"] === undefined ? [] : ["Intel RDT"]),
    ],
  };
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function pairs(value: unknown): readonly (readonly [string, string])[] {
  return Object.entries(record(value)).map(([name, each]) => [name, text(each)]);
}
