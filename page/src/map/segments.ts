import type { Segment } from "../source/types";

export interface Table {
  segments: Segment[];
  shares: number[][];
}

/** Neighbouring parts joined until there are few enough to read; rows count by their number of tokens. */
export function joined(segments: Segment[], shares: (number | null)[][], most: number): Table {
  const size = Math.ceil(segments.length / most);
  if (size <= 1) return { segments, shares: shares.map((row) => row.map((share) => share ?? 0)) };
  const groups: number[][] = [];
  segments.forEach((_, index) => {
    if (index % size === 0) groups.push([]);
    groups.at(-1)!.push(index);
  });
  const tokens = (index: number) => segments[index]!.stop - segments[index]!.start;
  return {
    segments: groups.map((group) => ({
      name: `${segments[group[0]!]!.name} … ${segments[group.at(-1)!]!.name}`,
      start: segments[group[0]!]!.start,
      stop: segments[group.at(-1)!]!.stop,
    })),
    shares: groups.map((rows) => {
      const all = rows.reduce((sum, row) => sum + tokens(row), 0);
      return groups.map((columns) =>
        rows.reduce((sum, row) => {
          const share = columns.reduce((part, column) => part + (shares[row]?.[column] ?? 0), 0);
          return sum + (share * tokens(row)) / all;
        }, 0),
      );
    }),
  };
}
