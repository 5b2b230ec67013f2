/**
 * A folder of a store over HTTP.
 *
 *     key, range -> bytes
 *
 * Only whole small objects and byte ranges of large ones are asked for. A server that ignores ranges would send
 * whole files in their place, so every answer to a range is checked.
 */
import type { AsyncReadable, RangeQuery } from "zarrita";
import { Problem } from "./problems";

interface Options {
  signal?: AbortSignal;
}

export class Folder implements AsyncReadable {
  /** `bytes=-N` saves a request, but not all servers know it; across origins it costs a preflight instead. */
  #knowsSuffix: boolean;
  /** How long each object was when it was first read here, as said behind the slash of Content-Range. */
  #lengths = new Map<string, string>();

  constructor(readonly base: URL) {
    this.#knowsSuffix = base.origin === location.origin;
  }

  /** The folder `names` below this one. Names may hold anything: each is encoded as one path segment. */
  folder(...names: string[]): Folder {
    const below = this.address(names.map((name) => encodeURIComponent(name)).join("/"));
    below.pathname += "/";
    return new Folder(below);
  }

  async get(key: string, options: Options = {}): Promise<Uint8Array | undefined> {
    // "no-cache" asks whether what the browser holds is still true: a store may be in the making.
    const response = await this.#send(this.#url(key), { ...options, cache: "no-cache" });
    return response && new Uint8Array(await response.arrayBuffer());
  }

  async getRange(key: string, range: RangeQuery, options: Options = {}): Promise<Uint8Array | undefined> {
    return "suffixLength" in range
      ? this.#end(key, range.suffixLength, options)
      : this.#part(key, range.offset, range.length, options);
  }

  async #part(key: string, offset: number, length: number, options: Options): Promise<Uint8Array | undefined> {
    const headers = { Range: `bytes=${offset}-${offset + length - 1}` };
    // "no-store": the browser's cache would answer ranges of one object only one after the other.
    const response = await this.#send(this.#url(key), { ...options, headers, cache: "no-store" });
    if (response && response.status !== 206) {
      void response.body?.cancel();
      throw ignoresRanges(this.base);
    }
    this.#check(key, response);
    return response && new Uint8Array(await response.arrayBuffer());
  }

  async #end(key: string, length: number, options: Options): Promise<Uint8Array | undefined> {
    if (this.#knowsSuffix) {
      const headers = { Range: `bytes=-${length}` };
      const response = await this.#send(this.#url(key), { ...options, headers, cache: "no-store" }, [400, 416, 501]);
      if (response === undefined || response.status === 206) {
        this.#check(key, response);
        return response && new Uint8Array(await response.arrayBuffer());
      }
      void response.body?.cancel();
      this.#knowsSuffix = false;
    }
    const head = await this.#send(this.#url(key), { ...options, method: "HEAD", cache: "no-store" });
    if (head === undefined) return undefined;
    const size = Number(head.headers.get("Content-Length") ?? 0);
    if (size < length) throw new Problem("unreadable", `${key} is shorter than it must be`, "The store is damaged there: atlas verify STORE says more.");
    return this.#part(key, size - length, length, options);
  }

  /** An object replaced between its index and its pictures would be read askew. */
  #check(key: string, response: Response | undefined): void {
    const length = response?.headers.get("Content-Range")?.split("/")[1];
    if (!length || length === "*") return;
    const first = this.#lengths.get(key) ?? length;
    this.#lengths.set(key, first);
    if (first !== length) {
      void response?.body?.cancel();
      throw new Problem("changed", "This part of the store was just rewritten", "Load it again to see what is there now.");
    }
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
      throw new Problem("unreachable", "The store cannot be reached", `No answer from ${url.host}. Is its server still running?`);
    }
    if (response.ok || also.includes(response.status)) return response;
    void response.body?.cancel();
    // Object stores that do not list their keys answer 403 for what is not there.
    if ([403, 404, 410].includes(response.status)) return undefined;
    throw new Problem("unreachable", `The server answered ${response.status}`, `It was asked for ${url.pathname}.`);
  }
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
