import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { createHttpClient, type HttpClient } from "../../src/internal/http.js";

const signal = new AbortController().signal;

interface Server {
  readonly url: (path: string) => URL;
  /** Connections that were ever opened. */
  readonly opened: () => number;
}

async function serve(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<Server> {
  let opened = 0;
  const server = createServer(answer).on("connection", () => opened++);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return { url: (path) => new URL(path, `http://127.0.0.1:${port}`), opened: () => opened };
}

function client(): HttpClient {
  const made = createHttpClient({});
  onTestFinished(() => made[Symbol.asyncDispose]());
  return made;
}

test("requests one after another share a connection, whatever they are", async () => {
  const server = await serve((request, response) => {
    request.resume().on("end", () => response.end(request.method === "HEAD" ? "" : "text"));
  });
  const http = client();
  for (const method of ["GET", "HEAD", "POST", "PUT", "DELETE", "GET"] as const) {
    const response = await http.request(server.url("/"), { method, signal });
    await response.discard();
  }
  expect(server.opened()).toBe(1);
});

test("many requests at once open four connections, and all are answered", async () => {
  const server = await serve((_, response) => void sleep(5).then(() => response.end("text")));
  const http = client();
  const ask = async (number: number): Promise<string> => {
    const response = await http.request(server.url(`/${number}`), { method: "GET", signal });
    return Buffer.from(await response.bytes(10)).toString();
  };
  const answers = await Promise.all(Array.from({ length: 40 }, (_, number) => ask(number)));
  expect(new Set(answers)).toEqual(new Set(["text"]));
  expect(server.opened()).toBe(4);
});

test("the connection that asks whether a server speaks TLS is one of the four", async () => {
  const server = await serve((_, response) => void sleep(5).then(() => response.end("text")));
  const http = client();
  const secure = new URL(server.url("/").href.replace("http:", "https:"));
  await expect(http.shakeHands(secure, {}, signal)).rejects.toThrow();
  const ask = async (): Promise<void> => {
    await (await http.request(server.url("/"), { method: "GET", signal })).discard();
  };
  await Promise.all(Array.from({ length: 20 }, ask));
  expect(server.opened()).toBe(4);
});

test("bodies that are read from the same origin get through, however many are sent at once", async () => {
  const stored: number[] = [];
  const server = await serve((request, response) => {
    let size = 0;
    request.on("data", (chunk: Buffer) => (size += chunk.length));
    request.on("end", () => {
      if (request.method === "PUT") stored.push(size);
      response.end(request.method === "GET" ? Buffer.alloc(100_000) : "");
    });
  });
  const http = client();
  const copy = async (number: number): Promise<void> => {
    const open = async function* (): AsyncGenerator<Uint8Array> {
      const source = await http.request(server.url(`/${number}`), { method: "GET", signal });
      yield* source.body;
    };
    const body = { size: 100_000, open };
    const put = await http.request(server.url(`/${number}`), { method: "PUT", body, signal });
    await put.discard();
  };
  await Promise.all(Array.from({ length: 10 }, (_, number) => copy(number)));
  expect(stored).toEqual(Array.from({ length: 10 }, () => 100_000));
  expect(server.opened()).toBe(4);
});

test("waiting for a connection is not taken for a silent server, and ends with an abort", async () => {
  const server = await serve((_, response) => void sleep(300).then(() => response.end("text")));
  const http = createHttpClient({}, { answerMs: 2_000, stallMs: 2_000 });
  onTestFinished(() => http[Symbol.asyncDispose]());
  const ask = async (at: AbortSignal): Promise<void> => {
    const response = await http.request(server.url("/"), { method: "GET", signal: at });
    await response.discard();
  };
  // The last of forty waits for more than two and a half seconds before it goes out.
  const all = Promise.all(Array.from({ length: 40 }, () => ask(signal)));
  const stop = new AbortController();
  const late = ask(stop.signal);
  stop.abort(new Error("enough"));
  await expect(late).rejects.toThrow("enough");
  await all;
});

test("an answer that is left unread after an abort gives its connection back", async () => {
  const server = await serve((_, response) => void response.write("the beginning"));
  const http = client();
  for (let times = 0; times < 6; times++) {
    const stop = new AbortController();
    const response = await http.request(server.url("/"), { method: "GET", signal: stop.signal });
    expect(response.status).toBe(200);
    stop.abort(new Error("enough"));
  }
  expect(server.opened()).toBeGreaterThan(4);
});
