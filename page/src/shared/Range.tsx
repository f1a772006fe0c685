import { colours, css } from "./colour";
import { digits } from "./numbers";
import { useStore } from "./store";

/** What the colours stand for, from the least to the most. */
export function Range({ low, high }: { low: number; high: number }) {
  const table = colours(useStore().state.palette);
  const stops = [0, 0.25, 0.5, 0.75, 1].map((t) => css(table, t)).join(", ");
  return (
    <span class="range">
      <span>{digits(low, 2)}</span>
      <i style={{ backgroundImage: `linear-gradient(to right, ${stops})` }} />
      <span>{digits(high, 2)}</span>
    </span>
  );
}
