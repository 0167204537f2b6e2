# Makes regularised.json: float64 losses and gradient norms of the checkpoints here with label smoothing and with dropout,
# written from formulas in PyTorch 1.13. The masks come from the generator that worker/engine/dropout-masks.ts defines,
# written a second time.    python3 make_regularised.py regularised.json
import json, math, os, struct, sys
import numpy as np, torch, torch.nn.functional as F
torch.set_default_dtype(torch.float64)
here = os.path.dirname(os.path.abspath(__file__))
SEED, STEP, FIRST_ROW, SMOOTHING = 2**32 + 11, 3, 5, 0.15

M = 0xffffffff
def mix(x):
    x ^= x >> 16; x = x * 0x7feb352d & M; x ^= x >> 15; x = x * 0x846ca68b & M; return x ^ x >> 16
def key(place, step, row):
    a, b = 0x9e3779b9, 0x85ebca6b
    for w in [SEED & M, SEED >> 32, *map(ord, place), step, row]:
        a = mix(a ^ w); b = mix((b + a) & M)
    return a, b
def mask(place, shape, rate, rows):
    n = math.prod(shape) // rows; out = []
    for r in range(rows):
        k0, k1 = key(place, STEP, FIRST_ROW + r)
        x = (np.arange((n + 1) // 2, dtype=np.uint64) + k0) & M
        x ^= x >> 16; x = x * 0x7feb352d & M; x = (x + k1) & M; x ^= x >> 15; x = x * 0x846ca68b & M; x ^= x >> 16
        halves = np.stack([x & 0xffff, x >> 16], 1).reshape(-1)[:n]
        out.append(halves >= math.floor(rate * 65536 + 0.5))
    return torch.tensor(np.concatenate(out).astype(np.float64)).reshape(shape)

def read(path):
    raw = open(os.path.join(here, path), 'rb').read(); n = struct.unpack('<Q', raw[:8])[0]; h = json.loads(raw[8:8+n]); h.pop('__metadata__', None)
    return {k: torch.tensor(np.frombuffer(raw[8+n+v['data_offsets'][0]:8+n+v['data_offsets'][1]], '<f4').astype(np.float64).reshape(v['shape'])).requires_grad_() for k, v in h.items()}

def attend(q, k, v, heads, keys, allowed, drop, place):
    B, T, _ = q.shape; d = q.shape[2] // heads
    sh = lambda y, n: y.view(B, T, n, d).transpose(1, 2).repeat_interleave(heads // n, 1)
    s = (sh(q, heads) @ sh(k, keys).transpose(-1, -2) / math.sqrt(d)).masked_fill(~allowed, float('-inf'))
    p = drop(place + '.0', torch.softmax(s, -1), 'attention')
    return (p @ sh(v, keys)).transpose(1, 2).reshape(B, T, heads * d)

def gpt2(c, w, e, drop):
    ids = torch.tensor(e['input_ids']); B, T = ids.shape; W = c['n_embd']
    norm = lambda n, x: F.layer_norm(x, (W,), w[n+'.weight'], w[n+'.bias'], 1e-5)
    def lin(n, x):
        y = x @ w[n+'.weight'] + w[n+'.bias']; a = f'base_model.model.{n}.lora_A.weight'
        if a not in w: return y
        return y + drop(n+'.lora_dropout', x, 'lora') @ w[a].T @ w[a.replace('_A', '_B')].T * e['scale']
    x = drop('transformer.drop', w['transformer.wte.weight'][ids] + w['transformer.wpe.weight'][:T], 'embedding')
    causal = torch.ones(T, T, dtype=torch.bool).tril()
    for l in range(c['n_layer']):
        b = f'transformer.h.{l}.'
        q, k, v = lin(b+'attn.c_attn', norm(b+'ln_1', x)).split(W, -1)
        o = attend(q, k, v, c['n_head'], c['n_head'], causal, drop, b+'attn.attn_dropout')
        x = x + drop(b+'attn.resid_dropout', lin(b+'attn.c_proj', o), 'hidden')
        i = lin(b+'mlp.c_fc', norm(b+'ln_2', x)); i = 0.5*i*(1+torch.tanh(math.sqrt(2/math.pi)*(i+0.044715*i**3)))
        x = x + drop(b+'mlp.dropout', lin(b+'mlp.c_proj', i), 'hidden')
    return norm('transformer.ln_f', x) @ w['transformer.wte.weight'].T

def llama(c, w, e, drop):
    ids = torch.tensor(e['input_ids']); B, T = ids.shape; W = c['hidden_size']; H, K = c['num_attention_heads'], c['num_key_value_heads']; d = W // H
    norm = lambda n, x: x / torch.sqrt((x*x).mean(-1, True) + 1e-5) * w[n+'.weight']
    f = 10000.0 ** (-torch.arange(0, d, 2) / d); a = torch.arange(T)[:, None] * f; cos, sin = torch.cos(a).repeat(1, 2), torch.sin(a).repeat(1, 2)
    def turn(y, n):
        y = y.view(B, T, n, d); r = torch.cat([-y[..., d//2:], y[..., :d//2]], -1); return (y*cos[:, None] + r*sin[:, None]).reshape(B, T, n*d)
    x = w['model.embed_tokens.weight'][ids]; causal = torch.ones(T, T, dtype=torch.bool).tril()
    for l in range(c['num_hidden_layers']):
        b = f'model.layers.{l}.'; lin = lambda n, x: x @ w[b+n+'.weight'].T
        h = norm(b+'input_layernorm', x)
        o = attend(turn(lin('self_attn.q_proj', h), H), turn(lin('self_attn.k_proj', h), K), lin('self_attn.v_proj', h), H, K, causal, drop, b+'self_attn.dropout')
        x = x + lin('self_attn.o_proj', o); h = norm(b+'post_attention_layernorm', x)
        x = x + lin('mlp.down_proj', F.silu(lin('mlp.gate_proj', h)) * lin('mlp.up_proj', h))
    return norm('model.norm', x) @ w['lm_head.weight'].T

def bert(c, w, e, drop):
    ids = torch.tensor(e['input_ids']); B, T = ids.shape; W = c['hidden_size']; H = c['num_attention_heads']
    norm = lambda n, x: F.layer_norm(x, (W,), w[n+'.weight'], w[n+'.bias'], 1e-12)
    lin = lambda n, x: x @ w[n+'.weight'].T + w[n+'.bias']
    m = 'bert.embeddings.'
    x = w[m+'word_embeddings.weight'][ids] + w[m+'position_embeddings.weight'][:T] + w[m+'token_type_embeddings.weight'][torch.tensor(e['token_type_ids'])]
    x = drop(m+'dropout', norm(m+'LayerNorm', x), 'hidden')
    allowed = torch.tensor(e['attention_mask']).bool()[:, None, None]
    for l in range(c['num_hidden_layers']):
        b = f'bert.encoder.layer.{l}.'
        q, k, v = (lin(b+'attention.self.'+n, x) for n in ('query', 'key', 'value'))
        o = attend(q, k, v, H, H, allowed, drop, b+'attention.self.dropout')
        x = norm(b+'attention.output.LayerNorm', drop(b+'attention.output.dropout', lin(b+'attention.output.dense', o), 'hidden') + x)
        y = lin(b+'output.dense', F.gelu(lin(b+'intermediate.dense', x)))
        x = norm(b+'output.LayerNorm', drop(b+'output.dropout', y, 'hidden') + x)
    if 'bert.pooler.dense.weight' in w: x = torch.tanh(lin('bert.pooler.dense', x[:, 0]))
    return lin('classifier', drop('dropout', x, 'classifier'))

def case(name, rates, smoothing, adapter=None):
    c = json.load(open(f'{here}/{name}/config.json')); e = json.load(open(f'{here}/{name}/expected.json'))
    w = read(f'{name}/model.safetensors')
    if adapter: w.update({k: v for k, v in read(f'{name}/{adapter}').items()}); e['scale'] = e['lora']['adapter_config']['lora_alpha'] / e['lora']['adapter_config']['r']
    rows = len(e['input_ids'])
    def drop(place, x, kind):
        rate = rates.get(kind, 0)
        return x if rate == 0 else x * mask(place, list(x.shape), rate, rows) / (1 - rate)
    z = {'gpt2': gpt2, 'llama': llama, 'bert': bert}[name.split('-')[0]](c, w, e, drop)
    y = torch.tensor(e['labels'])
    if name in ('gpt2', 'llama'): z, y = z[:, :-1], y[:, 1:]
    loss = F.cross_entropy(z.reshape(-1, z.shape[-1]), y.reshape(-1), label_smoothing=smoothing)
    loss.backward()
    norms = {k: float(f'{v.grad.norm():.10g}') for k, v in w.items() if v.grad is not None and (not adapter or k.startswith('base_model'))}
    return {'rates': rates, 'smoothing': smoothing, 'loss': float(f'{loss.item():.10g}'), 'grad_norms': norms}

cases = {
  'gpt2': {'embedding': 0.1, 'hidden': 0.2, 'attention': 0.3}, 'llama': {'attention': 0.3},
  'bert-seqcls': {'hidden': 0.2, 'attention': 0.3, 'classifier': 0.4}, 'bert-tokcls': {'hidden': 0.2, 'attention': 0.3, 'classifier': 0.4},
}
out = {'seed': SEED, 'step': STEP, 'first_row': FIRST_ROW, 'models': {}}
for name, rates in cases.items():
    out['models'][name] = {'plain': case(name, {}, 0.0), 'smoothed': case(name, {}, SMOOTHING), 'dropped': case(name, rates, 0.0)}
out['lora'] = case('gpt2', {'lora': 0.25}, 0.0, 'lora_trained.safetensors')
out['keys'] = {'transformer.drop': key('transformer.drop', STEP, FIRST_ROW)}
out['mask'] = mask('somewhere', [2, 37], 0.5, 2).int().tolist()
json.dump(out, open(sys.argv[1], 'w'), separators=(',', ':'))
for n, m in out['models'].items(): print(n, {k: v['loss'] for k, v in m.items()}, json.load(open(f'{here}/{n}/expected.json'))['loss'])
