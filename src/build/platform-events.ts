import type { StepId } from "../solver/events.js";
import type { Emit } from "../solver/types.js";

type Event = Parameters<Emit>[0];

/** An event of one platform's build: its steps get numbers of their own, and its stages the platform's name. */
export function withPlatform(event: Event, platform: string, at: number): Event {
  const renumber = (id: StepId): StepId => {
    const [stage = "0", step = "0"] = id.split(".");
    return `${at * STAGES + Number(stage)}.${Number(step)}`;
  };
  if (event.type === "plan") {
    const steps = event.steps.map((step) => ({
      ...step,
      id: renumber(step.id),
      stage: `${platform} ${step.stage}`,
    }));
    return { ...event, steps };
  }
  if (!("step" in event)) return event;
  const step = renumber(event.step);
  return event.type === "step-start"
    ? { ...event, step, stage: `${platform} ${event.stage}` }
    : { ...event, step };
}

/** More stages than a Dockerfile has. */
const STAGES = 10_000;
