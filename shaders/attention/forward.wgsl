// attention/forward: softmax(q kᵀ / sqrt D) v with an online softmax; keeps the log-sum-exp of each row.
//
// One invocation per query row; keys in blocks of four, one rescaling per block. All lanes read the same key. A row that
// sees no key gets zeros.
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
// grid: one workgroup per (sample, head, WG queries), folded.   overrides: WG, D4 (D / 4), CACHED
#import params
#import grid
#import place
#import visible

// Do queries start later than at zero?
override CACHED: bool = false;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> key: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> value: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> lse: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let own = place_of(flat(group, groups), lane, p.queries, p.heads);
    let row = row_of(own.b);
    let t = own.row;
    let line = (own.b * p.heads + own.head) * p.queries + t;
    let at = query_at(own.b, t, own.head);
    let kv = key_at(own.b, 0u, group_of(own.head));
    let step = p.groups * D4;
    var query: array<vec4<f32>, D4MAX>;
    var sum: array<vec4<f32>, D4MAX>;
    for (var i = 0u; i < D4; i++) {
        query[i] = q[at + i] * p.scale;
        sum[i] = vec4<f32>();
    }
    var top = MASKED;
    var total = 0.0;
    // Keys that some lane may see: these text keys, then all image keys.
    var text = seen_text(own.first);
    if CACHED && p.causal == 1u {
        // By whole blocks, so that image keys stand in the same ones whatever is seen.
        text = p.text - (p.text - min(row.start + own.first + WG, p.text)) / 4u * 4u;
    }
    let count = text + p.image;
    for (var block = 0u; block < count; block += 4u) {
        var s = vec4(MASKED);
        for (var n = 0u; n < 4u; n++) {
            let i0 = min(block + n, count - 1u);
            let j = key_of(i0, text);
            var dot4 = vec4<f32>();
            for (var i = 0u; i < D4; i++) {
                dot4 = fma(query[i], key[kv + j * step + i], dot4);
            }
            if block + n < count && visible(row, row.start + t, j) {
                s[n] = dot4.x + dot4.y + dot4.z + dot4.w;
            }
        }
        let high = max(top, max(max(s.x, s.y), max(s.z, s.w)));
        let shrink = exp(top - high);
        // The second factor keeps masked scores at zero while everything so far is masked.
        let w = exp(s - vec4(high)) * vec4<f32>(s > vec4(MASKED));
        top = high;
        total = total * shrink + w.x + w.y + w.z + w.w;
        let at4 = min(vec4(block) + vec4(0u, 1u, 2u, 3u), vec4(count - 1u));
        let source = vec4(kv) + select(at4 + vec4(p.text - text), at4, at4 < vec4(text)) * step;
        for (var i = 0u; i < D4; i++) {
            sum[i] = sum[i] * shrink + w.x * value[source.x + i] + w.y * value[source.y + i] + w.z * value[source.z + i] + w.w * value[source.w + i];
        }
    }
    if own.real {
        let inverse = select(0.0, 1.0 / total, total > 0.0);
        for (var i = 0u; i < D4; i++) {
            y[at + i] = sum[i] * inverse;
        }
        lse[line] = select(-MASKED, top + log(total), total > 0.0);
    }
}
