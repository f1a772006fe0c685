import { useSpeech } from "../words";

/** What is shown, as a picture and as a table. */
export interface Exported {
  name: string;
  svg: () => string;
  csv: () => string;
}

/** Three buttons: what is shown, as PNG, SVG and CSV. */
export function Export({ of }: { of: Exported }) {
  const speech = useSpeech();
  return (
    <fieldset class="export">
      <legend>{speech.say("export")}</legend>
      <button type="button" onClick={() => savePng(of)}>
        PNG
      </button>
      <button type="button" onClick={() => save(`${of.name}.svg`, of.svg(), "image/svg+xml")}>
        SVG
      </button>
      <button type="button" onClick={() => save(`${of.name}.csv`, of.csv(), "text/csv")}>
        CSV
      </button>
    </fieldset>
  );
}

function save(name: string, content: string | Blob, type: string): void {
  const blob = typeof content === "string" ? new Blob([content], { type: `${type};charset=utf-8` }) : content;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function savePng({ name, svg }: Exported): Promise<void> {
  const image = new Image();
  const address = URL.createObjectURL(new Blob([svg()], { type: "image/svg+xml" }));
  image.src = address;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth * 2;
  canvas.height = image.naturalHeight * 2;
  canvas.getContext("2d")!.drawImage(image, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(address);
  canvas.toBlob((blob) => blob && save(`${name}.png`, blob, "image/png"));
}

/** Rows as a table of comma-separated values (RFC 4180). */
export function csv(rows: (string | number | null)[][]): string {
  return rows
    .map((row) => row.map(quoted).join(","))
    .join("\r\n")
    .concat("\r\n");
}

function quoted(cell: string | number | null): string {
  const text = cell === null ? "" : String(cell);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Text for an SVG. */
export function escaped(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

/** A drawing of a size, with its background, as a file of its own. */
export function drawing(width: number, height: number, background: string, body: string): string {
  const size = `width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`;
  const face = 'font-family="system-ui, sans-serif" font-size="13"';
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size} ${face}><rect width="100%" height="100%" fill="${background}"/>${body}</svg>`;
}

/** The page's colour of that name, as it is now. */
export function colourNamed(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
