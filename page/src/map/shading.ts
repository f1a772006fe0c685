// Colours for the cells of one tile.

import { type Colours, position, type Scale, shade } from "../shared/colour";
import type { Tile, TileName } from "../source/types";
import { SIDE } from "./geometry";

/** What of a head is left out of the picture: the diagonal, and the columns of its sinks. */
export interface Hidden {
  on: boolean;
  sinks: number[];
  cell: number;
}

/** Whether the cell of that row and column, counted over the whole text, is left out. */
export function isHidden({ on, sinks, cell }: Hidden, row: number, column: number): boolean {
  return on && (row === column || sinks.some((key) => Math.floor(key / cell) === column));
}

/** The largest weight that is shown. */
export function largestIn(tile: Tile, { x, y }: TileName, hidden: Hidden): number {
  let most = 0;
  const sinks = new Set(hidden.sinks.map((key) => Math.floor(key / hidden.cell)));
  for (let at = 0; at < tile.values.length; at++) {
    const value = tile.values[at]!;
    if (!(value > most)) continue;
    const row = y * SIDE + Math.floor(at / SIDE);
    const column = x * SIDE + (at % SIDE);
    if (!hidden.on || (row !== column && !sinks.has(column))) most = value;
  }
  return most;
}

/** The picture of a tile: nothing where nothing may be seen, grey where left out. */
export function shaded(
  tile: Tile,
  { x, y }: TileName,
  hidden: Hidden,
  scale: Scale,
  table: Colours,
): ImageData {
  const image = new ImageData(SIDE, SIDE);
  const pixels = image.data;
  const sinks = new Set(hidden.sinks.map((key) => Math.floor(key / hidden.cell)));
  for (let at = 0; at < tile.values.length; at++) {
    const value = tile.values[at]!;
    if (!(value > 0)) continue;
    const column = x * SIDE + (at % SIDE);
    if (hidden.on && (sinks.has(column) || y * SIDE + Math.floor(at / SIDE) === column)) {
      pixels.set([128, 128, 128, 70], 4 * at);
      continue;
    }
    const from = shade(position(value, scale)) * 3;
    pixels[4 * at] = table[from]!;
    pixels[4 * at + 1] = table[from + 1]!;
    pixels[4 * at + 2] = table[from + 2]!;
    pixels[4 * at + 3] = 255;
  }
  return image;
}
