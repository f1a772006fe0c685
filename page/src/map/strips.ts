// The strips along the map: what each row and each column is on the whole.

import type { View } from "./geometry";

/** One number for each pixel: the mean, or the largest, of the tokens that fall on it. */
export function binned(
  values: (number | null)[],
  from: number,
  pixels: number,
  { k, offset }: { k: number; offset: number },
  how: "mean" | "max",
): Float32Array {
  const found = new Float32Array(pixels).fill(Number.NaN);
  for (let pixel = 0; pixel < pixels; pixel++) {
    const first = Math.floor((from + pixel - offset) / k);
    const last = Math.max(first + 1, Math.floor((from + pixel + 1 - offset) / k));
    let sum = 0;
    let most = -Infinity;
    let count = 0;
    for (let token = Math.max(0, first); token < Math.min(values.length, last); token++) {
      const value = values[token];
      if (value === null || value === undefined) continue;
      sum += value;
      most = Math.max(most, value);
      count++;
    }
    if (count) found[pixel] = how === "mean" ? sum / count : most;
  }
  return found;
}

interface Strip {
  values: (number | null)[];
  thick: number;
  colour: string;
}

/** Entropy of the rows, to the left of the map; linear from 0. */
export function drawRows(
  context: CanvasRenderingContext2D,
  view: View,
  { values, thick, colour }: Strip,
): void {
  const most = largest(values);
  const bins = binned(values, view.top, Math.ceil(view.height), { k: view.k, offset: view.y }, "mean");
  context.fillStyle = colour;
  context.globalAlpha = 0.55;
  bins.forEach((value, pixel) => {
    const long = (value / most) * thick;
    if (long > 0) context.fillRect(view.left - 4 - long, view.top + pixel, long, 1);
  });
  context.globalAlpha = 1;
}

/** What the columns receive, above the map; by square root, since a sink receives a hundred times the rest. */
export function drawColumns(
  context: CanvasRenderingContext2D,
  view: View,
  { values, thick, colour }: Strip,
): void {
  const most = Math.sqrt(largest(values));
  const bins = binned(values, view.left, Math.ceil(view.width), { k: view.k, offset: view.x }, "max");
  context.fillStyle = colour;
  context.globalAlpha = 0.55;
  bins.forEach((value, pixel) => {
    const tall = (Math.sqrt(value) / most) * thick;
    if (tall > 0) context.fillRect(view.left + pixel, view.top - 4 - tall, 1, tall);
  });
  context.globalAlpha = 1;
}

const largest = (values: (number | null)[]) =>
  values.reduce<number>((most, value) => Math.max(most, value ?? 0), 1e-12);
