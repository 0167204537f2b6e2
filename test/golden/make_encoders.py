# Makes encoders.json: float64 numbers of RoBERTa, DistilBERT and of heads of BERT, written from formulas in PyTorch 1.13.
# python3 make_encoders.py encoders.json
import json, math, struct, sys
import torch, torch.nn.functional as F
torch.set_default_dtype(torch.float64)
g = torch.Generator().manual_seed(11)
V,W,I,L,H,P = 40, 16, 24, 2, 4, 14
ids = [[1,7,9,30,12,2],[1,8,31,2,0,0]]
mask = [[1]*6,[1]*4+[0]*2]
types = [[0,0,0,1,1,1],[0,0,1,1,0,0]]
def draw(name, shape):
    x = torch.randn(shape, generator=g)
    if len(shape)==1: x = 0.1*x + (1 if (name.endswith('orm.weight')) else 0)
    else: x = 0.3*x
    return x.float().double().requires_grad_()
def names(fam):
    p = {'bert':'bert.','roberta':'roberta.','distilbert':'distilbert.'}[fam]
    return p
def build(fam, head, labels):
    w={}
    def t(n,*s): w[n]=draw(n,s)
    def lin(n,i,o): t(n+'.weight',o,i); t(n+'.bias',o)
    def norm(n): t(n+'.weight',W); t(n+'.bias',W)
    p=names(fam); e=p+'embeddings.'
    t(e+'word_embeddings.weight',V,W); t(e+'position_embeddings.weight',P,W)
    if fam=='bert': t(e+'token_type_embeddings.weight',2,W)
    if fam=='roberta': t(e+'token_type_embeddings.weight',1,W)
    norm(e+'LayerNorm')
    for l in range(L):
        if fam=='distilbert':
            q=f'{p}transformer.layer.{l}.'
            for n in ('q_lin','k_lin','v_lin','out_lin'): lin(q+'attention.'+n,W,W)
            norm(q+'sa_layer_norm'); lin(q+'ffn.lin1',W,I); lin(q+'ffn.lin2',I,W); norm(q+'output_layer_norm')
        else:
            q=f'{p}encoder.layer.{l}.'
            for n in ('query','key','value'): lin(q+'attention.self.'+n,W,W)
            lin(q+'attention.output.dense',W,W); norm(q+'attention.output.LayerNorm')
            lin(q+'intermediate.dense',W,I); lin(q+'output.dense',I,W); norm(q+'output.LayerNorm')
    if head=='sequence-classification':
        if fam=='bert': lin('bert.pooler.dense',W,W); lin('classifier',W,labels)
        if fam=='roberta': lin('classifier.dense',W,W); lin('classifier.out_proj',W,labels)
        if fam=='distilbert': lin('pre_classifier',W,W); lin('classifier',W,labels)
    elif head=='token-classification': lin('classifier',W,labels)
    else:
        if fam=='bert': lin('cls.predictions.transform.dense',W,W); norm('cls.predictions.transform.LayerNorm'); t('cls.predictions.bias',V)
        if fam=='roberta': lin('lm_head.dense',W,W); norm('lm_head.layer_norm'); t('lm_head.bias',V)
        if fam=='distilbert': lin('vocab_transform',W,W); norm('vocab_layer_norm'); t('vocab_projector.bias',V)
    return w
EPS={'bert':1e-12,'roberta':1e-5,'distilbert':1e-12}
def forward(fam, head, w):
    p=names(fam); eps=EPS[fam]
    lin=lambda n,x: x@w[n+'.weight'].T+w[n+'.bias']
    norm=lambda n,x: F.layer_norm(x,(W,),w[n+'.weight'],w[n+'.bias'],eps)
    i=torch.tensor(ids); m=torch.tensor(mask); T=i.shape[1]
    e=p+'embeddings.'
    # RoBERTa: cumulative count of tokens that are not padding, plus the padding index (1); padding itself is at 1
    pos = (torch.cumsum(m,1)*m+1) if fam=='roberta' else torch.arange(T).expand(2,T)
    x=w[e+'word_embeddings.weight'][i]+w[e+'position_embeddings.weight'][pos]
    if fam=='bert': x=x+w[e+'token_type_embeddings.weight'][torch.tensor(types)]
    if fam=='roberta': x=x+w[e+'token_type_embeddings.weight'][torch.zeros_like(i)]
    x=norm(e+'LayerNorm',x)
    for l in range(L):
        if fam=='distilbert':
            q=f'{p}transformer.layer.{l}.'; N=[q+'attention.q_lin',q+'attention.k_lin',q+'attention.v_lin',q+'attention.out_lin',q+'sa_layer_norm',q+'ffn.lin1',q+'ffn.lin2',q+'output_layer_norm']
        else:
            q=f'{p}encoder.layer.{l}.'; N=[q+'attention.self.query',q+'attention.self.key',q+'attention.self.value',q+'attention.output.dense',q+'attention.output.LayerNorm',q+'intermediate.dense',q+'output.dense',q+'output.LayerNorm']
        sh=lambda y: y.view(2,T,H,W//H).transpose(1,2)
        Q,K,Vv=(sh(lin(n,x)) for n in N[:3])
        s=Q@K.transpose(-1,-2)/math.sqrt(W//H)
        s=s.masked_fill(~m.bool()[:,None,None,:],float('-inf'))
        a=(torch.softmax(s,-1)@Vv).transpose(1,2).reshape(2,T,W)
        x=norm(N[4],lin(N[3],a)+x)
        x=norm(N[7],lin(N[6],F.gelu(lin(N[5],x)))+x)
    if head=='sequence-classification':
        f=x[:,0]
        if fam=='bert': return lin('classifier',torch.tanh(lin('bert.pooler.dense',f)))
        if fam=='roberta': return lin('classifier.out_proj',torch.tanh(lin('classifier.dense',f)))
        return lin('classifier',torch.relu(lin('pre_classifier',f)))
    if head=='token-classification': return lin('classifier',x)
    d,n,b={'bert':('cls.predictions.transform.dense','cls.predictions.transform.LayerNorm','cls.predictions.bias'),'roberta':('lm_head.dense','lm_head.layer_norm','lm_head.bias'),'distilbert':('vocab_transform','vocab_layer_norm','vocab_projector.bias')}[fam]
    return norm(n,F.gelu(lin(d,x)))@w[e+'word_embeddings.weight'].T+w[b]
cls={'bert':'Bert','roberta':'Roberta','distilbert':'DistilBert'}
def config(fam, head, labels, multi):
    c={'model_type':fam,'architectures':[cls[fam]+{'sequence-classification':'ForSequenceClassification','token-classification':'ForTokenClassification','masked-lm':'ForMaskedLM'}[head]],'vocab_size':V,'max_position_embeddings':P,'pad_token_id':1 if fam=='roberta' else 0}
    if fam=='distilbert': c.update(dim=W,n_layers=L,n_heads=H,hidden_dim=I,activation='gelu')
    else: c.update(hidden_size=W,num_hidden_layers=L,num_attention_heads=H,intermediate_size=I,hidden_act='gelu',type_vocab_size=2 if fam=='bert' else 1,layer_norm_eps=EPS[fam])
    if head!='masked-lm': c['id2label']={str(i):f'L{i}' for i in range(labels)}
    if multi: c['problem_type']='multi_label_classification'
    return c
out=[]
for fam,head,labels,multi in [('bert','masked-lm',0,0),('bert','sequence-classification',3,1),('roberta','sequence-classification',3,0),('roberta','masked-lm',0,0),('roberta','token-classification',4,0),('distilbert','sequence-classification',2,0),('distilbert','masked-lm',0,0),('distilbert','token-classification',4,0)]:
    w=build(fam,head,labels); z=forward(fam,head,w)
    if head=='masked-lm': y=[[-100,7,-100,-100,3,-100],[-100,-100,20,-100,-100,-100]]
    elif head=='token-classification': y=[[-100,1,0,3,2,-100],[-100,2,1,-100,-100,-100]]
    elif multi: y=[[1,0,1],[0,0,-100]]
    else: y=[1,0]
    t=torch.tensor(y)
    if multi:
        k=t!=-100; loss=F.binary_cross_entropy_with_logits(z[k],t[k].double(),reduction='sum'); n=int(k.sum())
    else:
        loss=F.cross_entropy(z.reshape(-1,z.shape[-1]),t.reshape(-1),ignore_index=-100,reduction='sum'); n=int((t!=-100).sum())
    loss.backward()
    gn={k:float(v.grad.norm()) if v.grad is not None else 0.0 for k,v in w.items()}
    real = z.detach()
    out.append({'config':config(fam,head,labels,multi),'head':head,'targets':y,'loss_sum':float(loss),'count':n,'logits_row0':real[0].flatten().tolist()[:60],
      'grad_norms':{k:float('%.9g'%v) for k,v in gn.items()},
      'weights':{k:[float('%.9g'%x) for x in v.detach().flatten().tolist()] for k,v in w.items()}})
    out[-1]['logits_row0']=[float('%.7g'%x) for x in out[-1]['logits_row0']]
    out[-1]['loss_sum']=float('%.10g'%out[-1]['loss_sum'])
# weights are drawn in float32, so store as base64 of float32 in order of names
import base64
for o in out:
    o['shapes_order']=list(o['weights'].keys())
    buf=b''.join(struct.pack('<%df'%len(v),*v) for v in o['weights'].values())
    o['weights_base64']=base64.b64encode(buf).decode(); del o['weights']
json.dump({'about':'float64 PyTorch numbers of encoders and heads that have no checkpoint here, from formulas; weights are float32, little endian, in the order of grad_norms','input_ids':ids,'attention_mask':mask,'token_type_ids':types,'cases':[{k:v for k,v in o.items() if k!='shapes_order'} for o in out]},open(sys.argv[1],'w'),indent=1)
