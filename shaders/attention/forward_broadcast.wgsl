// attention/forward_broadcast: attention/forward for heads of 16 on CPU drivers with subgroups of 8. Keys in blocks of eight:
// each lane loads one of them and hands it round.
//
// | @ | name  | access  | type             | shape |
// |---|-------|---------|------------------|-------------------------------|
// | 0 | p     | uniform | Params           | |
// | 1 | rows  | read    | array<u32>       | (B, 3): length, offset, start |
// | 2 | q     | read    | array<vec4<f32>> | (B, Tq, H, D) |
// | 3 | key   | read    | array<vec4<f32>> | (B, T + N, G, D) |
// | 4 | value | read    | array<vec4<f32>> | (B, T + N, G, D) |
// | 5 | y     | write   | array<vec4<f32>> | (B, Tq, H, D) |
// | 6 | lse   | write   | array<f32>       | (B, H, Tq) |
//
// grid: one workgroup per (sample, head, 8 queries), folded.   overrides: CACHED
#import params
#import grid
#import place
#import visible
#import sixteen

// Do queries start later than at zero?
override CACHED: bool = false;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> key: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> value: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> lse: array<f32>;

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let own = place_of(flat(group, groups), lane, p.queries, p.heads);
    let row = row_of(own.b);
    let t = own.row;
    let line = (own.b * p.heads + own.head) * p.queries + t;
    let at = query_at(own.b, t, own.head);
    let kv = key_at(own.b, 0u, group_of(own.head));
    let query = scaled(Sixteen(q[at], q[at + 1u], q[at + 2u], q[at + 3u]), p.scale);
    var sum = Sixteen();
    var top = MASKED;
    var total = 0.0;
    // Keys that some lane may see: these text keys, then all image keys.
    var text = seen_text(own.first);
    if CACHED && p.causal == 1u {
        // By whole blocks, so that image keys stand in the same ones whatever is seen.
        text = p.text - (p.text - min(row.start + own.first + 8u, p.text)) / 8u * 8u;
    }
    let count = text + p.image;
    for (var block = 0u; block < count; block += 8u) {
        let n = min(block + lane, count - 1u);
        let from_k = kv + key_of(n, text) * p.groups * 4u;
        let k = Sixteen(key[from_k], key[from_k + 1u], key[from_k + 2u], key[from_k + 3u]);
        let v = Sixteen(value[from_k], value[from_k + 1u], value[from_k + 2u], value[from_k + 3u]);
        let sees_low = sees(row, row.start + t, block, text);
        let sees_high = sees(row, row.start + t, block + 4u, text);
        let score_low = select(vec4(MASKED), dots_low(query, k), sees_low);
        let score_high = select(vec4(MASKED), dots_high(query, k), sees_high);
        let most = max(score_low, score_high);
        let now = max(top, max(max(most.x, most.y), max(most.z, most.w)));
        let shrink = exp(top - now);
        // The second factor keeps masked scores at zero while everything so far is masked.
        let w_low = exp(score_low - now) * vec4<f32>(sees_low);
        let w_high = exp(score_high - now) * vec4<f32>(sees_high);
        top = now;
        let w = w_low + w_high;
        total = total * shrink + w.x + w.y + w.z + w.w;
        sum = plus_all(scaled(sum, shrink), w_low, w_high, v);
    }
    if own.real {
        let mean = scaled(sum, select(0.0, 1.0 / total, total > 0.0));
        y[at] = mean.a;
        y[at + 1u] = mean.b;
        y[at + 2u] = mean.c;
        y[at + 3u] = mean.d;
        lse[line] = select(-MASKED, top + log(total), total > 0.0);
    }
}
