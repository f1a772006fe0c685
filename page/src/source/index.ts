import { Live } from "./live";
import { Saved, type SavedPage } from "./saved";
import type { Source } from "./types";

/** The saved numbers if the page holds any, else the server it came from. */
export function source(page: Document): Source {
  const saved = page.getElementById("saved")?.textContent;
  return saved ? new Saved(JSON.parse(saved) as SavedPage) : new Live();
}
