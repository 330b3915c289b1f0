import { TsbuildError, messageOf } from "../errors.js";

export type JsonObject = Readonly<Record<string, unknown>>;

/** Reads untrusted JSON field by field; each failure names the document and the field. `null` counts as absent, as in Go. */
export interface JsonReader {
  parse(bytes: Uint8Array): JsonObject;
  /** An empty one when absent. */
  object(value: unknown, where: string): JsonObject;
  list(value: unknown, where: string): readonly unknown[] | undefined;
  string(value: unknown, where: string): string | undefined;
  strings(value: unknown, where: string): readonly string[] | undefined;
  /** A whole number that is exact in a double. */
  integer(value: unknown, where: string): number | undefined;
  boolean(value: unknown, where: string): boolean | undefined;
  /** An empty one when absent. */
  stringMap(value: unknown, where: string): Readonly<Record<string, string>>;
  fail(where: string, why: string, cause?: unknown): never;
}

function kindOf(value: unknown): string {
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

/** @param what the document, as errors name it: "an image config". Failures are TsbuildError REGISTRY_UNAVAILABLE. */
export function jsonReader(what: string): JsonReader {
  const fail = (where: string, why: string, cause?: unknown): never => {
    throw new TsbuildError("REGISTRY_UNAVAILABLE", `tried to read ${what}: ${where} ${why}`, {
      hint: "the image is damaged, or is not a container image; check its reference, or push it again",
      cause,
    });
  };
  const checked =
    <T>(holds: (value: unknown) => value is T, expected: string) =>
    (value: unknown, where: string): T | undefined => {
      if (value === undefined || value === null) return undefined;
      return holds(value) ? value : fail(where, `is ${kindOf(value)} instead of ${expected}`);
    };
  const isObject = (value: unknown): value is JsonObject =>
    typeof value === "object" && value !== null && !Array.isArray(value);
  const isList = (value: unknown): value is readonly unknown[] => Array.isArray(value);
  const isString = (value: unknown): value is string => typeof value === "string";
  const isInteger = (value: unknown): value is number => Number.isSafeInteger(value);
  const isBoolean = (value: unknown): value is boolean => typeof value === "boolean";

  const object = checked(isObject, "an object");
  const list = checked(isList, "a list");
  const string = checked(isString, "a string");
  const requiredString = (value: unknown, where: string): string =>
    string(value, where) ?? fail(where, "is missing");
  return {
    parse(bytes) {
      try {
        const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
        if (isObject(value)) return value;
        return fail("the document", `is ${kindOf(value)} instead of an object`);
      } catch (error) {
        if (error instanceof TsbuildError) throw error;
        return fail("the document", `is not JSON (${messageOf(error)})`, error);
      }
    },
    object: (value, where) => object(value, where) ?? {},
    list,
    string,
    strings: (value, where) =>
      list(value, where)?.map((item, index) => requiredString(item, `${where}[${index}]`)),
    integer: checked(isInteger, "a whole number"),
    boolean: checked(isBoolean, "true or false"),
    stringMap: (value, where) =>
      Object.fromEntries(
        Object.entries(object(value, where) ?? {})
          .filter(([, item]) => item !== null)
          .map(([key, item]) => [key, requiredString(item, `${where}["${key}"]`)]),
      ),
    fail,
  };
}

/** The fields of an object besides the known ones. */
export function fieldsBesides(object: JsonObject, known: ReadonlySet<string>): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([key]) => !known.has(key)));
}

/** The same object with its keys in the order of their UTF-16 units: bytes must not depend on who built the object. */
export function sortKeys<T>(object: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(
    Object.entries(object).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)),
  );
}

/** UTF-8 of the compact JSON text; fields that are `undefined` are left out. */
export function encodeJson(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}
