import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A server on loopback that tells what it was asked. */
export interface UrlServer extends AsyncDisposable {
  /** `http://127.0.0.1:port` */
  readonly origin: string;
  readonly requests: { readonly line: string; readonly headers: IncomingMessage["headers"] }[];
  /** `METHOD /path` of each request, and forgets them. */
  take(): readonly string[];
}

export async function startUrlServer(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<UrlServer> {
  const requests: { line: string; headers: IncomingMessage["headers"] }[] = [];
  const server = createServer((request, response) => {
    requests.push({ line: `${request.method} ${request.url}`, headers: request.headers });
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    requests,
    take: () => requests.splice(0).map(({ line }) => line),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
