import type { DriverName } from "../../worker/types.js";

/** Whether layers of steps that ran with the driver may lack something, or belong to another owner. */
export function isLossy(driver: DriverName): boolean {
  return driver === "proot" || driver.startsWith("single-id");
}
