// attention/backward_q_broadcast: attention/backward_q for heads of 16 on CPU drivers with subgroups of 8, which load eight keys
// at a time and hand them round.
//
// | @ | name  | access  | type             | shape |
// |---|-------|---------|------------------|-------------------------------|
// | 0 | p     | uniform | Params           | |
// | 1 | rows  | read    | array<u32>       | (B, 3): length, offset, start |
// | 2 | q     | read    | array<vec4<f32>> | (B, Tq, H, D) |
// | 3 | key   | read    | array<vec4<f32>> | (B, T + N, G, D) |
// | 4 | value | read    | array<vec4<f32>> | (B, T + N, G, D) |
// | 5 | dy    | read    | array<vec4<f32>> | (B, Tq, H, D) |
// | 6 | stats | read    | array<vec2<f32>> | (B, H, Tq): lse, delta |
// | 7 | dq    | write   | array<vec4<f32>> | (B, Tq, H, D) |
//
// grid: one workgroup per (sample, head, 8 queries), folded.
#import params
#import grid
#import place
#import visible
#import sixteen

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> key: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> value: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(7) var<storage, read_write> dq: array<vec4<f32>>;

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let own = place_of(flat(group, groups), lane, p.queries, p.heads);
    let row = row_of(own.b);
    let t = own.row;
    let at = query_at(own.b, t, own.head);
    let kv = key_at(own.b, 0u, group_of(own.head));
    let stat = stats[(own.b * p.heads + own.head) * p.queries + t];
    let query = scaled(Sixteen(q[at], q[at + 1u], q[at + 2u], q[at + 3u]), p.scale);
    let above = Sixteen(dy[at], dy[at + 1u], dy[at + 2u], dy[at + 3u]);
    var sum = Sixteen();
    let text = seen_text(own.first);
    let count = text + p.image;
    for (var block = 0u; block < count; block += 8u) {
        let n = min(block + lane, count - 1u);
        let from_k = kv + key_of(n, text) * p.groups * 4u;
        let k = Sixteen(key[from_k], key[from_k + 1u], key[from_k + 2u], key[from_k + 3u]);
        let v = Sixteen(value[from_k], value[from_k + 1u], value[from_k + 2u], value[from_k + 3u]);
        let sees_low = sees(row, row.start + t, block, text);
        let sees_high = sees(row, row.start + t, block + 4u, text);
        let w_low = select(vec4<f32>(), exp(dots_low(query, k) - stat.x), sees_low);
        let w_high = select(vec4<f32>(), exp(dots_high(query, k) - stat.x), sees_high);
        let ds_low = w_low * (dots_low(above, v) - stat.y) * p.scale;
        let ds_high = w_high * (dots_high(above, v) - stat.y) * p.scale;
        sum = plus_all(sum, ds_low, ds_high, k);
    }
    if own.real {
        dq[at] = sum.a;
        dq[at + 1u] = sum.b;
        dq[at + 2u] = sum.c;
        dq[at + 3u] = sum.d;
    }
}
