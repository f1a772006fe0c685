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

/** Tells whether a cell of a tile is left out. */
function leftOut({ x, y }: TileName, { on, sinks, cell }: Hidden): (at: number) => boolean {
  const columns = new Set(sinks.map((key) => Math.floor(key / cell)));
  return (at) => {
    const column = x * SIDE + (at % SIDE);
    return on && (columns.has(column) || y * SIDE + Math.floor(at / SIDE) === column);
  };
}

/** The largest weight that is shown. */
export function largestIn(tile: Tile, name: TileName, hidden: Hidden): number {
  const out = leftOut(name, hidden);
  let most = 0;
  for (let at = 0; at < tile.values.length; at++) {
    const value = tile.values[at]!;
    if (value > most && !out(at)) most = value;
  }
  return most;
}

/** The picture of a tile: nothing where nothing may be seen, grey where left out. */
export function shaded(tile: Tile, name: TileName, hidden: Hidden, scale: Scale, table: Colours): ImageData {
  const image = new ImageData(SIDE, SIDE);
  const pixels = image.data;
  const out = leftOut(name, hidden);
  for (let at = 0; at < tile.values.length; at++) {
    const value = tile.values[at]!;
    if (!(value > 0)) continue;
    if (out(at)) {
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
