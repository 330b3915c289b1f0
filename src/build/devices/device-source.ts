import { TsbuildError } from "../../errors.js";
import type {
  DeviceRequest,
  DeviceSource,
  Entitlements,
  StepDevices,
} from "../../solver/step-options.js";
import { readCdiDirectories, type CdiDevice, type CdiRegistry } from "./cdi-spec.js";

/** Where container runtimes look. */
export const CDI_DIRECTORIES: readonly string[] = ["/etc/cdi", "/var/run/cdi"];
const CLASS = "org.mobyproject.buildkit.device.class";
const AUTO_ALLOW = "org.mobyproject.buildkit.device.autoallow";
const TRUE: ReadonlySet<string> = new Set(["1", "t", "T", "true", "TRUE", "True"]);

/** Devices by their CDI names, read when a step first asks for one. */
export function deviceSource(
  directories: readonly string[],
  granted: Entitlements["devices"],
): DeviceSource {
  let reading: Promise<CdiRegistry> | undefined;
  return async (requests) => {
    const registry = await (reading ??= readCdiDirectories(directories));
    const chosen = new Map<string, CdiDevice>();
    const notices: string[] = [];
    for (const request of requests) {
      const found = allowed(request, registry, granted, directories);
      if (found.length === 0) notices.push(`optional device "${request.name}" is not registered`);
      for (const device of found) chosen.set(device.name, device);
    }
    return bring([...chosen.values()], notices);
  };
}

/** As BuildKit decides it (solver/llbsolver/vertex.go): an alias stands for its device, and one by its own name needs a grant. */
function allowed(
  { name, required }: DeviceRequest,
  registry: CdiRegistry,
  granted: Entitlements["devices"],
  directories: readonly string[],
): readonly CdiDevice[] {
  const alias = granted === "all" ? undefined : granted.get(name);
  const isAlias = alias !== undefined && alias !== name;
  const found = find(isAlias ? alias : name, registry);
  if (found.length === 0 && required) {
    const others = registry.unread.map((line) => `; not used: ${line}`).join("");
    throw new TsbuildError("DOCKERFILE_INVALID", `required device "${name}" is not registered`, {
      hint: `devices are described by CDI files in ${directories.join(" and ")}${others}`,
    });
  }
  if (granted === "all" || isAlias) return found;
  const grants = new Set([...granted.values()].flatMap((each) => find(each, registry)));
  const forbidden = found.find((device) => !grants.has(device) && !isAutoAllowed(device));
  if (forbidden === undefined) return found;
  throw new TsbuildError(
    "DOCKERFILE_INVALID",
    `device "${forbidden.name}" is requested by the build but not allowed`,
    { hint: `allow it with --allow=device=${forbidden.name}, or all of them with --allow=device` },
  );
}

function isAutoAllowed({ annotations }: CdiDevice): boolean {
  return TRUE.has(annotations.get(AUTO_ALLOW) ?? "");
}

/** `vendor/class` alone is its first device, `vendor/class=*` all of them; other words are a class that annotations give. */
function find(wanted: string, { devices }: CdiRegistry): readonly CdiDevice[] {
  const [kind = "", ...rest] = wanted.split("=");
  const name = rest.join("=");
  const ofKind = devices.filter((device) => device.name.startsWith(`${kind}=`));
  const byName = !/^[^/]+\/[^/]/.test(kind)
    ? []
    : name === ""
      ? ofKind.slice(0, 1)
      : name === "*"
        ? ofKind
        : ofKind.filter((device) => device.name === wanted);
  if (byName.length > 0) return byName;
  return devices.filter(({ annotations }) => annotations.get(CLASS) === wanted);
}

function bring(devices: readonly CdiDevice[], notices: readonly string[]): StepDevices {
  // A file's own edits come once, however many of its devices are asked for.
  const edits = [...new Set(devices.flatMap((device) => device.edits))];
  const left = devices.flatMap(({ name, edits: own }) =>
    own.flatMap((each) => each.left.map((what) => `device "${name}": ${what} is left out`)),
  );
  return {
    env: edits.flatMap((each) => each.env.map(splitPair)),
    mounts: edits.flatMap(({ deviceNodes, mounts }) => [
      ...deviceNodes.map(({ path, hostPath }) => ({
        source: hostPath,
        target: path,
        readonly: false,
      })),
      ...mounts.map(({ hostPath, containerPath, readonly }) => ({
        source: hostPath,
        target: containerPath,
        readonly,
      })),
    ]),
    groups: edits.flatMap((each) => each.groups),
    notices: [...notices, ...left],
  };
}

function splitPair(pair: string): readonly [string, string] {
  const equals = pair.indexOf("=");
  return equals < 0 ? [pair, ""] : [pair.slice(0, equals), pair.slice(equals + 1)];
}
