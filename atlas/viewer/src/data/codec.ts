/**
 * Pictures pass through undecoded: a chunk is an ordinary JPEG file, and the browser shows those itself.
 *
 *     chunk -> bytes of a JPEG file -> Blob -> address for an <img>
 */
import * as zarr from "zarrita";

class PassThrough {
  readonly kind = "array_to_bytes";

  static fromConfig(): PassThrough {
    return new PassThrough();
  }

  decode(bytes: Uint8Array): zarr.Chunk<"uint8"> {
    return { data: bytes as Uint8Array<ArrayBuffer>, shape: [bytes.length], stride: [1] };
  }

  encode(): Uint8Array {
    throw new Error("this page writes nothing");
  }
}

export function registerPictures(): void {
  zarr.registry.set("imagecodecs_jpeg", () => PassThrough as never);
}

/** Whether these are a JPEG file's bytes, from its first mark to its last. */
export function isPicture(bytes: Uint8Array): boolean {
  return bytes[0] === 0xff && bytes[1] === 0xd8 && bytes.at(-2) === 0xff && bytes.at(-1) === 0xd9;
}

/** Whether there is nothing: Zarr answers a missing chunk with zeros. */
export function isNothing(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}
