import { expect, test } from "vitest";
import { digestOf, diffIdFromHex, hexOf } from "../../src/oci/digest.js";
import type { Layer } from "../../src/oci/types.js";
import { blobsUnpackedAhead, type AheadInput } from "../../src/solver/unpack-ahead.js";
import type { LayerBlob } from "../../src/worker/types.js";

const LAYERS = ["lowest", "middle", "topmost"].map((name): Layer => {
  const digest = digestOf(name);
  return {
    descriptor: { mediaType: "application/vnd.oci.image.layer.v1.tar", digest, size: 1 },
    diffId: diffIdFromHex(hexOf(digest)),
  };
});

interface Scene {
  readonly input: AheadInput;
  /** What was asked for, in order. */
  readonly log: string[];
  /** Lets a layer arrive, or fail. */
  readonly arrive: (at: number, error?: Error) => Promise<void>;
}

function nameOf(at: number): string {
  return ["lowest", "middle", "topmost"][at] ?? "";
}

/** @param present which layers the store has */
function scene(
  present: readonly number[],
  started: Promise<void> = Promise.resolve(),
  early: Readonly<Record<number, Promise<LayerBlob>>> = {},
): Scene {
  const log: string[] = [];
  const signal = new AbortController().signal;
  const settle: ((error?: Error) => void)[] = [];
  const pulls = LAYERS.map(
    ({ diffId }, at) =>
      new Promise<LayerBlob>((resolve, reject) => {
        const blob = { diffId, path: nameOf(at), compression: "none" } as const;
        settle[at] = (error) => (error === undefined ? resolve(blob) : reject(error));
        if (present.includes(at)) resolve(blob);
      }),
  );
  const worker = {
    unpackAhead: (blobs: readonly LayerBlob[], stop: AbortSignal): Promise<void> => {
      log.push(`unpack ${blobs.map(({ path }) => path).join("+")}`);
      stop.addEventListener("abort", () => log.push("stop"));
      return new Promise((resolve) => {
        stop.addEventListener("abort", () => resolve());
      });
    },
  };
  const input = {
    store: {
      stat: (digest: string) =>
        Promise.resolve(
          present.some((at) => LAYERS[at]?.descriptor.digest === digest) ? { size: 1 } : undefined,
        ),
    },
    layers: {
      blob: (layer: Layer) => pulls[LAYERS.indexOf(layer)],
      coming: (layer: Layer) => early[LAYERS.indexOf(layer)] ?? pulls[LAYERS.indexOf(layer)],
    },
    worker: async () => {
      log.push("start");
      await started;
      return worker;
    },
    signal,
  } as unknown as AheadInput;
  return {
    input,
    log,
    arrive: async (at, error) => {
      settle[at]?.(error);
      await new Promise((resolve) => setTimeout(resolve, 5));
    },
  };
}

test("each layer is unpacked while those above it still come, and the worker starts beside them", async () => {
  const { input, log, arrive } = scene([]);
  const blobs = blobsUnpackedAhead(LAYERS, input);
  expect(log).toEqual(["start"]);
  await arrive(1);
  expect(log).toEqual(["start"]);
  await arrive(0);
  expect(log).toEqual(["start", "unpack lowest", "unpack lowest+middle"]);
  await arrive(2);
  expect((await blobs).map(({ path }) => path)).toEqual(["lowest", "middle", "topmost"]);
});

test("the last one is unpacked ahead where it can be while it comes", async () => {
  const { diffId } = LAYERS[2] ?? {};
  const coming = { path: "half", size: 9 };
  const half = { diffId, path: "whole", compression: "gzip", coming } as LayerBlob;
  const { input, log, arrive } = scene([0, 1], undefined, { 2: Promise.resolve(half) });
  const blobs = blobsUnpackedAhead(LAYERS, input);
  await arrive(0);
  expect(log.at(-1)).toBe("unpack lowest+middle+whole");
  await arrive(2);
  expect((await blobs).map((blob) => blob.coming)).toEqual([undefined, undefined, undefined]);
});

test("layers that are all there are left to the root that is made of them", async () => {
  const { input, log } = scene([0, 1, 2]);
  expect(await blobsUnpackedAhead(LAYERS, input)).toHaveLength(3);
  expect(log).toEqual(["start"]);
});

test("those that lie above the last missing one are not waited for", async () => {
  const { input, log, arrive } = scene([0, 2]);
  const blobs = blobsUnpackedAhead(LAYERS, input);
  await arrive(1);
  await blobs;
  expect(log).toEqual(["start", "unpack lowest"]);
});

test("a layer that cannot be had stops what is unpacked meanwhile", async () => {
  const { input, log, arrive } = scene([]);
  const blobs = blobsUnpackedAhead(LAYERS, input);
  const failed = expect(blobs).rejects.toThrow("it is gone");
  await arrive(0);
  await arrive(2, new Error("it is gone"));
  await failed;
  await arrive(1);
  expect(log).toEqual(["start", "unpack lowest", "stop"]);
});

test("a worker that is still starting is waited for before a failure is told", async () => {
  let start = (): void => undefined;
  const started = new Promise<void>((resolve) => (start = resolve));
  const { input, arrive } = scene([], started);
  let isTold = false;
  const failed = blobsUnpackedAhead(LAYERS, input).catch(() => (isTold = true));
  await arrive(0, new Error("it is gone"));
  expect(isTold).toBe(false);
  start();
  expect(await failed).toBe(true);
});
