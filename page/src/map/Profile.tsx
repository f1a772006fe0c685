import { useState } from "preact/hooks";
import { Bars } from "../shared/Bars";
import { percent } from "../shared/numbers";
import type { Head } from "../source/types";
import { useSpeech } from "../words";

type Bin = Head["profile"][number];

/** How far a head looks: shares of all its weight by distance, before the query to the left, after it to the right. */
export function Profile({ head }: { head: Head }) {
  const speech = useSpeech();
  const [at, point] = useState<number | null>(null);
  const ahead = head.profile.some(({ distance_from, share }) => distance_from > 0 && share > 0);
  const bins = head.profile.filter(({ distance_from }) => ahead || distance_from <= 0);
  const said = ({ distance_from, distance_to, share }: Bin) =>
    speech.say("profileAt", { from: signed(distance_from), to: signed(distance_to), share: percent(share) });
  return (
    <section class="card profile" aria-labelledby="profile-title">
      <h2 id="profile-title">{speech.say("profile")}</h2>
      <p class="quiet small">{speech.say("profileSay")}</p>
      <Bars
        values={bins.map(({ share }) => share)}
        part="key"
        label={bins.map(said).join("; ")}
        at={at}
        onPoint={point}
      />
      <p class="quiet small ends" aria-hidden="true">
        <span>{signed(bins[0]?.distance_from ?? 0)}</span>
        {at !== null && bins[at] && <strong>{said(bins[at])}</strong>}
        <span>{signed(bins.at(-1)?.distance_to ?? 0)}</span>
      </p>
    </section>
  );
}

const signed = (distance: number) => (distance > 0 ? `+${distance}` : String(distance).replace("-", "−"));
