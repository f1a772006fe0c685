import { type Language, useSpeech } from "../words";
import type { View } from "./state";
import { useStore } from "./store";

const views: View[] = ["learn", "map", "compare"];

/** The name, the three views, language, light and keys. */
export function Top({ dark, onHelp }: { dark: boolean; onHelp: () => void }) {
  const { state, change } = useStore();
  const speech = useSpeech();
  const language = (lang: Language, name: string) => (
    <button
      type="button"
      lang={lang}
      aria-pressed={speech.language === lang}
      onClick={() => change({ lang })}
    >
      {name}
    </button>
  );
  return (
    <header class="top">
      <a class="skip" href="#content" onClick={skip}>
        {speech.say("skip")}
      </a>
      <h1>
        regard <small>{speech.say("tagline")}</small>
      </h1>
      <nav aria-label={speech.say("views")}>
        {views.map((view) => (
          <button
            key={view}
            type="button"
            aria-current={state.view === view ? "page" : undefined}
            onClick={() => change({ view })}
          >
            {speech.say(view)}
          </button>
        ))}
      </nav>
      <div class="tools">
        <fieldset class="joined" aria-label={speech.say("language")}>
          {language("en", "EN")}
          {language("zh", "中文")}
        </fieldset>
        <button
          type="button"
          aria-label={`${speech.say("theme")}: ${speech.say(dark ? "themeDark" : "themeLight")}`}
          title={speech.say("theme")}
          onClick={() => change({ theme: dark ? "light" : "dark" })}
        >
          {dark ? "☾" : "☀"}
        </button>
        <button type="button" aria-label={speech.say("help")} title={speech.say("help")} onClick={onHelp}>
          ?
        </button>
      </div>
    </header>
  );
}

function skip(event: Event) {
  event.preventDefault();
  document.getElementById("content")?.focus();
}
