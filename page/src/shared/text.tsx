import type { ComponentChildren } from "preact";
import type { Tokens } from "../source/types";

/** A token as it can be read: spaces and line ends that would vanish are shown. */
export function legible(token: string | undefined): string {
  if (token === undefined) return "";
  const plain = token.replace(/^[Ġ▁]/, " ").replaceAll("Ċ", "\n");
  const trimmed = plain.trim();
  if (trimmed !== "") return trimmed;
  return plain.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll(" ", "␣") || "∅";
}

/** A token inside of a sentence, in the colour of its part: query, key or value. */
export function Tok({ part, children }: { part: "query" | "key" | "value"; children: ComponentChildren }) {
  return (
    <span class={`tok ${part}`} dir="auto">
      {children}
    </span>
  );
}

/** Up to `around` tokens on both sides of one, for reading it in its place. */
export function surroundings(tokens: Tokens, at: number, around: number): [string, string, string] {
  const glued = new Set(tokens.glued);
  const joined = (from: number, to: number) => {
    let text = "";
    for (let index = Math.max(0, from); index < Math.min(tokens.tokens.length, to); index++) {
      const word = legible(tokens.tokens[index]);
      const whole = glued.has(index) || word.startsWith("##");
      text += whole ? word.replace(/^##/, "") : ` ${word}`;
    }
    return text;
  };
  return [joined(at - around, at), legible(tokens.tokens[at]), joined(at + 1, at + 1 + around)];
}
