import type { Status } from "../source/types";
import { useSpeech } from "../words";
import { useAsking } from "./answer";

/** How far a run is, and the way to stop it. */
export function Progress({ status }: { status: Status | null }) {
  const speech = useSpeech();
  const { source } = useAsking();
  if (status === null || status.state === "ready") return <p class="wait card">{speech.say("looking")}</p>;
  const { done, total, what } = status.progress;
  if (status.state === "failed") {
    return (
      <p class="error card" role="alert">
        {speech.say("failed", { error: status.error ?? "" })}
      </p>
    );
  }
  if (status.state === "cancelled") return <p class="wait card">{speech.say("cancelled")}</p>;
  const said =
    status.state === "waiting" ? speech.say("waiting") : speech.say("running", { what, done, total });
  return (
    <section class="card progress" aria-live="polite">
      <p>{said}</p>
      <progress max={total || 1} value={done} aria-label={said} />
      <button type="button" class="plain" onClick={() => source.cancel(status.run)}>
        {speech.say("cancel")}
      </button>
    </section>
  );
}
