export { httpEnvironment, valueOf } from "../internal/environment.js";
export type { Environment } from "../internal/environment.js";
