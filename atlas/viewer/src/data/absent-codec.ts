/** Stands in for zarrita's compressors: a store's pictures are JPEG files and its columns plain, so the page carries none. */
export default {
  fromConfig(): never {
    throw new Error("this page has no decoder for compressed arrays");
  },
};
