import { BlockList, isIP } from "node:net";

/** What decides whether a request goes through a proxy; the values of HTTP_PROXY, HTTPS_PROXY and NO_PROXY. */
export interface ProxySettings {
  readonly httpProxy?: string;
  readonly httpsProxy?: string;
  readonly noProxy?: string;
}

/** The proxy for a URL, or `undefined` for a direct connection. */
export type ProxyChooser = (url: URL) => URL | undefined;

type Matcher = (host: string, port: string) => boolean;

const DEFAULT_PORTS: Readonly<Record<string, string>> = { "http:": "80", "https:": "443" };
const SCHEMES: ReadonlySet<string> = new Set(["http:", "https:", "socks5:"]);

/**
 * Go's rules, which docker and kaniko follow (golang.org/x/net/http/httpproxy): loopback never goes through a proxy; an
 * entry of NO_PROXY is `*`, an address, a CIDR block, or a domain (with a leading dot: its subdomains only), the
 * addresses and domains with an optional port.
 * @throws Error when a proxy's URL cannot be used; the message does not repeat it
 */
export function chooseProxy(settings: ProxySettings): ProxyChooser {
  const proxies: Readonly<Record<string, URL | undefined>> = {
    "http:": parseProxy("HTTP_PROXY", settings.httpProxy),
    "https:": parseProxy("HTTPS_PROXY", settings.httpsProxy),
  };
  const matchers = (settings.noProxy ?? "")
    .split(",")
    .map((entry) => entry.trim().toLowerCase())
    .filter((entry) => entry !== "")
    .map(parseEntry);
  return (url) => {
    const proxy = proxies[url.protocol];
    if (proxy === undefined) return undefined;
    const host = bareHost(url.hostname);
    if (isLoopback(host)) return undefined;
    const port = url.port === "" ? (DEFAULT_PORTS[url.protocol] ?? "") : url.port;
    return matchers.some((matches) => matches(host, port)) ? undefined : proxy;
  };
}

/** The Proxy-Authorization header that a proxy's URL asks for. */
export function proxyAuthorization(proxy: URL): string | undefined {
  if (proxy.username === "" && proxy.password === "") return undefined;
  const pair = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  return `Basic ${Buffer.from(pair).toString("base64")}`;
}

function parseProxy(name: string, value: string | undefined): URL | undefined {
  if (value === undefined || value.trim() === "") return undefined;
  const text = value.trim();
  let url: URL;
  try {
    url = new URL(/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`);
  } catch {
    throw new Error(`the value of ${name} is not a URL`);
  }
  if (!SCHEMES.has(url.protocol)) {
    throw new Error(
      `${name} names a proxy of kind "${url.protocol}"; known are http, https, socks5`,
    );
  }
  return url;
}

function parseEntry(entry: string): Matcher {
  if (entry === "*") return () => true;
  const block = parseBlock(entry);
  if (block !== undefined) return (host) => isIP(host) !== 0 && inBlock(block, host);
  const [name, wantedPort] = splitPort(entry);
  const samePort = (port: string): boolean => wantedPort === "" || wantedPort === port;
  if (isIP(name) !== 0) {
    const single = new BlockList();
    single.addAddress(name, family(name));
    return (host, port) => isIP(host) !== 0 && inBlock(single, host) && samePort(port);
  }
  const domain = name.startsWith("*.") ? name.slice(1) : name;
  if (domain.startsWith(".")) return (host, port) => host.endsWith(domain) && samePort(port);
  return (host, port) => (host === domain || host.endsWith(`.${domain}`)) && samePort(port);
}

function parseBlock(entry: string): BlockList | undefined {
  const [address = "", bits = ""] = entry.split("/");
  if (!/^\d+$/.test(bits) || isIP(address) === 0) return undefined;
  if (Number(bits) > (isIP(address) === 4 ? 32 : 128)) return undefined;
  const block = new BlockList();
  block.addSubnet(address, Number(bits), family(address));
  return block;
}

function splitPort(entry: string): readonly [name: string, port: string] {
  const bracketed = /^\[([^\]]+)\](?::(\d+))?$/.exec(entry);
  if (bracketed !== null) return [bracketed[1] ?? "", bracketed[2] ?? ""];
  if (isIP(entry) !== 0) return [entry, ""];
  const colon = entry.lastIndexOf(":");
  return colon < 0 ? [entry, ""] : [entry.slice(0, colon), entry.slice(colon + 1)];
}

function bareHost(hostname: string): string {
  return hostname
    .toLowerCase()
    .replace(/^\[|\]$/g, "")
    .replace(/\.$/, "");
}

function isLoopback(host: string): boolean {
  if (host === "localhost") return true;
  return host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}

function inBlock(block: BlockList, host: string): boolean {
  return block.check(host, family(host));
}

function family(address: string): "ipv4" | "ipv6" {
  return isIP(address) === 6 ? "ipv6" : "ipv4";
}
