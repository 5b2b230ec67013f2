/**
 * What a value read from JSON must look like.
 *
 *     shape, value -> where it is otherwise, or null
 */

/** Where a value is not of the shape, below its own place; null where it is. */
export type Shape = (value: unknown, place: string) => string | null;

function when(fits: (value: unknown) => boolean): Shape {
  return (value, place) => (fits(value) ? null : place);
}

export const text = when((value) => typeof value === "string");
export const flag = when((value) => typeof value === "boolean");
export const real = when((value) => typeof value === "number" && Number.isFinite(value));

export function words(pattern: RegExp): Shape {
  return when((value) => typeof value === "string" && pattern.test(value));
}

/** A whole number from 0 to `most`. */
export function upTo(most: number): Shape {
  return when((value) => Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most);
}

/** One that may also be null or not there. */
export function maybe(shape: Shape): Shape {
  return (value, place) => (value === undefined || value === null ? null : shape(value, place));
}

/** Values of one shape; where `by` is given, no two of them have the same. */
export function list(shape: Shape, by?: (value: never) => unknown): Shape {
  return (value, place) => {
    if (!Array.isArray(value)) return place;
    for (const [nth, one] of value.entries()) {
      const wrong = shape(one, `${place}[${nth}]`);
      if (wrong) return wrong;
    }
    return by && new Set(value.map((one) => by(one as never))).size < value.length ? `${place}, in which two are called the same` : null;
  };
}

/** An object with these fields; it may have more. */
export function fields(shapes: Record<string, Shape>): Shape {
  return (value, place) => {
    if (!isObject(value)) return place;
    for (const [name, shape] of Object.entries(shapes)) {
      const wrong = shape(value[name], place ? `${place}.${name}` : name);
      if (wrong) return wrong;
    }
    return null;
  };
}

/** An object whose fields have names of one shape and values of another. */
export function table(name: Shape, shape: Shape): Shape {
  return (value, place) => {
    if (!isObject(value)) return place;
    for (const [key, one] of Object.entries(value)) {
      const wrong = name(key, `${place}, in which a name`) ?? shape(one, `${place}.${key}`);
      if (wrong) return wrong;
    }
    return null;
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What JSON text says; null for none, and where it is damaged. */
export function parsed(bytes: Uint8Array | undefined): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null;
  }
}
