"""Reference numbers for common/evaluation and worker/evaluation: run with python3, writes metrics.json beside it.

Independent of the code under test: metrics are computed from the lists of labels by their definitions, in exact fractions,
and entities by a two-pass reading of the tags (split where an entity may not go on, then drop O) instead of a state machine.
Losses by torch.nn.functional.
"""
import json
import random
from fractions import Fraction
from pathlib import Path

import torch

rng = random.Random(7)


def div(a, b):
    return Fraction(0) if b == 0 else Fraction(a, b)


def prf(true, said):
    """Of two sets."""
    hit = len(true & said)
    p, r = div(hit, len(said)), div(hit, len(true))
    return p, r, (Fraction(0) if p + r == 0 else 2 * p * r / (p + r))


def summary(true, said, classes, correct, total, average):
    """true, said: sets of (where, class)."""
    per = [prf({x for x in true if x[-1] == c}, {x for x in said if x[-1] == c}) for c in classes]
    macro = [sum(v[i] for v in per) / len(per) for i in range(3)]
    micro = prf(true, said)
    p, r, f = macro if average == "macro" else micro if average == "micro" else per[average]
    values = dict(accuracy=div(correct, total), f1=f, f1_macro=macro[2], f1_micro=micro[2], precision=p, recall=r)
    return {k: float(v) for k, v in values.items()}


def logits(n):
    return [[rng.randint(-40, 40) / 10 for _ in range(n)] for _ in range(1)][0]


def single(rows, labels, positive, hidden):
    z = [logits(len(labels)) for _ in range(rows)]
    y = [rng.randrange(len(labels) - hidden) for _ in range(rows)]
    y[2] = -100
    keep = [i for i in range(rows) if y[i] != -100]
    said = {i: max(range(len(labels)), key=lambda c: (z[i][c], -c)) for i in keep}
    classes = range(len(labels))
    average = "macro" if positive is None else positive
    m = summary({(i, y[i]) for i in keep}, {(i, said[i]) for i in keep}, classes,
                sum(said[i] == y[i] for i in keep), len(keep), average)
    loss = torch.nn.functional.cross_entropy(torch.tensor(z, dtype=torch.float64), torch.tensor(y), reduction="sum")
    return dict(head="sequence-classification", labels=labels, multiLabel=False, positive=positive, rows=rows, length=1,
                logits=sum(z, []), targets=y, loss=float(loss), metrics=m)


def multi(rows, labels):
    z = [logits(len(labels)) for _ in range(rows)]
    y = [[rng.randrange(2) for _ in labels] for _ in range(rows)]
    true = {(i, c) for i in range(rows) for c in range(len(labels)) if y[i][c]}
    said = {(i, c) for i in range(rows) for c in range(len(labels)) if z[i][c] > 0}
    correct = sum(all((z[i][c] > 0) == bool(y[i][c]) for c in range(len(labels))) for i in range(rows))
    m = summary(true, said, range(len(labels)), correct, rows, "macro")
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(z, dtype=torch.float64), torch.tensor(y, dtype=torch.float64), reduction="sum")
    return dict(head="sequence-classification", labels=labels, multiLabel=True, positive=None, rows=rows, length=1,
                logits=sum(z, []), targets=sum(y, []), loss=float(loss), metrics=m)


def entities(tags):
    """Pieces of the sequence that hang together: cut between i and i+1 unless the second goes on with the first."""
    def goes_on(a, b):
        return a[0] in "BI" and b[0] in "IE" and a[2:] == b[2:]
    found, start = set(), 0
    for i in range(len(tags)):
        if i + 1 == len(tags) or not goes_on(tags[i], tags[i + 1]):
            if tags[i] != "O":
                found.add((start, i + 1, tags[i][2:]))
            start = i + 1
    return found


def tagging(rows, length, labels):
    z = [[logits(len(labels)) for _ in range(length)] for _ in range(rows)]
    y = [[rng.randrange(len(labels)) for _ in range(length)] for _ in range(rows)]
    for r in range(rows):  # half of the predictions right, special and padding positions masked
        for t in range(length):
            if rng.random() < 0.6:
                z[r][t][y[r][t]] = 5.0
            if t == 0 or t > length - 2 - r % 3 or rng.random() < 0.1:
                y[r][t] = -100
    true, said, correct, total = set(), set(), 0, 0
    for r in range(rows):
        keep = [t for t in range(length) if y[r][t] != -100]
        best = [max(range(len(labels)), key=lambda c: (z[r][t][c], -c)) for t in keep]
        correct += sum(b == y[r][t] for b, t in zip(best, keep))
        total += len(keep)
        if "O" in labels:
            true |= {(r, *e) for e in entities([labels[y[r][t]] for t in keep])}
            said |= {(r, *e) for e in entities([labels[b] for b in best])}
        else:
            true |= {(r, t, labels[y[r][t]]) for t in keep}
            said |= {(r, t, labels[b]) for b, t in zip(best, keep)}
    classes = list(dict.fromkeys(l[2:] for l in labels if l != "O")) if "O" in labels else labels
    m = summary(true, said, classes, correct, total, "micro" if "O" in labels else "macro")
    loss = torch.nn.functional.cross_entropy(
        torch.tensor(z, dtype=torch.float64).reshape(-1, len(labels)), torch.tensor(y).reshape(-1), reduction="sum")
    return dict(head="token-classification", labels=labels, multiLabel=False, positive=None, rows=rows, length=length,
                logits=sum(sum(z, []), []), targets=sum(y, []), loss=float(loss), metrics=m)


cases = {
    "two labels, the last positive": single(40, ["ham", "spam"], 1, 0),
    "two labels, the first positive": single(40, ["ham", "spam"], 0, 0),
    "five labels, one of which never occurs": single(60, list("abcde"), None, 1),
    "five labels, one of them positive": single(30, list("abcde"), 3, 0),
    "several labels a text": multi(40, ["x", "y", "z"]),
    "entities": tagging(12, 14, ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]),
    "entities with ends and single ones": tagging(12, 16, ["O", "B-A", "I-A", "E-A", "S-A", "B-B", "I-B", "E-B", "S-B"]),
    "parts of speech": tagging(8, 10, ["NOUN", "VERB", "ADJ"]),
}
Path(__file__).with_name("metrics.json").write_text(json.dumps(cases))
