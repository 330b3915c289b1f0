/** What scripts/pod.mjs needs of the tests' Pods, in one module. */
export { CONTEXT_NAMES, isContextName, podContext } from "./pod-contexts.js";
export { APP_IMAGE, loadImage } from "./pod-images.js";
export { manifestOf } from "./pod-kube.js";
export { runInPod, startPods } from "./pods.js";
export { lacksPods } from "./pods-root.js";
