import { colours, css, ink } from "../shared/colour";
import { useStore } from "../shared/store";
import type { Head, Segment, Tokens } from "../source/types";
import { useSpeech } from "../words";
import { joined } from "./segments";

const MOST = 24;

interface Parts {
  tokens: Tokens;
  head: Head;
  onGo: (rows: Segment, columns: Segment) => void;
}

/** How the parts of a text look at one another; the way into a long map. */
export function SegmentTable({ tokens, head, onGo }: Parts) {
  const speech = useSpeech();
  const { palette } = useStore().state;
  if (tokens.segments.length < 2 || !head.segments) return null;
  const { segments, shares } = joined(tokens.segments, head.segments, MOST);
  const table = colours(palette);
  return (
    <details class="card segments" open={segments.length <= MOST}>
      <summary>
        <h2>{speech.say("segments")}</h2>
      </summary>
      <p class="quiet small">{speech.say("segmentsSay")}</p>
      <div class="scroll" tabIndex={0} role="region" aria-label={speech.say("segments")}>
        <table class="parts">
          <thead>
            <tr>
              <td />
              {segments.map(({ name, start }, index) => (
                <th key={start} scope="col" title={name}>
                  {index + 1}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {shares.map((row, i) => (
              <tr key={segments[i]!.start}>
                <th scope="row" title={segments[i]!.name}>
                  <span class="quiet">{i + 1}</span> <span dir="auto">{segments[i]!.name}</span>
                </th>
                {row.map((share, j) => (
                  <td key={segments[j]!.start}>
                    <button
                      type="button"
                      tabIndex={i === 0 && j === 0 ? 0 : -1}
                      aria-label={`${i + 1} → ${j + 1}: ${(100 * share).toFixed(1)} %`}
                      style={{ background: css(table, share), color: ink(table, share) }}
                      onClick={() => onGo(segments[i]!, segments[j]!)}
                      onKeyDown={moved}
                    >
                      {share >= 0.005 ? Math.round(100 * share) : ""}
                    </button>
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}

// Arrows go from cell to cell; Tab leaves the table.
function moved(event: KeyboardEvent) {
  const cell = (event.currentTarget as HTMLElement).parentElement as HTMLTableCellElement;
  const row = cell.parentElement as HTMLTableRowElement;
  const by = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!by) return;
  event.preventDefault();
  const to = (row.parentElement as HTMLTableSectionElement).rows[row.sectionRowIndex + by[0]!];
  to?.cells[cell.cellIndex + by[1]!]?.querySelector("button")?.focus();
}
