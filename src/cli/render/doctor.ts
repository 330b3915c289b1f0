import type { Diagnosis } from "../../index.js";

/** Columns of the names on the left. */
const LEFT = 14;

export function doctorJson(found: Diagnosis): string {
  return `${JSON.stringify(found, null, 2)}\n`;
}

export function doctorText(found: Diagnosis): string {
  const { driver, idMap, layers, limits, refused, podSpec } = found;
  const lines = [
    driver === undefined
      ? row("driver", "none: RUN cannot work here; COPY, ADD and metadata can")
      : row("driver", idMap === undefined ? driver : `${driver}, ids ${idMap}`),
    ...(layers === undefined ? [] : [row("layers", layersText(layers))]),
    ...limits.map((limit) => row("", limit)),
    ...evidence(found),
  ];
  for (const [at, one] of refused.entries()) {
    lines.push(row(at === 0 ? "refused" : "", `${one.driver}: ${one.because}`));
    lines.push(row("", `  needs ${one.allowedBy}`));
  }
  if (podSpec !== undefined) lines.push(row("Pod spec", `better with ${podSpec}`));
  return `${lines.join("\n")}\n`;
}

function layersText(layers: NonNullable<Diagnosis["layers"]>): string {
  return layers.kind === "mounted"
    ? "mounted as they are, nothing is unpacked"
    : `unpacked: ${layers.because}`;
}

function evidence({ store, facts }: Diagnosis): readonly string[] {
  const { capabilities, confinement, sysctls } = facts;
  const settings = Object.entries(sysctls).map(([name, value]) => `${name}=${value}`);
  return [
    row("store", `${store}, on ${facts.filesystem}`),
    row("user", `uid ${facts.uid}, gid ${facts.gid}`),
    row("capabilities", capabilities.length === 0 ? "none" : capabilities.join(" ")),
    row("seccomp", facts.seccomp),
    row("no_new_privs", facts.noNewPrivileges ? "yes" : "no"),
    row("confined by", confinement === "" ? "no security module" : confinement),
    row("uid map", facts.uidMap),
    row("gid map", facts.gidMap),
    row("/proc", facts.hidesProc ? "parts are covered: no fresh one in a namespace" : "whole"),
    row("kernel", [facts.kernel, ...settings].join(" ")),
  ];
}

function row(name: string, text: string): string {
  return `${name.padEnd(LEFT)}${text}`.trimEnd();
}
