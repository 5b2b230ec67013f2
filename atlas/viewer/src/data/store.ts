/**
 * A folder of a store over HTTP.
 *
 *     key, range -> bytes
 *
 * Only whole small objects and byte ranges of large ones are asked for. Servers ignore ranges, answer others or pack
 * what they send, and objects are gone or cut short: every answer is checked, and none is taken for what it is not.
 */
import type { AsyncReadable, RangeQuery } from "zarrita";
import { damaged, Problem } from "./problems";

interface Options {
  signal?: AbortSignal;
}

/** Whether the object of a key must be there. */
export type Owed = (key: string) => boolean | Promise<boolean>;

export class Folder implements AsyncReadable {
  /** `bytes=-N` saves a request, but not all servers know it; across origins it costs a preflight instead. */
  #knowsSuffix: boolean;
  /** How long each object was when it was first read here, as said behind the slash of Content-Range. */
  #lengths = new Map<string, string>();

  /** `root` is the whole store's address, below which objects are named; where one that is `owed` is gone, that is damage. */
  constructor(
    readonly base: URL,
    readonly root = base,
    readonly owed: Owed = () => false,
  ) {
    this.#knowsSuffix = base.origin === location.origin;
  }

  /** The folder `names` below this one. Names may hold anything: each is encoded as one path segment. */
  folder(...names: string[]): Folder {
    const below = this.address(names.map((name) => encodeURIComponent(name)).join("/"));
    below.pathname += "/";
    return new Folder(below, this.root);
  }

  /** The same folder, in which what is `owed` must be there. */
  owing(owed: Owed): Folder {
    return new Folder(this.base, this.root, owed);
  }

  /** What an object is called in the store. */
  nameOf(key: string): string {
    return decodeURIComponent(this.#url(key).pathname.slice(this.root.pathname.length));
  }

  /** How long an object is, bytes, where an answer to a range of it has said so. */
  lengthOf(key: string): number | undefined {
    const length = this.#lengths.get(key);
    return length === undefined ? undefined : Number(length);
  }

  /** Whether there is such an object. */
  async has(key: string): Promise<boolean> {
    return (await this.#send(this.#url(key), { method: "HEAD", cache: "no-cache" })) !== undefined;
  }

  async get(key: string, options: Options = {}): Promise<Uint8Array | undefined> {
    // "no-cache" asks whether what the browser holds is still true: a store may be in the making.
    const response = await this.#send(this.#url(key), { ...options, cache: "no-cache" });
    if (response === undefined) return this.#gone(key);
    const bytes = await this.#bytes(response);
    if (bytes.length === 0 && (await this.owed(key))) throw this.#short(key);
    return bytes;
  }

  async getRange(key: string, range: RangeQuery, options: Options = {}): Promise<Uint8Array | undefined> {
    return "suffixLength" in range
      ? this.#end(key, range.suffixLength, options)
      : this.#part(key, range.offset, range.length, options);
  }

  async #part(key: string, offset: number, length: number, options: Options): Promise<Uint8Array | undefined> {
    const headers = { Range: `bytes=${offset}-${offset + length - 1}` };
    // "no-store": the browser's cache would answer ranges of one object only one after the other.
    const response = await this.#send(this.#url(key), { ...options, headers, cache: "no-store" }, [416]);
    return response ? this.#checked(key, response, length, offset) : this.#gone(key);
  }

  async #end(key: string, length: number, options: Options): Promise<Uint8Array | undefined> {
    if (this.#knowsSuffix) {
      const headers = { Range: `bytes=-${length}` };
      const response = await this.#send(this.#url(key), { ...options, headers, cache: "no-store" }, [400, 416, 501]);
      if (response === undefined) return this.#gone(key);
      if (response.status === 206) return this.#checked(key, response, length);
      void response.body?.cancel();
      // What an empty object answers says nothing of others.
      this.#knowsSuffix = response.status === 416;
    }
    const head = await this.#send(this.#url(key), { ...options, method: "HEAD", cache: "no-store" });
    if (head === undefined) return this.#gone(key);
    if (head.headers.get("Content-Encoding")) throw packs(this.base);
    const size = head.headers.get("Content-Length");
    if (size === null) throw ignoresRanges(this.base);
    if (Number(size) < length) throw this.#short(key);
    return this.#part(key, Number(size) - length, length, options);
  }

  /** The bytes of an answer to a range: `length` of them, from `offset` on where it is said. */
  async #checked(key: string, response: Response, length: number, offset?: number): Promise<Uint8Array> {
    const [, from, to, all] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(response.headers.get("Content-Range") ?? "") ?? [];
    const refuse = (problem: Problem) => {
      void response.body?.cancel();
      return problem;
    };
    if (response.status === 416 || response.headers.get("Content-Length") === "0") throw refuse(this.#short(key));
    if (response.status !== 206) throw refuse(ignoresRanges(this.base));
    // An object replaced between its index and its pictures would be read askew.
    const first = this.#lengths.get(key) ?? all;
    if (first !== undefined && first !== "*") this.#lengths.set(key, first);
    if (all !== undefined && all !== first) throw refuse(new Problem("changed", "This part of the store was just rewritten", "Load it again to see what is there now."));
    if (from !== undefined && Number(to) - Number(from) + 1 < length) throw refuse(this.#short(key));
    if (from !== undefined && offset !== undefined && (Number(from) !== offset || Number(to) - offset + 1 !== length)) throw refuse(ignoresRanges(this.base));
    const packed = response.headers.get("Content-Encoding") !== null;
    const bytes = await this.#bytes(response);
    if (bytes.length === length) return bytes;
    throw packed ? packs(this.base) : this.#short(key);
  }

  async #bytes(response: Response): Promise<Uint8Array> {
    try {
      return new Uint8Array(await response.arrayBuffer());
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") throw error;
      if (response.status === 206 && response.headers.get("Content-Encoding")) throw packs(this.base);
      throw brokeOff(this.base);
    }
  }

  async #gone(key: string): Promise<undefined> {
    if (await this.owed(key)) throw damaged(this.nameOf(key), "is missing");
    return undefined;
  }

  #short(key: string): Problem {
    return damaged(this.nameOf(key), "is empty or shorter than it must be");
  }

  #url(key: string): URL {
    return this.address(key.split("/").filter(Boolean).map(encodeURIComponent).join("/"));
  }

  /** `path`, already encoded, below this folder; what the store's address carries after a ? is kept. */
  address(path: string): URL {
    const url = new URL(path, this.base);
    url.search = this.base.search;
    return url;
  }

  /** The answer; undefined where nothing is there. Raises `Problem` for any other than `also`. */
  async #send(url: URL, init: RequestInit, also: number[] = []): Promise<Response | undefined> {
    let response: Response;
    try {
      response = await fetch(url, init);
    } catch (error) {
      if (init.signal?.aborted) throw error;
      // An answer that a browser cannot unpack looks like none: whoever answers otherwise is there.
      const there = "Range" in (init.headers ?? {}) && (await fetch(url, { method: "HEAD", cache: "no-store" }).catch(() => null));
      throw there ? packs(this.base) : brokeOff(this.base);
    }
    if (response.ok || also.includes(response.status)) return response;
    void response.body?.cancel();
    // Object stores that do not list their keys answer 403 for what is not there.
    if ([403, 404, 410].includes(response.status)) return undefined;
    throw new Problem("unreachable", `The server answered ${response.status}`, `It was asked for ${url.pathname}.`);
  }
}

function brokeOff(base: URL): Problem {
  return new Problem("unreachable", "The store cannot be reached", `No answer from ${base.host}, or one that broke off. Is its server still running?`);
}

function packs(base: URL): Problem {
  return new Problem(
    "no-ranges",
    "This server compresses parts of files",
    `The page asks for single pictures out of large files, and what ${base.host} sends of them is packed so that it cannot be read. ` +
      "Switch compression off for the store, or serve it with a server that answers range requests as they are.",
    [{ label: "atlas serve STORE" }],
  );
}

function ignoresRanges(base: URL): Problem {
  return new Problem(
    "no-ranges",
    "This server ignores range requests",
    `The page asks for single pictures out of large files, and ${base.host} sends the whole files instead of answering 206. ` +
      "Serve the store with a server that answers range requests; most static hosts do.",
    [{ label: "atlas serve STORE" }],
  );
}

/** The store that this page shows: `?store=URL`, or the folder `store/` beside the page. */
export function storeAddress(page: URL): URL {
  const url = new URL(page.searchParams.get("store") ?? "store/", page);
  url.hash = "";
  if (!url.pathname.endsWith("/")) url.pathname += "/";
  return url;
}
