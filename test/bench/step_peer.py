"""The other side of bench-step.ts: the model and the step of ddp_gpt.py (its folder is the first argument), in a process
that times as many steps as a line of its input says. LoRA is put on its linear layers as PEFT does it, without dropout.
Settings are the second argument; the end of the input is answered with the peak of its memory.
"""

import argparse
import json
import sys
import time

import torch
import torch.nn as nn

sys.path.insert(0, sys.argv[1])
from ddp_gpt import GPT  # noqa: E402


class LowRank(nn.Module):
    def __init__(self, base, rank):
        super().__init__()
        self.base = base
        self.a = nn.Linear(base.in_features, rank, bias=False)
        self.b = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, x):
        return self.base(x) + 2 * self.b(self.a(x))


def main():
    s = json.loads(sys.argv[2])
    torch.set_num_threads(s["threads"])
    torch.manual_seed(0)
    names = ("layers", "dim", "heads", "seq", "vocab", "batch")
    model = GPT(argparse.Namespace(**{name: s[name] for name in names}))
    total = sum(p.numel() for p in model.parameters())
    if s["loraRank"] > 0:
        for p in model.parameters():
            p.requires_grad = False
        for block in model.blocks:
            for name in ("qkv", "proj", "fc", "fc2"):
                setattr(block, name, LowRank(getattr(block, name), s["loraRank"]))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)

    def step():
        ids = torch.randint(0, s["vocab"], (s["batch"], s["seq"]))
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        model(ids, torch.roll(ids, -1, 1)).backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        return (time.perf_counter() - start) * 1e3

    for line in sys.stdin:
        print(json.dumps({"times": [step() for _ in range(int(line))]}), flush=True)
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    print(json.dumps({"peakKb": peak, "trained": sum(p.numel() for p in trained), "total": total}), flush=True)


main()
