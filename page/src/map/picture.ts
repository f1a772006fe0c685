import { colourNamed, csv, drawing, type Exported, escaped } from "../shared/export";
import { legible } from "../shared/text";
import type { Statistic, Tokens } from "../source/types";
import { inView, SIDE, tilesIn } from "./geometry";
import type { Handle, Seen } from "./MapCanvas";
import type { Tiles } from "./tiles";

interface Shown {
  name: string;
  title: string;
  notes: string[];
  tokens: Tokens;
  tiles: Tiles;
  statistic: Statistic;
  seen: Seen | null;
  handle: { current: Handle | null };
}

/** The map in view as a picture with its notes, and its cells as a table. */
export function pictured(shown: Shown): Exported {
  return { name: shown.name, svg: () => svg(shown), csv: () => csv(cells(shown)) };
}

function svg({ title, notes, handle }: Shown): string {
  const canvas = handle.current?.canvas();
  if (!canvas) return drawing(10, 10, "none", "");
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  const ink = colourNamed("--ink");
  const line = (text: string, y: number, size: number) =>
    `<text x="16" y="${y}" font-size="${size}" fill="${ink}">${escaped(text)}</text>`;
  const image = `<image x="0" y="44" width="${width}" height="${height}" href="${canvas.toDataURL()}"/>`;
  const said = notes.map((note, index) => line(note, height + 68 + 18 * index, 12));
  const all = height + 68 + 18 * notes.length;
  return drawing(width + 16, all, colourNamed("--paper"), line(title, 28, 15) + image + said.join(""));
}

function cells({ tokens, tiles, statistic, seen }: Shown): (string | number)[][] {
  const rows: (string | number)[][] = [
    ["query_start", "query_stop", "key_start", "key_stop", "query", "key", statistic],
  ];
  if (!seen) return rows;
  const n = tokens.tokens.length;
  const { rows: within, columns } = inView(seen.view, n);
  for (const name of tilesIn(seen.view, n, seen.zoom)) {
    const tile = tiles.at({ ...name, statistic });
    tile?.values.forEach((value, at) => {
      const i = (name.y * SIDE + Math.floor(at / SIDE)) * seen.cell;
      const j = (name.x * SIDE + (at % SIDE)) * seen.cell;
      const shown =
        i + seen.cell > within[0] && i < within[1] && j + seen.cell > columns[0] && j < columns[1];
      if (!shown || Number.isNaN(value)) return;
      const stops = [Math.min(n, i + seen.cell), Math.min(n, j + seen.cell)] as const;
      rows.push([i, stops[0], j, stops[1], legible(tokens.tokens[i]), legible(tokens.tokens[j]), value]);
    });
  }
  return rows;
}
