import { isIP } from "node:net";
import { fail, raising, wholeText } from "../diagnostic.js";
import { quote } from "../go-values.js";
import type { Span } from "../types.js";

const PROTOCOLS: ReadonlySet<string> = new Set(["tcp", "udp", "sctp"]);
const MAX_PORT = 65_535;

/** One word of EXPOSE, taken apart. */
export interface PortSpec {
  readonly ip: string;
  readonly host: string;
  readonly container: string;
  /** As written; "tcp" when there is none. */
  readonly protocol: string;
}

/** Splits `[ip:][host:]container[/protocol]`. @throws Fault */
export function splitPort(text: string, span: Span): PortSpec {
  const parts = text.split(":");
  const last = parts.at(-1) ?? "";
  const slash = last.indexOf("/");
  const container = slash < 0 ? last : last.slice(0, slash);
  const protocol = slash < 0 ? "" : last.slice(slash + 1);
  if (container === "") fail("port", `invalid port: ${quote(text)}: no port specified`, span);
  if (protocol !== "" && !PROTOCOLS.has(protocol.toLowerCase())) {
    fail(
      "port",
      `invalid port: ${quote(text)}: invalid proto: ${protocol}`,
      span,
      "tcp, udp or sctp",
    );
  }
  return {
    ip: parts.slice(0, -2).join(":"),
    host: parts.at(-2) ?? "",
    container,
    protocol: protocol === "" ? "tcp" : protocol,
  };
}

/**
 * The ports that the expanded words of EXPOSE name, as `port/protocol`, ranges one by one. An address and a host port are
 * checked and dropped.
 * @throws DockerfileError at `span`
 */
export function parsePorts(texts: readonly string[], span?: Span): string[] {
  return raising(() => texts.flatMap((text) => parsePort(text, span ?? wholeText(text, "EXPOSE"))));
}

function parsePort(text: string, span: Span): string[] {
  const { ip, host, container, protocol } = splitPort(text, span);
  const bare = /^\[(.*)\]$/.exec(ip)?.[1] ?? ip;
  if (bare !== "" && (isIP(bare) === 0 || bare.includes("%"))) {
    fail("port", `invalid IP address: ${bare}`, span);
  }
  const ports = readRange(container);
  if (ports === undefined) {
    fail(
      "port",
      `invalid containerPort: ${container}`,
      span,
      "a port from 0 to 65535, or a range of them",
    );
  }
  if (host !== "") {
    const range = readRange(host);
    if (range === undefined) fail("port", `invalid hostPort: ${host}`, span);
    const [first, last] = ports;
    if (last - first !== range[1] - range[0] && last !== first) {
      const both = `${container} and ${host}`;
      fail("port", `invalid ranges specified for container and host Ports: ${both}`, span);
    }
  }
  const [first, last] = ports;
  const suffix = protocol.toLowerCase();
  return Array.from({ length: last - first + 1 }, (_, index) => `${first + index}/${suffix}`);
}

function readRange(text: string): readonly [first: number, last: number] | undefined {
  const dash = text.indexOf("-");
  const first = readPort(dash < 0 ? text : text.slice(0, dash));
  const last = dash < 0 ? first : readPort(text.slice(dash + 1));
  if (first === undefined || last === undefined || last < first) return undefined;
  return [first, last];
}

function readPort(text: string): number | undefined {
  if (!/^\+?[0-9]+$/.test(text)) return undefined;
  const port = Number(text);
  return port <= MAX_PORT ? port : undefined;
}
