import { Lost, Refused } from "../source/types";
import { useSpeech } from "../words";

/** What went wrong, in a sentence and in the reader's language where the page knows the reason. */
export function Explained({ error }: { error: Error }) {
  const speech = useSpeech();
  return (
    <p class="error" role="alert">
      {explain(error, (word, blanks) => speech.say(word, blanks))}
    </p>
  );
}

type Say = (
  word: "lost" | "savedAsk" | "unknownRun" | "refused" | "failed",
  blanks?: Record<string, string>,
) => string;

export function explain(error: Error, say: Say): string {
  if (error instanceof Lost) return say("lost");
  if (!(error instanceof Refused)) return say("failed", { error: error.message });
  if (error.message === "saved") return say("savedAsk");
  if (error.status === 404) return say("unknownRun");
  return say("refused", { error: error.message });
}
