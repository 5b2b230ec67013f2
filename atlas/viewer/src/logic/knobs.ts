/** What the knobs of recipes are called, by the names that stores keep for ever; see `STORED` in atlas/recipe.py. */

export const KNOBS: Record<string, string> = {
  rise: "lr warmup steps",
  fall: "lr decay fraction",
  decay: "decay power",
  deviation: "init std",
  zoom: "scale",
  turn: "rotation",
  redirected: "relu redirect steps",
  draws: "eval draws",
  level: "jpeg quality",
  box: "crop scale",
  tries: "restarts",
  power: "cosine power",
  neighbours: "n neighbors",
  distance: "min dist",
  most: "max samples",
  clip: "clip percent",
  facing: "align to",
};

/** A knob by the name it has now. */
export function knobName(stored: string): string {
  return KNOBS[stored] ?? stored.replaceAll("_", " ");
}
