import type { ComponentChildren } from "preact";

interface Told {
  number: number;
  title: string;
  say: ComponentChildren;
  children: ComponentChildren;
}

/** One step of the equation: its number, what it does, and what comes out. */
export function Step({ number, title, say, children }: Told) {
  return (
    <li class="step" id={`step-${number}`}>
      <h3>
        <span class="number" aria-hidden="true">
          {number}
        </span>
        {title}
      </h3>
      <p class="quiet">{say}</p>
      {children}
    </li>
  );
}
