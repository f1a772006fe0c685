// The equation, for one head of a saved layer: w_ij = softmax_j(scale·q_i·k_j + bias_ij), out_i = Σ_j w_ij v_j.

import type { Changed, Pair, Steps, Tile, TileName, WhatIf } from "./types";
import { Refused } from "./types";

interface Shape {
  rule: string;
  scale: number | null;
  heads: number;
  kv_heads: number;
  dim: number;
  value_dim: number;
  difference: (number | null)[] | null;
}

/** One layer as saved: arrays as base64; `queries` is the number of tokens. */
export interface Packed extends Shape {
  queries?: number;
  q: string | null;
  k: string | null;
  v: string | null;
  weights: string;
  lse: string | null;
  score: string | null;
  bias: string | null;
  visible: string | null;
}

/** One layer, unpacked: q [heads, N, dim], k [kv_heads, N, dim], v [kv_heads, N, value_dim], weights and visible [heads, N, N]. */
export interface Layer extends Shape {
  queries: number;
  q: Float32Array | null;
  k: Float32Array | null;
  v: Float32Array | null;
  weights: Float32Array;
  lse: Float32Array | null;
  score: Float32Array | null;
  bias: Float32Array | null;
  visible: Uint8Array | null;
}

const each = (count: number) => Array.from({ length: count }, (_, index) => index);
const dotted = (a: number[], b: number[]) => a.reduce((sum, value, d) => sum + value * b[d]!, 0);

function row(from: Float32Array, index: number, width: number): number[] {
  return Array.from(from.subarray(index * width, (index + 1) * width));
}

const shared = (layer: Layer, head: number) => Math.floor(head / (layer.heads / layer.kv_heads));
const seen = (layer: Layer, head: number, i: number, j: number) =>
  layer.visible === null || layer.visible[(head * layer.queries + i) * layer.queries + j] === 1;

const spread = (weights: number[], v: number[][] | null) =>
  v && v[0]!.map((_, d) => weights.reduce((sum, w, j) => sum + w * v[j]![d]!, 0));

// Without q and k the scores follow from the weights: w = exp(score + bias − lse).
function undone({ queries, weights, lse, bias }: Layer, at: number): number[] {
  const biases = bias && row(bias, at, queries);
  return row(weights, at, queries).map((w, j) =>
    w > 0 ? Math.log(w) + (lse?.[at] ?? 0) - (biases?.[j] ?? 0) : 0,
  );
}

/** Every pair's place filled from the visible ones alone, in their order. */
export function scattered(weights: Float32Array, visible: Uint8Array): Float32Array {
  let at = 0;
  return Float32Array.from(visible, (each) => (each ? weights[at++]! : 0));
}

/** Every intermediate of one query's row. */
export function steps(layer: Layer, head: number, query: number): Steps {
  const n = layer.queries;
  const at = head * n + query;
  const kv = shared(layer, head) * n;
  const { scale } = layer;
  const q = layer.q && row(layer.q, at, layer.dim);
  const k = layer.k && each(n).map((j) => row(layer.k!, kv + j, layer.dim));
  const v = layer.v && each(n).map((j) => row(layer.v!, kv + j, layer.value_dim));
  const dot = scale === null || !q || !k ? null : k.map((key) => dotted(q, key));
  const weights = row(layer.weights, at, n);
  return {
    query,
    rule: layer.rule,
    scale,
    q,
    k,
    v,
    dot,
    score: layer.score ? row(layer.score, at, n) : (dot?.map((value) => value * scale!) ?? undone(layer, at)),
    bias: layer.bias ? row(layer.bias, at, n) : null,
    visible: each(n).map((j) => seen(layer, head, query, j)),
    lse: layer.lse ? layer.lse[at]! : null,
    weights,
    out: spread(weights, v),
    weights_all: each(n).map((i) => row(layer.weights, head * n + i, n)),
    check: { sum: weights.reduce((sum, w) => sum + w, 0), difference: layer.difference?.[head] ?? null },
  };
}

function logits(found: Steps): number[] {
  return found.score.map((score, j) => (found.visible[j] ? score + (found.bias?.[j] ?? 0) : -Infinity));
}

/** One pair, its rank among the keys that the row sees, and the row's eight largest weights. */
export function pair(layer: Layer, head: number, query: number, key: number): Pair {
  const found = steps(layer, head, query);
  const order = each(layer.queries).filter((j) => found.visible[j]);
  order.sort((a, b) => found.weights[b]! - found.weights[a]! || a - b);
  const top = order.slice(0, 8).map((index) => ({ key: index, weight: found.weights[index]! }));
  const visible = found.visible[key]!;
  return {
    weight: found.weights[key]!,
    score: visible ? logits(found)[key]! : null,
    rank: 1 + found.weights.filter((w) => w > found.weights[key]!).length,
    keys: order.length,
    visible,
    top,
    uncovered: Math.max(0, found.check.sum - top.reduce((sum, { weight }) => sum + weight, 0)),
    entropy: -found.weights.reduce((sum, w) => sum + (w > 0 ? w * Math.log(w) : 0), 0),
  };
}

/** The row at another temperature: softmax of the scores divided by it. */
export function changed(layer: Layer, { head, query, temperature }: WhatIf): Changed {
  const found = steps(layer, head, query);
  const masked = logits(found);
  const lse = logSum(masked);
  const plain = masked.every((value, j) => Math.abs(Math.exp(value - lse) - found.weights[j]!) < 1e-4);
  if (!plain) throw new Refused(400, "saved");
  const cooled = masked.map((value) => value / temperature);
  const total = logSum(cooled);
  const weights = cooled.map((value) => Math.exp(value - total));
  return {
    ...found,
    scale: found.scale && found.scale / temperature,
    score: found.score.map((value) => value / temperature),
    bias: found.bias ? found.bias.map((value) => (value ?? 0) / temperature) : null,
    lse: total,
    weights,
    out: spread(weights, found.v),
    check: { sum: weights.reduce((sum, w) => sum + w, 0), difference: null },
    before: { weights: found.weights },
    changed: null,
  };
}

function logSum(values: number[]): number {
  const most = Math.max(...values);
  return most + Math.log(values.reduce((sum, value) => sum + Math.exp(value - most), 0));
}

/** The only tile of a text of at most 256 tokens: one pair a cell. */
export function tile(layer: Layer, head: number, { zoom, x, y }: TileName): Tile {
  const side = 256;
  const n = layer.queries;
  if (zoom || x || y || n > side) throw new Refused(404, "tile");
  const values = new Float32Array(side * side).fill(Number.NaN);
  for (let i = 0; i < n; i++) values.set(row(layer.weights, head * n + i, n), i * side);
  return { values, exact: true };
}
