"""The explanation as a page for a terminal: the head, the text, the six steps, the checks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from regard.explain import strip, table
from regard.explain.story import Explanation
from regard.explain.terminal import Terminal, bar, clip, pad, percent, wrapped
from regard.explain.tokens import Token

__all__ = ["page"]

SHOWN_PRODUCTS = 6
SHOWN_KEYS = 8
NOTE = "Weights are not explanations: they say where this head looked, not why."


def page(told: Explanation, terminal: Terminal) -> str:
    """The whole page, no line wider than the terminal."""
    parts = [_title, _heads, _text, _vectors, _products, _score, _weights, _sum, _checks]
    lines = [line for part in parts for line in (*part(told, terminal), "")]
    lines += _wrapped(NOTE, terminal, faint=True, indent=0)
    return "\n".join(lines)


def _title(told: Explanation, terminal: Terminal) -> Iterator[str]:
    sizes = {len(row) for row in told.table}
    heads = f"{min(sizes)}" if len(sizes) == 1 else f"{min(sizes)}–{max(sizes)}"
    kind = type(told.loaded.model).__name__
    sizes_said = f"{len(told.table)} layers × {heads} heads · {len(told.tokens)} tokens"
    name = clip(Path(told.loaded.name).name, 24)
    yield terminal.bold(clip(f"{name} ({kind}) · {sizes_said}", terminal.columns))
    yield from _labelled("rule", told.rule, terminal)
    near = told.agreement
    whole = near.tokens == len(told.tokens)
    which = "regard in every layer" if whole else f"first {near.tokens} tokens: regard"
    yield from _labelled("exact", f"{which} vs the model's own eager attention: {_tiny(near.difference)}", terminal)


def _heads(told: Explanation, terminal: Terminal) -> Iterator[str]:
    choice = told.choice
    yield terminal.heading("Which head")
    yield from _wrapped(told.reach.formula, terminal)
    if choice.matches:
        named = _quoted(told.tokens[choice.query])
        count = len(choice.matches)
        where = (
            f"; here i is {named}, which you named" if count < 2 else f"; here the best of the {count} i that you named"
        )
    else:
        words = sum(token.word >= 0 for token in told.tokens.each)
        where = "" if told.measured >= words else f"; measured at {told.measured} of {words} tokens, evenly spaced"
    yield from _wrapped(f"in %: {told.reach.meaning}{where}", terminal, faint=True)
    yield from table.lines(told.table, (choice.layer, choice.head), terminal)
    yield from _wrapped(_why(told), terminal)


def _why(told: Explanation) -> str:
    choice = told.choice
    value = told.table[choice.layer][choice.head]
    rank = 1 + sum(other > value for row in told.table for other in row)
    among = sum(map(len, told.table))
    place = "the highest" if rank == 1 else f"rank {rank}"
    said = f"shown: layer {choice.layer} head {choice.head}, {place} of {among} ({value:.1%})"
    if len(choice.matches) > 1:
        others = ", ".join(str(match) for match in choice.matches if match != choice.query)
        return f"{said}; of the tokens that read the same, {choice.query} (the others: {others})"
    if not choice.matches:
        return (
            f"{said}; in it the query {_quoted(told.tokens[choice.query])}, which reaches furthest ({choice.reach:.1%})"
        )
    return said


def _text(told: Explanation, terminal: Terminal) -> Iterator[str]:
    query = told.tokens[told.choice.query]
    yield terminal.heading(f"What {_quoted(query)} looks at, % of its weight")
    yield from strip.lines(told.tokens, told.numbers.weights.tolist(), query.index, terminal)
    weights = told.numbers.weights
    special = sum(float(weights[token.index]) for token in told.tokens.each if token.kind == "special")
    marks = sum(float(weights[token.index]) for token in told.tokens.each if token.kind == "mark")
    said = [f"on special tokens {percent(special)}"] * any(token.kind == "special" for token in told.tokens.each)
    said += [f"on punctuation {percent(marks)}"]
    said += [f"on itself {percent(float(weights[query.index]))}"]
    said += [f"on the sink {percent(told.numbers.sink)}"] * (told.numbers.sink > 0)
    if told.choice.asked.rule.pattern is not None and float(weights[0]) > 0 and told.tokens[0].kind != "special":
        said.append(f"on the first token {percent(float(weights[0]))}")
    yield from _wrapped(" · ".join(said), terminal)
    unknown = sum(token.kind == "unknown" for token in told.tokens.each)
    if unknown:
        yield from _wrapped(f"{unknown} tokens are [UNK]: this model has no piece for what stands there", terminal)


def _vectors(told: Explanation, terminal: Terminal) -> Iterator[str]:
    numbers, choice = told.numbers, told.choice
    query, key = told.tokens[choice.query], told.tokens[choice.key]
    turned = " (rotary positions applied)" if getattr(told.loaded.model.config, "rope_parameters", None) else ""
    yield terminal.heading(f"1  q and k, {numbers.query.numel()} numbers each{turned}")
    for name, token, vector in (("q", query, numbers.query), ("k", key, numbers.key)):
        some = " ".join(f"{value:+6.2f}" for value in vector[: (terminal.columns - 44) // 7].tolist())
        yield f"   {name} of {pad(_quoted(token), 20)} {some} …  ‖{name}‖ {float(vector.norm()):.2f}"


def _products(told: Explanation, terminal: Terminal) -> Iterator[str]:
    numbers = told.numbers
    yield terminal.heading("2  q · k, dimension by dimension")
    order = numbers.products.abs().argsort(descending=True)[:SHOWN_PRODUCTS].tolist()
    most = max((abs(float(numbers.products[dim])) for dim in order), default=1.0) or 1.0
    room = terminal.columns - 46
    for dim in order:
        q, k, product = float(numbers.query[dim]), float(numbers.key[dim]), float(numbers.products[dim])
        yield f"   d {dim:<4} {q:+8.3f} × {k:+8.3f}  = {product:+9.3f}   {bar(abs(product) / most, room).rstrip()}"
    rest = numbers.raw - sum(float(numbers.products[dim]) for dim in order)
    count = numbers.products.numel() - len(order)
    yield f"   {pad(f'the rest, {count} dimensions', 29)} {rest:+9.3f}"
    yield f"   {pad('q · k', 29)} {numbers.raw:+9.3f}"


def _score(told: Explanation, terminal: Terminal) -> Iterator[str]:
    numbers, key = told.numbers, told.choice.key
    yield terminal.heading("3  score = scale · q · k, then bias and mask")
    size = numbers.query.numel()
    root = f" (1/√{size})" if abs(numbers.scale * size**0.5 - 1) < 1e-4 else ""
    yield f"   {numbers.scale:.6g}{root} × {numbers.raw:+.3f} = {numbers.raw * numbers.scale:+.3f}"
    if numbers.cap is not None:
        yield f"   capped: {numbers.cap:g} · tanh(score / {numbers.cap:g}) = {float(numbers.score[key]):+.3f}"
    bias = "none in this rule" if numbers.bias is None else f"{float(numbers.bias[key]):+.3f}"
    hidden = int((~numbers.visible).sum())
    seen = f"{len(told.tokens) - hidden} of {len(told.tokens)}" if hidden else f"all {len(told.tokens)}"
    yield from _wrapped(f"bias: {bias} · mask: {seen} keys may be looked at", terminal)


def _weights(told: Explanation, terminal: Terminal) -> Iterator[str]:
    numbers, key = told.numbers, told.choice.key
    yield terminal.heading("4  softmax: w = exp(score − lse), lse = log Σ exp(score)")
    score = float(numbers.masked[key])
    left = f" × {1 - numbers.sink:.4f}, what the sink leaves," if numbers.sink else ""
    yield f"   exp({score:+.3f} − {numbers.lse:.3f}){left} = {float(numbers.weights[key]):.4f}"
    room = terminal.columns - 63
    yield terminal.faint(f"   {pad('key', 22)} {'score':>8} {'weight':>8}  {pad('', room)} {'average':>8} {'w·‖v‖':>8}")
    order = [place for place in _strongest(told) if numbers.visible[place]]
    most = float(numbers.weights.max()) or 1.0
    for place in order:
        token, weight = told.tokens[place], float(numbers.weights[place])
        label = pad(f"{place} {token.label}", 22)
        drawn = bar(weight / most, room)
        yield (
            f"   {label} {float(numbers.masked[place]):+8.3f} {percent(weight):>8}  {drawn} "
            f"{percent(float(told.choice.average[place])):>8} {weight * float(numbers.lengths[place]):>8.3f}"
        )
    count = int(numbers.visible.sum()) - len(order)
    share = float(numbers.weights.sum()) - sum(float(numbers.weights[place]) for place in order)
    if count:
        yield f"   {pad(f'rest: {count} key' + 's' * (count > 1), 22)} {'':>8} {percent(abs(share)):>8}"
    yield from _wrapped("average: what this head gives the key, over all words as queries", terminal, faint=True)


def _sum(told: Explanation, terminal: Terminal) -> Iterator[str]:
    out = told.numbers.out
    yield terminal.heading("5  out = Σ w·v, what the head writes for this query")
    some = " ".join(f"{value:+6.3f}" for value in out[:6].tolist())
    yield f"   {some} …  ‖out‖ {float(out.norm()):.3f}"


def _checks(told: Explanation, terminal: Terminal) -> Iterator[str]:
    near = told.agreement
    yield terminal.heading("6  check")
    total = float(told.numbers.weights.double().sum())
    sink = " (a sink takes the rest)" if told.numbers.sink > 0 else ""
    yield from _wrapped(f"Σw = {total:.6f}{sink} · Σ w·v differs from regard.attend by {_tiny(near.out)}", terminal)
    said = f"final hidden states by {_tiny(near.difference)}, the largest of them being {near.largest:.1f}"
    if near.weights is not None:
        said = f"these weights by {_tiny(near.weights)}, {said}"
    yield from _wrapped(f"from the model's own eager attention differ: {said}", terminal)


def _strongest(told: Explanation) -> list[int]:
    """The keys with the most weight, lower index first among equals."""
    weights = told.numbers.weights.tolist()
    return sorted(range(len(weights)), key=lambda place: (-weights[place], place))[:SHOWN_KEYS]


def _tiny(difference: float) -> str:
    return f"{difference:.1e}" if difference else "0"


def _quoted(token: Token) -> str:
    return f'"{clip(token.text, 16)}" ({token.index})'


def _labelled(label: str, said: str, terminal: Terminal) -> Iterator[str]:
    """A word in the margin, and a sentence beside it."""
    first, *more = _wrapped(said, terminal, indent=7)
    yield pad(label, 7) + first.lstrip()
    yield from more


def _wrapped(said: str, terminal: Terminal, faint: bool = False, indent: int = 3) -> Iterator[str]:
    """A sentence over as many lines as it needs, set in."""
    for line in wrapped(said, terminal.columns - indent):
        yield " " * indent + (terminal.faint(line) if faint else line)
