/**
 * The words of a store as they can be shown: they are data, whatever they hold.
 *
 *     a name, a label, a path -> the same, with what one would not see written out
 */

/** Control characters, and those that turn, hide or break what stands around them; half of a pair that encodes nothing. */
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
/** Longest title of a window. */
const TITLE = 120;

/** `text` with every character that cannot be seen written as in Python: `\x07`, `\u202e`. */
export function visible(text: string): string {
  return text.replace(UNSEEN, (sign) => {
    const code = sign.charCodeAt(0);
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

/** `text` percent-encoded where it cannot be seen, so that it still names what it names. */
export function encodedUnseen(text: string): string {
  return text.replace(UNSEEN, (sign) => (/[\ud800-\udfff]/.test(sign) ? "%EF%BF%BD" : encodeURIComponent(sign)));
}

/** A title of a window; the middle of a very long one is left out. */
export function titled(...parts: string[]): string {
  return parts.map((part) => (part.length > TITLE ? `${part.slice(0, TITLE / 2)} … ${part.slice(-TITLE / 2)}` : part)).join(" – ");
}

/** `word` as one word of a shell's command line, whatever it holds. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;
}
