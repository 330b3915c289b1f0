import { createServer, type IncomingMessage, request as httpRequest } from "node:http";
import { connect, type Socket } from "node:net";

export interface HttpProxyOptions {
  /** `user:password` that clients must show. */
  readonly credential?: string;
  /** Where a host that does not exist leads: `registry.example:80` -> a port of loopback. */
  readonly hosts: Readonly<Record<string, number>>;
}

export interface HttpProxy extends AsyncDisposable {
  readonly port: number;
  /** `CONNECT host:port` and `GET http://host/path`, in order. */
  readonly seen: string[];
}

/** A forward proxy on loopback: tunnels (CONNECT) and requests in absolute form. */
export async function startHttpProxy(options: HttpProxyOptions): Promise<HttpProxy> {
  const seen: string[] = [];
  const sockets = new Set<Socket>();
  const isAllowed = (request: IncomingMessage): boolean => {
    if (options.credential === undefined) return true;
    const wanted = Buffer.from(options.credential).toString("base64");
    return request.headers["proxy-authorization"] === `Basic ${wanted}`;
  };
  const server = createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    if (!isAllowed(request)) return void response.writeHead(407).end();
    const url = URL.canParse(request.url ?? "") ? new URL(request.url ?? "") : undefined;
    const port = url && options.hosts[`${url.hostname}:${url.port === "" ? "80" : url.port}`];
    if (url === undefined || port === undefined) return void response.writeHead(502).end();
    const { "proxy-authorization": _, "proxy-connection": __, ...headers } = request.headers;
    const forward = httpRequest(
      {
        host: "127.0.0.1",
        port,
        path: url.pathname + url.search,
        method: request.method,
        headers: { ...headers, host: url.host },
      },
      (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      },
    );
    forward.on("error", () => response.destroy());
    request.pipe(forward);
  });
  server.on("connect", (request: IncomingMessage, client: Socket, head: Buffer) => {
    seen.push(`CONNECT ${request.url}`);
    client.on("error", () => {});
    if (!isAllowed(request)) {
      client.end("HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n");
      return;
    }
    const port = options.hosts[request.url ?? ""];
    if (port === undefined) {
      client.end("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n");
      return;
    }
    const upstream = connect(port, "127.0.0.1", () => {
      client.write("HTTP/1.1 200 Connection Established\r\n\r\n");
      upstream.write(head);
      upstream.pipe(client);
      client.pipe(upstream);
    });
    sockets.add(upstream);
    upstream.on("error", () => client.destroy());
    upstream.on("close", () => client.destroy());
    client.on("close", () => upstream.destroy());
  });
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    seen,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
