// Where the reader is: kept in the address after the #, so that a link leads back to it.

import type { Statistic } from "../source/types";

export type View = "learn" | "map" | "compare";

export interface State {
  view: View;
  run: string | null;
  other: string | null;
  layer: number | null;
  head: number | null;
  query: number | null;
  key: number | null;
  measure: string | null;
  statistic: Statistic;
  scale: "log" | "linear";
  palette: "viridis" | "cividis";
  hide: boolean;
  at: string | null;
  lang: string | null;
  theme: "light" | "dark" | null;
}

export const start: State = {
  view: "learn",
  run: null,
  other: null,
  layer: null,
  head: null,
  query: null,
  key: null,
  measure: null,
  statistic: "mean",
  scale: "log",
  palette: "viridis",
  hide: true,
  at: null,
  lang: null,
  theme: null,
};

const choices: { [name in keyof State]?: readonly string[] } = {
  view: ["learn", "map", "compare"],
  statistic: ["mean", "max"],
  scale: ["log", "linear"],
  palette: ["viridis", "cividis"],
  lang: ["en", "zh"],
  theme: ["light", "dark"],
};
const numbers: readonly (keyof State)[] = ["layer", "head", "query", "key"];

/** `#view=map&layer=3` as a state; what is missing or unknown stays as at the start. */
export function read(hash: string): State {
  const found: Record<string, unknown> = { ...start };
  for (const [name, value] of new URLSearchParams(hash.replace(/^#/, ""))) {
    const parsed = parse(name, value);
    if (parsed !== undefined) found[name] = parsed;
  }
  return found as unknown as State;
}

function parse(name: string, value: string): unknown {
  if (!Object.hasOwn(start, name)) return undefined;
  const field = name as keyof State;
  if (numbers.includes(field)) return /^\d{1,7}$/.test(value) ? Number(value) : undefined;
  if (field === "hide") return value !== "0";
  const allowed = choices[field];
  return !allowed || allowed.includes(value) ? value : undefined;
}

/** A state as `#…`: only what differs from the start. */
export function write(state: State): string {
  const said = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (value === null || value === start[name as keyof State]) continue;
    said.set(name, typeof value === "boolean" ? String(Number(value)) : String(value));
  }
  return `#${said}`;
}
