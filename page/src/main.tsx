import { render } from "preact";
import { App } from "./App";
import { source } from "./source";

const root = document.getElementById("page")!;
root.replaceChildren();
render(<App source={source(document)} />, root);
