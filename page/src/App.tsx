import { useEffect, useMemo, useState } from "preact/hooks";
import { CompareView } from "./compare/CompareView";
import { LearnView } from "./learn/LearnView";
import { MapView } from "./map/MapView";
import { AskBar } from "./shared/AskBar";
import { Asked, useAnswer, useAsking } from "./shared/answer";
import { GoTo, Help } from "./shared/Dialogs";
import { HeadMatrix } from "./shared/HeadMatrix";
import { useDark } from "./shared/media";
import { Progress } from "./shared/Progress";
import { usePageKeys } from "./shared/pagekeys";
import { Explained } from "./shared/problem";
import { type Running, useRun } from "./shared/run";
import { Stored, useAddress, useStore } from "./shared/store";
import { Top } from "./shared/Top";
import type { About, Source } from "./source/types";
import { preferred, Speech, Spoken, useSpeech } from "./words";

/** The page: what is asked, where the reader is, and the view chosen. */
export function App({ source }: { source: Source }) {
  const store = useAddress();
  const [gone, setGone] = useState(false);
  const [again, setAgain] = useState(0);
  const language = preferred(store.state.lang, navigator.languages);
  const speech = useMemo(() => new Speech(language), [language]);
  const asking = useMemo(() => ({ source, lost: () => setGone(true), again }), [source, again]);
  useEffect(() => {
    document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
    document.title = speech.say("title");
  }, [language, speech]);
  const retry = () => {
    setGone(false);
    setAgain(again + 1);
  };
  return (
    <Stored.Provider value={store}>
      <Spoken.Provider value={speech}>
        <Asked.Provider value={asking}>
          {gone && <Gone onAgain={retry} />}
          <Page />
        </Asked.Provider>
      </Spoken.Provider>
    </Stored.Provider>
  );
}

function Gone({ onAgain }: { onAgain: () => void }) {
  const speech = useSpeech();
  return (
    <div class="gone" role="alert">
      {speech.say("lost")}{" "}
      <button type="button" onClick={onAgain}>
        {speech.say("again")}
      </button>
    </div>
  );
}

function Page() {
  const { state, change } = useStore();
  const { source } = useAsking();
  const speech = useSpeech();
  const dark = useDark(state.theme);
  const [box, open] = useState<"help" | "goto" | null>(null);
  const [typed, setTyped] = useState<string | null>(null);
  const about = useAnswer("about", (from) => from.about());
  const run = useRun(state.run);
  useStart(about.value, run);
  usePageKeys(run, open);
  const begin = (next: string, text: string) => {
    setTyped(text);
    change({ run: next, layer: null, head: null, query: null, key: null, at: null });
  };
  const text = typed ?? whole(run.status?.text_start) ?? "";
  const model = offered(about.value, run.status?.model);
  return (
    <>
      <Top dark={dark} onHelp={() => open("help")} />
      <main id="content" tabIndex={-1}>
        {about.value && about.value.models.length > 0 && state.view !== "compare" && (
          <AskBar
            about={about.value}
            text={text}
            model={model}
            name="left"
            hint={run.status?.text_start}
            onRun={begin}
          />
        )}
        {!source.live && <p class="quiet small note-saved">{speech.say("savedNote")}</p>}
        {about.error && <Explained error={about.error} />}
        <View about={about.value} run={run} text={text} onRun={begin} />
      </main>
      <footer class="foot">
        <p>{speech.say("weightsAreNot")}</p>
        {source.live && <a href="licences.txt">{speech.say("licences")}</a>}
      </footer>
      {box === "help" && <Help onClose={() => open(null)} />}
      {box === "goto" && run.tokens && (
        <GoTo
          tokens={run.tokens.tokens.length}
          query={state.query ?? 0}
          chosen={state.key ?? 0}
          onGo={(query, key) => change({ query, key })}
          onClose={() => open(null)}
        />
      )}
    </>
  );
}

// A run of no model that is offered (a look shown by itself) leaves the choice at the first.
function offered(about: About | null, model: string | undefined): string {
  const models = about?.models ?? [];
  return (models.find(({ name }) => name === model) ?? models[0])?.name ?? "";
}

// A text that was cut is not offered to be asked again.
const whole = (start: string | undefined) => (start?.endsWith("…") ? "" : start);

// Without a run in the link, the server's own start or its example is shown; without a head, the telling one.
function useStart(about: About | null, { status, heads, tokens }: Running): void {
  const { state, change } = useStore();
  const { source } = useAsking();
  useEffect(() => {
    if (!about || state.run) return;
    if (about.start) return change({ run: about.start.run });
    const model = about.models[0];
    if (model && about.example)
      source.ask(about.example, model.name).then(
        (run) => change({ run }),
        () => {},
      );
  }, [about, state.run]);
  useEffect(() => {
    if (!status || !heads || !tokens) return;
    const { telling } = heads;
    const apt =
      state.layer !== null && state.head !== null && state.layer < status.layers && state.head < status.heads;
    if (!telling) return;
    if (!apt) change({ layer: telling.layer, head: telling.head, query: telling.query, key: telling.key });
    else if (state.query === null) change({ query: telling.query });
  }, [status, heads, tokens, state.layer, state.head, state.query]);
}

interface Viewed {
  about: About | null;
  run: Running;
  text: string;
  onRun: (run: string, text: string) => void;
}

function View({ about, run, text, onRun }: Viewed) {
  const { state, change } = useStore();
  const speech = useSpeech();
  const { status, tokens, heads, error } = run;
  if (error) return <Explained error={error} />;
  if (!about || !state.run) return <p class="wait card">{speech.say("looking")}</p>;
  if (!status || !tokens || status.state !== "ready" || !heads?.telling)
    return <Unfinished status={status} tokens={tokens} heads={heads} />;
  if (state.layer === null || state.head === null || state.query === null) return <Progress status={null} />;
  const shown = { status, tokens, heads };
  if (state.view === "map") return <MapView {...shown} />;
  if (state.view === "compare") return <CompareView {...shown} about={about} text={text} onRun={onRun} />;
  if (tokens.tokens.length <= about.steps_limit) return <LearnView {...shown} />;
  return (
    <section class="card">
      <p>{speech.say("tooLong", { tokens: tokens.tokens.length, limit: about.steps_limit })}</p>
      <button type="button" class="primary" onClick={() => change({ view: "map" })}>
        {speech.say("toMap")}
      </button>
    </section>
  );
}

// Layers that were seen can be looked at while the others are on their way.
function Unfinished({ status, tokens, heads }: Omit<Running, "error">) {
  const { state } = useStore();
  const seen = status?.state === "running" && tokens && heads && (state.layer ?? heads.layers) < heads.layers;
  return (
    <>
      <Progress status={status} />
      {seen ? <MapView {...{ status, tokens, heads }} /> : heads && <HeadMatrix heads={heads} />}
    </>
  );
}
