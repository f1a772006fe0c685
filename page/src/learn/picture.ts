import { colourNamed, csv, drawing, type Exported, escaped } from "../shared/export";
import { percent } from "../shared/numbers";
import { legible } from "../shared/text";
import type { Steps } from "../source/types";

const ROW = 22;
const LEFT = 130;
const WIDTH = 640;

/** One row of a head as a picture of bars, and as a table. */
export function pictured(name: string, title: string, tokens: string[], steps: Steps): Exported {
  return {
    name,
    svg: () => svg(title, tokens, steps),
    csv: () =>
      csv([
        ["key", "token", "dot", "score", "bias", "visible", "weight"],
        ...tokens.map((token, key) => [
          key,
          token,
          steps.dot?.[key] ?? null,
          steps.score[key]!,
          steps.bias?.[key] ?? null,
          steps.visible[key] ? 1 : 0,
          steps.weights[key]!,
        ]),
      ]),
  };
}

function svg(title: string, tokens: string[], steps: Steps): string {
  const ink = colourNamed("--ink");
  const bar = colourNamed("--key");
  const most = Math.max(...steps.weights, 1e-9);
  const rows = tokens.map((token, key) => {
    const y = 56 + key * ROW;
    const wide = ((WIDTH - LEFT - 80) * steps.weights[key]!) / most;
    const bold = key === steps.query ? ' font-weight="700"' : "";
    return (
      `<text x="${LEFT - 8}" y="${y + 14}" text-anchor="end" fill="${ink}"${bold}>${escaped(legible(token))}</text>` +
      `<rect x="${LEFT}" y="${y + 3}" width="${wide.toFixed(1)}" height="${ROW - 6}" rx="2" fill="${bar}"/>` +
      `<text x="${LEFT + wide + 6}" y="${y + 14}" fill="${ink}">${escaped(percent(steps.weights[key]))}</text>`
    );
  });
  const head = `<text x="16" y="32" font-size="15" fill="${ink}">${escaped(title)}</text>`;
  return drawing(WIDTH, 72 + tokens.length * ROW, colourNamed("--paper"), head + rows.join(""));
}
