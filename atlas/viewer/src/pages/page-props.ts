import type { Folder } from "../data/store";
import type { Catalogue } from "../logic/entries";

/** What pages are given. */
export interface PageProps {
  store: Folder;
  catalogue: Catalogue;
  /** Reads the store again. */
  again: () => void;
}
