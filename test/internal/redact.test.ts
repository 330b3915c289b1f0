import { expect, test } from "vitest";
import { redactText, redactUrl } from "../../src/internal/redact.js";

test("a URL loses its user, its password and the values of unknown parameters", () => {
  expect(
    redactUrl("https://joe:hunter2@host:5000/v2/?digest=sha256:ab&X-Amz-Signature=abc#x"),
  ).toBe("https://host:5000/v2/?digest=sha256%3Aab&X-Amz-Signature=***");
  expect(redactUrl(new URL("https://token@host/"))).toBe("https://host/");
  expect(redactUrl("not a url https://u:p@h/ here")).toBe("not a url https://h/ here");
});

test.each([
  ["GET https://joe:hunter2@host/x failed", "GET https://host/x failed"],
  ["sent Authorization: Bearer eyJhbGciOi.J9", "sent Authorization: Bearer ***"],
  ['{"token":"abc","expires_in":60}', '{"token":***,"expires_in":60}'],
  ["refresh_token=abc&service=x", "refresh_token=***&service=x"],
  ['{"auth": "dTpw"}', '{"auth": ***}'],
  ['Basic realm="registry"', 'Basic realm="registry"'],
  ["manifest unknown: 404", "manifest unknown: 404"],
])("text: %s", (text, shown) => {
  expect(redactText(text)).toBe(shown);
});
