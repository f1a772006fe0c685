import { type ComponentChild, createContext } from "preact";
import { useContext } from "preact/hooks";
import { en, type Word, type Words } from "./en";
import { zh } from "./zh";

export type Language = "en" | "zh";
export type { Word } from "./en";

const languages: Record<Language, Words> = { en, zh };

/** What the page says, in one language. */
export class Speech {
  constructor(readonly language: Language) {}

  /** A sentence with its blanks filled by text. */
  say(word: Word, blanks: Record<string, string | number> = {}): string {
    return pieces(languages[this.language][word])
      .map((piece) => (piece.blank ? String(blanks[piece.text] ?? "") : piece.text))
      .join("");
  }

  /** A sentence with its blanks filled by elements. */
  show(word: Word, blanks: Record<string, ComponentChild>): ComponentChild[] {
    return pieces(languages[this.language][word]).map((piece) =>
      piece.blank ? blanks[piece.text] : piece.text,
    );
  }

  /** The sentence under a name that the server gave, if the page knows it, else what the server said. */
  known(prefix: string, name: string, otherwise: string): string {
    const word = `${prefix}${name}`;
    return word in en ? languages[this.language][word as Word] : otherwise;
  }
}

/** "a {b} c" as text and blanks. */
export function pieces(sentence: string): { text: string; blank: boolean }[] {
  return sentence
    .split(/\{(\w+)\}/)
    .map((text, index) => ({ text, blank: index % 2 === 1 }))
    .filter(({ text }) => text !== "");
}

/** The language of the link, of the last visit, or of the browser. */
export function preferred(wanted: string | null, languages: readonly string[]): Language {
  if (wanted === "en" || wanted === "zh") return wanted;
  return languages[0]?.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export const Spoken = createContext(new Speech("en"));
export const useSpeech = () => useContext(Spoken);
