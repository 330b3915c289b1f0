import { isIP, type TcpNetConnectOpts } from "node:net";
import { connect, type ConnectionOptions } from "node:tls";
import { type ClientCertificate, trustNobody } from "./http-certificates.js";

export interface HandshakeOptions {
  readonly client: ClientCertificate | undefined;
  /** Milliseconds for each address of the host, where it has several. */
  readonly attemptMs: number;
  readonly signal: AbortSignal;
}

/**
 * Resolves with `true` when the server at an https URL speaks TLS. Nothing is sent and no certificate is looked at, so no authority
 * need be read, which takes longer than a build's start. @throws what the network gave, or the signal's reason
 */
export function shakeHands(url: URL, options: HandshakeOptions): Promise<true> {
  const { client, attemptMs, signal } = options;
  signal.throwIfAborted();
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const to: ConnectionOptions & TcpNetConnectOpts = {
    host,
    port: url.port === "" ? 443 : Number(url.port),
    ...(isIP(host) === 0 ? { servername: host } : {}),
    secureContext: trustNobody(client),
    rejectUnauthorized: false,
    ALPNProtocols: ["http/1.1"],
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: attemptMs,
  };
  const socket = connect(to);
  return new Promise((resolve, reject) => {
    const onAbort = (): void => end(() => reject(signal.reason as Error));
    const end = (settle: () => void): void => {
      signal.removeEventListener("abort", onAbort);
      // A second error has nobody to tell.
      socket.destroy().on("error", () => undefined);
      settle();
    };
    signal.addEventListener("abort", onAbort, { once: true });
    socket
      .once("secureConnect", () => end(() => resolve(true)))
      .once("error", (error) => end(() => reject(error)));
  });
}
