import type { Tokens } from "../source/types";

export type Item = { segment: string } | { token: number };

/** The lines of the list: each part's name, then its tokens; `line[token]` is where a token stands. */
export function listed({ tokens, segments }: Tokens): { items: Item[]; line: number[] } {
  const named = new Map(segments.length > 1 ? segments.map(({ name, start }) => [start, name]) : []);
  const items: Item[] = [];
  const line: number[] = [];
  tokens.forEach((_, token) => {
    const segment = named.get(token);
    if (segment !== undefined) items.push({ segment });
    line.push(items.length);
    items.push({ token });
  });
  return { items, line };
}

/** The tokens that hold the text, upper and lower case alike. */
export function matches(tokens: string[], text: string): number[] {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return [];
  return tokens.flatMap((token, index) => (token.toLowerCase().includes(wanted) ? [index] : []));
}
