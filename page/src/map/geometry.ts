// Where tiles lie: a text of N tokens is a square of 2^Z pairs a side, cut into tiles of 256 × 256 cells.

import type { TileName } from "../source/types";

export const SIDE = 256;

/** What is in view: the part of the canvas for pairs, and how pairs fall on it. */
export interface View {
  left: number;
  top: number;
  width: number;
  height: number;
  k: number;
  x: number;
  y: number;
}

/** The least power of two that holds all tokens, at least one tile. */
export function span(tokens: number): number {
  let side = SIDE;
  while (side < tokens) side *= 2;
  return side;
}

/** How many zooms there are: the last has one pair a cell. */
export const zooms = (tokens: number) => Math.log2(span(tokens) / SIDE) + 1;

/** Pairs along a cell's side. */
export const cellSide = (tokens: number, zoom: number) => span(tokens) / SIDE / 2 ** zoom;

/** The coarsest zoom whose cells are no larger than about a pixel and a half, else the finest. */
export function zoomFor(tokens: number, pixelsPerPair: number): number {
  const all = zooms(tokens);
  for (let zoom = 0; zoom < all; zoom++) if (cellSide(tokens, zoom) * pixelsPerPair <= 1.5) return zoom;
  return all - 1;
}

/** Pairs in view: rows and columns, half open, within the text. */
export function inView(view: View, tokens: number) {
  const within = (value: number) => Math.min(tokens, Math.max(0, value));
  return {
    rows: [
      within(Math.floor((view.top - view.y) / view.k)),
      within(Math.ceil((view.top + view.height - view.y) / view.k)),
    ] as const,
    columns: [
      within(Math.floor((view.left - view.x) / view.k)),
      within(Math.ceil((view.left + view.width - view.x) / view.k)),
    ] as const,
  };
}

/** The tiles of a zoom that are in view, those in the middle first. */
export function tilesIn(view: View, tokens: number, zoom: number): Omit<TileName, "statistic">[] {
  const { rows, columns } = inView(view, tokens);
  const side = cellSide(tokens, zoom) * SIDE;
  const found: Omit<TileName, "statistic">[] = [];
  for (let y = Math.floor(rows[0] / side); y * side < rows[1]; y++)
    for (let x = Math.floor(columns[0] / side); x * side < columns[1]; x++) found.push({ zoom, x, y });
  const middle = { x: (columns[0] + columns[1]) / 2 / side - 0.5, y: (rows[0] + rows[1]) / 2 / side - 0.5 };
  const far = (each: { x: number; y: number }) => Math.hypot(each.x - middle.x, each.y - middle.y);
  return found.sort((a, b) => far(a) - far(b));
}

/** A step between labels that is 1, 2 or 5 times a power of ten and at least as large as asked. */
export function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, least)));
  return power * ([1, 2, 5, 10].find((factor) => factor * power >= least) ?? 10);
}
