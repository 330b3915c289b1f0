import { connect, createServer, type Socket } from "node:net";
import type { RegistryService } from "./services.js";

/** A way to a registry on which connections are counted. */
export interface Tap extends AsyncDisposable {
  /** `127.0.0.1:<port>`: what a reference begins with. */
  readonly host: string;
  /** Connections that were ever opened. */
  opened(): number;
}

/** Hands on bytes, on a free port of loopback. */
export async function startTap({ host }: Pick<RegistryService, "host">): Promise<Tap> {
  const sockets = new Set<Socket>();
  let opened = 0;
  const server = createServer((client) => {
    opened++;
    const upstream = connect(Number(host.split(":").at(-1)), "127.0.0.1");
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from);
      from.on("error", () => to.destroy());
      from.on("close", () => to.destroy());
      from.pipe(to);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  return {
    host: `127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`,
    opened: () => opened,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
