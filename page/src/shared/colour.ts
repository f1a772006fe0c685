import { interpolateCividis, interpolateViridis } from "d3-scale-chromatic";

export type Palette = "viridis" | "cividis";
export type Colours = Uint8ClampedArray;

const SHADES = 256;
const palettes = { viridis: interpolateViridis, cividis: interpolateCividis };
const kept = new Map<Palette, Colours>();

/** 256 colours as red, green, blue, from the least to the most. */
export function colours(palette: Palette): Colours {
  const known = kept.get(palette);
  if (known) return known;
  const made = new Uint8ClampedArray(SHADES * 3);
  for (let i = 0; i < SHADES; i++) made.set(channels(palettes[palette](i / (SHADES - 1))), i * 3);
  kept.set(palette, made);
  return made;
}

/** One colour as CSS says it. */
export function css(table: Colours, t: number): string {
  const at = shade(t) * 3;
  return `rgb(${table[at]} ${table[at + 1]} ${table[at + 2]})`;
}

/** Black or white, whichever can be read on the colour at t. */
export function ink(table: Colours, t: number): string {
  const at = shade(t) * 3;
  const [r, g, b] = [table[at]!, table[at + 1]!, table[at + 2]!].map(linear) as [number, number, number];
  const luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return luminance > 0.179 ? "#000" : "#fff";
}

export const shade = (t: number) => Math.round(Math.min(1, Math.max(0, t)) * (SHADES - 1));

function linear(channel: number): number {
  const share = channel / 255;
  return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
}

function channels(text: string): [number, number, number] {
  const hex = text
    .match(/^#(..)(..)(..)$/)
    ?.slice(1)
    .map((each) => Number.parseInt(each, 16));
  const found = hex ?? text.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0];
  return [found[0]!, found[1]!, found[2]!];
}

/** Where a weight lies between the ends of a scale: by its logarithm, or as it is. */
export interface Scale {
  log: boolean;
  low: number;
  high: number;
}

export function position(weight: number, { log, low, high }: Scale): number {
  if (!(weight > 0)) return 0;
  const t = log ? Math.log(weight / low) / Math.log(high / low) : weight / high;
  return Math.min(1, Math.max(0, t));
}

/** The scale of a head of so many tokens: what a hundredth of an equal share is, to all. */
export function scaleOf(tokens: number, kind: "log" | "linear", high: number): Scale {
  return { log: kind === "log", low: Math.min(0.01 / Math.max(1, tokens), high / 10), high };
}
