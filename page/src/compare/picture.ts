import { colourNamed, drawing, escaped } from "../shared/export";

const SIZE = 360;

/** Both maps in small, as they are on the page, with their texts. */
export function bothDrawn(title: string): string {
  const ink = colourNamed("--ink");
  const text = (x: number, y: number, said: string, size: number) =>
    `<text x="${x}" y="${y}" font-size="${size}" fill="${ink}">${escaped(said)}</text>`;
  const sides = [...document.querySelectorAll<HTMLElement>(".sides > section")].map((side, index) => {
    const x = 16 + index * (SIZE + 24);
    const canvas = side.querySelector<HTMLCanvasElement>(".mini canvas");
    const said = side.querySelector(".mostly")?.textContent ?? "";
    const image = canvas
      ? `<image x="${x}" y="64" width="${SIZE}" height="${SIZE}" style="image-rendering:pixelated" href="${canvas.toDataURL()}"/>`
      : "";
    return text(x, 54, said, 12) + image;
  });
  return drawing(2 * SIZE + 56, SIZE + 84, colourNamed("--paper"), text(16, 28, title, 15) + sides.join(""));
}
