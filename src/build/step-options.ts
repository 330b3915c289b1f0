import { isIP } from "node:net";
import { TsbuildError } from "../errors.js";
import type { Entitlements, StepOptions } from "../solver/step-options.js";
import { CDI_DIRECTORIES, deviceSource } from "./devices/device-source.js";
import type { BuildOptions } from "./options.js";

/** RFC 1123 and what people use beyond it; never a blank or a line break, which would end a line of /etc/hosts. */
const HOST_NAME = /^[\w.-]{1,253}$/;
/** Bytes; the kernel's bound of a host's name. */
const MAX_HOSTNAME = 64;

/** What the options say of every RUN. @throws TsbuildError USAGE */
export function stepOptions(options: BuildOptions): StepOptions {
  const { network = "default", hostname, shmSize, ulimits = [], cdiSpecDirectories } = options;
  const allowed = entitlements(options.allow ?? [], network);
  if (hostname !== undefined && (!HOST_NAME.test(hostname) || hostname.length > MAX_HOSTNAME)) {
    throw new TsbuildError("USAGE", `"${hostname}" is no host's name`);
  }
  if (shmSize !== undefined && !(Number.isSafeInteger(shmSize) && shmSize > 0)) {
    throw new TsbuildError("USAGE", `the size of /dev/shm cannot be ${shmSize} bytes`);
  }
  for (const { name, soft, hard } of ulimits) {
    const isOrdered = hard === -1 || (soft !== -1 && soft <= hard);
    if (isOrdered && [soft, hard].every((value) => Number.isSafeInteger(value) && value >= -1)) {
      continue;
    }
    throw new TsbuildError("USAGE", `the ulimit ${name}=${soft}:${hard} makes no sense`, {
      hint: "expected NAME=SOFT[:HARD], with a soft limit that is not above the hard one; -1 is none",
    });
  }
  return {
    network,
    extraHosts: (options.addHosts ?? []).map(readHost),
    limits: ulimits,
    allowed,
    devices: deviceSource(cdiSpecDirectories ?? CDI_DIRECTORIES, allowed.devices),
    asRoot: process.getuid?.() === 0,
    ...(hostname === undefined ? {} : { hostname }),
    ...(shmSize === undefined ? {} : { shmBytes: shmSize }),
  };
}

/** buildx's `name:address` and `name=address`; an IPv6 address may stand in brackets. */
function readHost(text: string): { readonly name: string; readonly address: string } {
  const [, name = "", value = ""] = /^([^:=]+)[:=](.*)$/s.exec(text) ?? [];
  const address = /^\[(.*)\]$/.exec(value)?.[1] ?? value;
  if (HOST_NAME.test(name) && isIP(address) !== 0) return { name, address };
  const gateway = address === "host-gateway";
  throw new TsbuildError("USAGE", `cannot add the host "${text}"`, {
    hint: gateway
      ? "a step has the host's network: there is no gateway to it, 127.0.0.1 is the host"
      : "expected NAME:ADDRESS or NAME=ADDRESS with an IPv4 or IPv6 address",
  });
}

const KNOWN = ["network.host", "security.insecure", "device"] as const;

/** buildctl's `--allow`. Who asks for the host's network for the whole build allows it, as in buildx. */
function entitlements(given: readonly string[], network: StepOptions["network"]): Entitlements {
  const words = new Set<string>();
  const devices = new Map<string, string>();
  for (const text of given) {
    const [word = "", ...rest] = text.split("=");
    const value = rest.join("=");
    const isDevice = word === "device" && value !== "";
    if (!KNOWN.some((known) => known === word) || (rest.length > 0 && !isDevice)) {
      throw new TsbuildError("USAGE", `unknown entitlement ${text}`, {
        hint: `expected one of ${KNOWN.join(", ")}, device=NAME[,alias=ALIAS]`,
      });
    }
    if (!isDevice) words.add(word);
    else devices.set(...readDevice(value, text));
  }
  return {
    networkHost: words.has("network.host") || network === "host",
    securityInsecure: words.has("security.insecure"),
    devices: words.has("device") ? "all" : devices,
  };
}

function readDevice(value: string, text: string): readonly [alias: string, name: string] {
  const [name = "", ...fields] = value.split(",");
  let alias = name;
  for (const field of fields) {
    const [, key, given = ""] = /^([^=]+)=(.*)$/.exec(field) ?? [];
    if (key !== "alias") {
      throw new TsbuildError("USAGE", `entitlement ${text}: unknown field "${field}"`, {
        hint: "expected device=NAME[,alias=ALIAS]",
      });
    }
    alias = given;
  }
  return [alias, name];
}
