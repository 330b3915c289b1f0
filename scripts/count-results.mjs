// Prints the last line of `scripts/test`: how many tests passed, failed and were skipped.
//
//   node scripts/count-results.mjs RESULTS.json FAILED_CHECKS VITEST_STATUS
//
// A test file that cannot be loaded counts as one failure, and so does each failed check; a run that failed for
// another reason (an unhandled rejection, say) is never shown as a success.
import { readFileSync } from "node:fs";

const [file = "", checks = "0", status = "1"] = process.argv.slice(2);
const { passed, failed, skipped } = count(file);
let failures = failed + Number(checks);
if (failures === 0 && Number(status) !== 0) failures = 1;
console.log(`${passed} passed, ${failures} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
process.exitCode = failures === 0 && passed > 0 ? 0 : 1;

function count(path) {
  try {
    const results = JSON.parse(readFileSync(path, "utf8"));
    const broken = results.testResults.filter(
      (r) => r.status === "failed" && !r.assertionResults.some((a) => a.status === "failed"),
    );
    return {
      passed: results.numPassedTests,
      failed: results.numFailedTests + broken.length,
      skipped: results.numPendingTests + (results.numTodoTests ?? 0),
    };
  } catch {
    return { passed: 0, failed: 1, skipped: 0 }; // vitest ended before it wrote anything
  }
}
