import assert from "node:assert/strict";
import { test } from "node:test";
import { cellSide, niceStep, span, tilesIn, zoomFor, zooms } from "../src/map/geometry";

test("a text of 7,919 tokens lies in a square of 8,192, six zooms deep", () => {
  assert.equal(span(7919), 8192);
  assert.equal(zooms(7919), 6);
  assert.deepEqual(
    [0, 1, 5].map((zoom) => cellSide(7919, zoom)),
    [32, 16, 1],
  );
});

test("a short text is one tile of single pairs", () => {
  assert.equal(zooms(17), 1);
  assert.equal(cellSide(17, 0), 1);
  assert.equal(zoomFor(17, 31), 0);
});

test("cells are about a pixel, whatever the zoom", () => {
  assert.equal(zoomFor(7919, 0.04), 0);
  assert.equal(zoomFor(7919, 0.1), 2);
  assert.equal(zoomFor(7919, 5), 5);
});

test("only tiles within the view and the text are asked for, the middle ones first", () => {
  const view = { left: 0, top: 0, width: 600, height: 600, k: 1, x: -1000, y: -1000 };
  const tiles = tilesIn(view, 7919, 5);
  assert.equal(tiles.length, 16);
  assert.ok(tiles.every(({ x, y }) => x >= 3 && x <= 6 && y >= 3 && y <= 6));
  assert.ok([4, 5].includes(tiles[0]!.x) && [4, 5].includes(tiles[0]!.y));
});

test("labels step by 1, 2 or 5", () =>
  assert.deepEqual([0.3, 3, 12, 48, 70].map(niceStep), [1, 5, 20, 50, 100]));
