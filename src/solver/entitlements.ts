import { DockerfileError } from "../dockerfile/index.js";
import type { Run, Span } from "../dockerfile/types.js";
import { TsbuildError } from "../errors.js";
import type { StepDevices, StepOptions } from "./step-options.js";
import type { Tools } from "./types.js";

/** What a RUN's flags ask for beyond a step's own rights, all of it granted. */
export interface StepRights {
  readonly network: "host" | "none";
  readonly insecure: boolean;
  readonly devices: StepDevices;
}

const NO_DEVICES: StepDevices = { env: [], mounts: [], groups: [], notices: [] };

/**
 * What the RUN asks for, as far as the user allows it.
 * @throws DockerfileError for what is not allowed, with the place of the flag; so before the first step runs
 */
export async function rightsOf(run: Run, { options }: Pick<Tools, "options">): Promise<StepRights> {
  const { step } = options;
  const insecure = run.security?.value === "insecure";
  const wanted = run.network?.value ?? "default";
  if (run.network?.value === "host" && !step.allowed.networkHost) {
    throw refused("network.host", run.network.span);
  }
  if (run.security !== undefined && insecure && !step.allowed.securityInsecure) {
    throw refused("security.insecure", run.security.span);
  }
  // The default is the host's network as well: there is no other one without a daemon.
  const network = (wanted === "default" ? step.network : wanted) === "none" ? "none" : "host";
  return { network, insecure, devices: await devicesOf(run, step) };
}

async function devicesOf(run: Run, { devices }: StepOptions): Promise<StepDevices> {
  const [first] = run.devices;
  if (first === undefined) return NO_DEVICES;
  try {
    return await devices(run.devices.map(({ value, required }) => ({ name: value, required })));
  } catch (error) {
    if (!(error instanceof TsbuildError) || error.code !== "DOCKERFILE_INVALID") throw error;
    const { message, hint } = error;
    const span = run.devices.find(({ value }) => message.includes(`"${value}"`))?.span;
    throw problem(message, hint ?? "", span ?? first.span);
  }
}

function refused(entitlement: string, span: Span): DockerfileError {
  return problem(`${entitlement} is not allowed`, `allow it with --allow=${entitlement}`, span);
}

function problem(message: string, hint: string, span: Span): DockerfileError {
  return new DockerfileError([{ severity: "error", code: "entitlement", message, hint, span }]);
}
