import assert from "node:assert/strict";
import { test } from "node:test";
import { changed, type Layer, pair, scattered, steps, tile } from "../src/source/equation";

// Two tokens, one head, q·k = [[2, 0], [0, 0]] with k = q and scale ln(3)/2: row 0 is (3, 1)/4, row 1 is (1, 1)/2.
const scale = Math.log(3) / 2;
const layer: Layer = {
  rule: "softmax( dot )",
  scale,
  heads: 1,
  kv_heads: 1,
  dim: 1,
  value_dim: 1,
  queries: 2,
  q: Float32Array.of(Math.SQRT2, 0),
  k: Float32Array.of(Math.SQRT2, 0),
  v: Float32Array.of(4, 8),
  weights: Float32Array.of(0.75, 0.25, 0.5, 0.5),
  lse: Float32Array.of(Math.log(4), Math.log(2)),
  score: null,
  bias: null,
  visible: null,
  difference: [0],
};
const near = (a: number, b: number) => assert.ok(Math.abs(a - b) < 1e-6, `${a} is not ${b}`);

test("the steps of a saved row", () => {
  const found = steps(layer, 0, 0);
  near(found.dot![0]!, 2);
  near(found.score[0]!, Math.log(3));
  near(found.out![0]!, 0.75 * 4 + 0.25 * 8);
});

test("half the temperature squares the odds: 9 to 1", () => {
  const asked = { layer: 0, head: 0, query: 0, temperature: 0.5, unmask: false, drop: [], silence: [] };
  near(changed(layer, asked).weights[0]!, 0.9);
});

test("weights that no softmax of the scores gives are refused another temperature", () => {
  const asked = { layer: 0, head: 0, query: 0, temperature: 0.5, unmask: false, drop: [], silence: [] };
  assert.throws(() => changed({ ...layer, weights: Float32Array.of(1, 0, 0.5, 0.5) }, asked));
});

test("a pair, its rank, and a tile of single pairs", () => {
  assert.equal(pair(layer, 0, 0, 1).rank, 2);
  const { values } = tile(layer, 0, { statistic: "mean", zoom: 0, x: 0, y: 0 });
  assert.deepEqual([values[0], values[1], values[256]], [0.75, 0.25, 0.5]);
  assert.ok(Number.isNaN(values[2]));
});

test("the rank is among the keys that the row sees, and no others are named", () => {
  const weights = Float32Array.of(1, 0, 0.5, 0.5);
  const causal = { ...layer, weights, visible: Uint8Array.of(1, 0, 1, 1) };
  const first = pair(causal, 0, 0, 0);
  assert.deepEqual([first.rank, first.keys, first.top], [1, 1, [{ key: 0, weight: 1 }]]);
  const tied = pair(causal, 0, 1, 1);
  assert.deepEqual([tied.rank, tied.keys], [1, 2]);
  assert.equal(pair(causal, 0, 0, 1).visible, false);
});

test("a saved layer that is causal holds its visible pairs alone", () => {
  assert.deepEqual(
    [...scattered(Float32Array.of(1, 0.25, 0.75), Uint8Array.of(1, 0, 1, 1))],
    [1, 0, 0.25, 0.75],
  );
});

test("without q and k the scores follow from the weights", () => {
  const found = steps({ ...layer, q: null, k: null, v: null }, 0, 0);
  near(found.score[0]!, Math.log(3));
  near(found.score[1]!, 0);
  assert.equal(found.dot, null);
});
