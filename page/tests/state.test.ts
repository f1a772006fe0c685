import assert from "node:assert/strict";
import { test } from "node:test";
import { read, start, write } from "../src/shared/state";

test("a state survives its address", () => {
  const state = {
    ...start,
    view: "map" as const,
    run: "a1",
    layer: 3,
    head: 5,
    query: 7,
    key: 2,
    hide: false,
  };
  assert.deepEqual(read(write(state)), state);
});

test("what is unknown or malformed stays as at the start", () => {
  assert.deepEqual(read("#view=kitchen&layer=-1&head=x&statistic=median&evil=1&__proto__=2"), start);
});

test("the start needs no words", () => assert.equal(write(start), "#"));
