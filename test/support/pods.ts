/** Pods for the tests: a host, the image, and the two ways to run a request in a security context. */
import { runByCrun, type CrunOptions } from "./pod-crun.js";
import { runByKube } from "./pod-kube.js";
import { imageStore, loadApp } from "./pod-images.js";
import type { PodRequest } from "./pod-request.js";
import { startPodHost, type PodHost } from "./pods-host.js";
import type { Outcome } from "./tools.js";

export type PodRunner = "kube" | "crun";

/** Starts a host that has `NODE_IMAGE`, and with `app` also `APP_IMAGE` of that checkout. */
export async function startPods(options: {
  readonly checkout: string;
  readonly app: boolean;
  /** What Pods mount by hostPath, besides what lies below the host's `dir`. */
  readonly writable?: readonly string[];
}): Promise<PodHost> {
  const { checkout, app, writable = [] } = options;
  const store = await imageStore(checkout);
  const host = await startPodHost({ share: [store], writable, imageStore: store });
  try {
    if (app) await loadApp(host, checkout);
    return host;
  } catch (error) {
    await host[Symbol.asyncDispose]();
    throw error;
  }
}

/** The runner that can express the context. */
export function runnerFor({ context }: PodRequest): PodRunner {
  return context.notByKube === undefined ? "kube" : "crun";
}

/** Runs a request to its end: by `podman kube play` where that can express it. */
export function runInPod(
  host: PodHost,
  request: PodRequest,
  options: CrunOptions & { readonly runner?: PodRunner } = {},
): Promise<Outcome> {
  const { runner = runnerFor(request), ...rest } = options;
  return runner === "kube" ? runByKube(host, request, rest) : runByCrun(host, request, rest);
}
