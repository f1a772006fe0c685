// The map drawn: tiles, strips, labels, the selected pair.

import type { Colours, Scale } from "../shared/colour";
import { legible } from "../shared/text";
import type { Head, Statistic, TileName, Tokens } from "../source/types";
import { cellSide, inView, niceStep, SIDE, tilesIn, type View } from "./geometry";
import { type Hidden, shaded } from "./shading";
import { drawColumns, drawRows } from "./strips";
import type { Tiles } from "./tiles";

export interface Picture {
  view: View;
  tiles: Tiles;
  tokens: Tokens;
  head: Head | null;
  zoom: number;
  statistic: Statistic;
  hide: boolean;
  scale: Scale;
  table: Colours;
  query: number;
  chosen: number;
  page: { ink: string; quiet: string; paper: string; line: string; query: string; key: string; font: string };
}

const LABELLED = 13;

/** What is left out, at the zoom of a tile. */
export function hiddenAt(picture: Pick<Picture, "hide" | "head" | "tokens">, zoom: number): Hidden {
  const cell = cellSide(picture.tokens.tokens.length, zoom);
  return { on: picture.hide, sinks: picture.head?.sink_keys ?? [], cell };
}

export function paint(context: CanvasRenderingContext2D, picture: Picture): void {
  const { view, page } = picture;
  const { canvas } = context;
  const ratio = canvas.width / canvas.clientWidth || 1;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  context.save();
  context.beginPath();
  context.rect(view.left, view.top, view.width, view.height);
  context.clip();
  context.fillStyle = page.paper;
  context.fillRect(view.left, view.top, view.width, view.height);
  for (let zoom = 0; zoom <= picture.zoom; zoom++) drawTiles(context, picture, zoom);
  drawSegments(context, picture);
  drawSelected(context, picture);
  context.restore();
  context.strokeStyle = page.line;
  context.strokeRect(view.left - 0.5, view.top - 0.5, view.width + 1, view.height + 1);
  if (picture.head) {
    const thick = view.left > 80 ? 30 : 16;
    drawRows(context, view, { values: picture.head.entropy, thick, colour: page.query });
    drawColumns(context, view, { values: picture.head.received, thick, colour: page.key });
  }
  drawLabels(context, picture);
}

// Coarse tiles lie under the fine ones, so that there is something to see while those are on their way.
function drawTiles(context: CanvasRenderingContext2D, picture: Picture, zoom: number): void {
  const { view, statistic, tokens } = picture;
  const side = cellSide(tokens.tokens.length, zoom) * SIDE;
  context.imageSmoothingEnabled = false;
  for (const each of tilesIn(view, tokens.tokens.length, zoom)) {
    const name = { ...each, statistic };
    const image = coloured(picture, name);
    if (!image) continue;
    const at = (index: number, offset: number) => index * side * view.k + offset;
    const size = side * view.k;
    if (zoom === picture.zoom) context.clearRect(at(name.x, view.x), at(name.y, view.y), size, size);
    context.drawImage(image, at(name.x, view.x), at(name.y, view.y), size, size);
  }
}

const kept = new WeakMap<object, { label: string; image: HTMLCanvasElement }>();

function coloured(picture: Picture, name: TileName): HTMLCanvasElement | null {
  const tile = picture.tiles.at(name);
  if (!tile) return null;
  const hidden = hiddenAt(picture, name.zoom);
  const label = JSON.stringify([picture.scale, hidden, picture.table[0], picture.table[300]]);
  const known = kept.get(tile);
  if (known?.label === label) return known.image;
  const image = document.createElement("canvas");
  image.width = SIDE;
  image.height = SIDE;
  image.getContext("2d")!.putImageData(shaded(tile, name, hidden, picture.scale, picture.table), 0, 0);
  kept.set(tile, { label, image });
  return image;
}

function drawSegments(context: CanvasRenderingContext2D, { view, tokens, page }: Picture): void {
  if (tokens.segments.length > 60) return;
  context.strokeStyle = page.quiet;
  context.globalAlpha = 0.35;
  context.lineWidth = 1;
  context.beginPath();
  for (const { start } of tokens.segments.slice(1)) {
    const x = Math.round(start * view.k + view.x) + 0.5;
    const y = Math.round(start * view.k + view.y) + 0.5;
    context.moveTo(x, view.top);
    context.lineTo(x, view.top + view.height);
    context.moveTo(view.left, y);
    context.lineTo(view.left + view.width, y);
  }
  context.stroke();
  context.globalAlpha = 1;
}

function drawSelected(context: CanvasRenderingContext2D, { view, query, chosen, page }: Picture): void {
  const size = Math.max(view.k, 3);
  const y = query * view.k + view.y - (size - view.k) / 2;
  const x = chosen * view.k + view.x - (size - view.k) / 2;
  context.lineWidth = 1.5;
  context.strokeStyle = page.query;
  context.strokeRect(view.left - 2, y, view.width + 4, size);
  context.strokeStyle = page.key;
  context.strokeRect(x, view.top - 2, size, view.height + 4);
  context.lineWidth = 2;
  context.strokeStyle = "#fff";
  context.strokeRect(x, y, size, size);
}

function drawLabels(context: CanvasRenderingContext2D, picture: Picture): void {
  const { view, tokens, page } = picture;
  const { rows, columns } = inView(view, tokens.tokens.length);
  const words = view.k >= LABELLED && view.left > 80;
  const step = words ? 1 : niceStep(48 / view.k);
  const thick = view.left > 80 ? 42 : 24;
  context.font = `${words ? 12 : 11}px ${page.font}`;
  context.textBaseline = "middle";
  const text = (index: number) => (words ? clip(legible(tokens.tokens[index])) : String(index));
  const colour = (index: number, chosen: number, special: string) =>
    index === chosen ? special : page.quiet;
  context.textAlign = "right";
  for (let row = Math.ceil(rows[0] / step) * step; row < rows[1]; row += step) {
    context.fillStyle = colour(row, picture.query, page.query);
    context.fillText(text(row), view.left - thick, (row + 0.5) * view.k + view.y);
  }
  context.textAlign = "left";
  for (let column = Math.ceil(columns[0] / step) * step; column < columns[1]; column += step) {
    context.save();
    context.translate((column + 0.5) * view.k + view.x, view.top - thick);
    context.rotate(words ? -Math.PI / 3 : 0);
    if (!words) context.textAlign = "center";
    context.fillStyle = colour(column, picture.chosen, page.key);
    context.fillText(text(column), 0, 0);
    context.restore();
  }
}

const clip = (word: string) => (word.length > 9 ? `${word.slice(0, 8)}…` : word);
