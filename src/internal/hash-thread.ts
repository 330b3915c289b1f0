import { workerData } from "node:worker_threads";
import { serveHashRing } from "./hash-ring.js";
import type { HashOrder } from "./hash-threads.js";

// An entry file: starting it is what it is for. Nobody imports it.
serveHashRing((workerData as HashOrder).hashRing);
