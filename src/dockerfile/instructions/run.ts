import { readCsv } from "../csv.js";
import { fail, type Problems } from "../diagnostic.js";
import { Flags, present } from "../flags.js";
import { type Fragment, cut, spanOf } from "../fragment.js";
import { parseBool, quote } from "../go-values.js";
import type { Statement } from "../statement.js";
import { closest } from "../suggest.js";
import type { DeviceFlag, Flag, Run } from "../types.js";
import { common, readCommand } from "./base.js";
import { readMount } from "./mount.js";

const NETWORKS = ["default", "none", "host"] as const;
const SECURITY = ["sandbox", "insecure"] as const;

export function readRun(statement: Statement, problems: Problems): Run {
  const known = { mount: "list", network: "string", security: "string", device: "list" } as const;
  const flags = new Flags(statement, known, problems);
  const mounts = flags
    .fragments("mount")
    .map(({ value, flag }) => problems.attempt(() => readMount(value, flag.span, problems)));
  const devices = flags
    .fragments("device")
    .map(({ value, flag }) => problems.attempt(() => readDevice(value, flag.span)));
  const invalidNetwork = (value: string): string => `invalid network mode ${quote(value)}`;
  const invalidSecurity = (value: string): string => `security ${quote(value)} is not valid`;
  return {
    ...common("RUN", statement),
    command: readCommand(statement.rest),
    heredocs: statement.heredocs,
    mounts: mounts.filter((mount) => mount !== undefined),
    devices: devices.filter((device) => device !== undefined),
    ...present({
      network: choice(flags.text("network"), NETWORKS, invalidNetwork, problems),
      security: choice(flags.text("security"), SECURITY, invalidSecurity, problems),
    }),
  };
}

function choice<T extends string>(
  flag: Flag<string> | undefined,
  options: readonly T[],
  message: (value: string) => string,
  problems: Problems,
): Flag<T> | undefined {
  if (flag === undefined) return undefined;
  const value = options.find((option) => option === flag.value);
  if (value !== undefined) return { value, span: flag.span };
  const match = closest(flag.value, options);
  const hint = match === undefined ? `one of ${options.join(", ")}` : `did you mean ${match}?`;
  problems.error("flag", message(flag.value), flag.span, hint);
  return undefined;
}

/** `name[,required]`, or with keys: `name=…,required=true`. @throws Fault */
function readDevice(list: Fragment, span: DeviceFlag["span"]): DeviceFlag {
  let name = "";
  let required = false;
  for (const field of readCsv(list, "devices")) {
    const equals = field.text.indexOf("=");
    const key = (equals < 0 ? field.text : field.text.slice(0, equals)).toLowerCase();
    const value = equals < 0 ? undefined : cut(field, equals + 1).text;
    if (key === "required") {
      const parsed = value === undefined ? true : parseBool(value);
      if (parsed === undefined) {
        fail("device", `invalid value for required: ${value ?? ""}`, spanOf(field));
      }
      required = parsed;
    } else if (key === "name" && value !== undefined) {
      if (name !== "") fail("device", `device name already set to ${name}`, spanOf(field));
      name = value;
    } else if (name === "") name = field.text;
    else if (value === undefined) {
      fail("device", `invalid field '${field.text}' must be a key=value pair`, spanOf(field));
    } else fail("device", `unexpected key '${key}' in '${field.text}'`, spanOf(field));
  }
  return { value: name, span, required };
}
