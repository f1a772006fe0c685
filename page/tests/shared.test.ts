import assert from "node:assert/strict";
import { test } from "node:test";
import { listed, matches } from "../src/map/listed";
import { joined } from "../src/map/segments";
import { binned } from "../src/map/strips";
import { csv } from "../src/shared/export";
import { digits, percent } from "../src/shared/numbers";
import { legible } from "../src/shared/text";
import { preferred, Speech } from "../src/words/index";
import { en } from "../src/words/en";
import { zh } from "../src/words/zh";

test("numbers have four digits that count", () => {
  const shown = [12.4321, 0.41098, -0.0411234, 3.1e-7, 0, null, -Infinity].map((value) => digits(value));
  assert.deepEqual(shown, ["12.43", "0.4110", "−0.04112", "3.10e−7", "0", "–", "−∞"]);
});

test("shares in percent", () =>
  assert.deepEqual([0.6733, 0.0004, 1, 0].map(percent), ["67.3 %", "<0.1 %", "100 %", "0.0 %"]));

test("cells with commas and quotes are quoted", () =>
  assert.equal(csv([["a,b", 'say "x"', 1, null]]), '"a,b","say ""x""",1,\r\n'));

test("tokens that can't be seen are made visible", () =>
  assert.deepEqual([" it", "Ġit", "\n", "  ", ""].map(legible), ["it", "it", "⏎", "␣␣", "∅"]));

test("both languages leave the same blanks", () => {
  const blanks = (text: string) => [...text.matchAll(/\{\w+\}/g)].map(([name]) => name).sort();
  for (const word of Object.keys(en) as (keyof typeof en)[])
    assert.deepEqual(blanks(zh[word]), blanks(en[word]), word);
});

test("a measure that the page doesn't know keeps the server's name", () => {
  assert.equal(new Speech("zh").known("m_", "entropy", "entropy"), "熵");
  assert.equal(new Speech("zh").known("m_", "novelty", "novelty"), "novelty");
  assert.equal(preferred(null, ["zh-CN"]), "zh");
});

test("neighbouring parts are joined by their sizes, and rows still add up to 1", () => {
  const segments = [
    { name: "a", start: 0, stop: 3 },
    { name: "b", start: 3, stop: 4 },
  ];
  const { shares } = joined(
    segments,
    [
      [0.2, 0.8],
      [1, 0],
    ],
    1,
  );
  assert.ok(Math.abs(shares[0]![0]! - 1) < 1e-12);
});

test("a list has a line for each part's name", () => {
  const tokens = ["a", "b", "c"];
  const segments = [
    { name: "one", start: 0, stop: 2 },
    { name: "two", start: 2, stop: 3 },
  ];
  assert.deepEqual(listed({ tokens, segments, special: [], glued: [] }).line, [1, 2, 4]);
  assert.deepEqual(matches(["It", "was", "bit"], "IT"), [0, 2]);
});

test("pixels take the mean or the largest of their tokens", () => {
  const where = { k: 0.5, offset: 0 };
  assert.deepEqual([...binned([1, 3, 5, 7], 0, 2, where, "mean")], [2, 6]);
  assert.deepEqual([...binned([1, 3, 5, 7], 0, 2, where, "max")], [3, 7]);
});
