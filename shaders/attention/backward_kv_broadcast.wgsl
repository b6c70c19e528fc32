// attention/backward_kv_broadcast: attention/backward_kv for heads of 16 on CPU drivers with subgroups of 8, which load eight
// queries at a time and hand them round.
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
// | 7 | dk    | write   | array<vec4<f32>> | (B, T + N, G, D) |
// | 8 | dv    | write   | array<vec4<f32>> | (B, T + N, G, D) |
//
// grid: one workgroup per (sample, key-value head, 8 keys), folded.
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
@group(0) @binding(7) var<storage, read_write> dk: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> dv: array<vec4<f32>>;

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let own = place_of(flat(group, groups), lane, p.text + p.image, p.groups);
    let row = row_of(own.b);
    let j = own.row;
    let at = key_at(own.b, j, own.head);
    let k = scaled(Sixteen(key[at], key[at + 1u], key[at + 2u], key[at + 3u]), p.scale);
    let v = Sixteen(value[at], value[at + 1u], value[at + 2u], value[at + 3u]);
    var sum_k = Sixteen();
    var sum_v = Sixteen();
    // Text keys of this workgroup are seen by no query before the first of them (where queries start at zero).
    let skip = p.causal == 1u && p.queries == p.text && own.first + 8u <= p.text;
    let begin = select(0u, own.first, skip);
    let share = p.heads / p.groups;
    for (var head = own.head * share; head < (own.head + 1u) * share; head++) {
        for (var block = begin; block < p.queries; block += 8u) {
            let t = min(block + lane, p.queries - 1u);
            let from_q = query_at(own.b, t, head);
            let query = Sixteen(q[from_q], q[from_q + 1u], q[from_q + 2u], q[from_q + 3u]);
            let above = Sixteen(dy[from_q], dy[from_q + 1u], dy[from_q + 2u], dy[from_q + 3u]);
            let stat = stats[(own.b * p.heads + head) * p.queries + t];
            let lse_low = vec4(subgroupBroadcast(stat.x, 0u), subgroupBroadcast(stat.x, 1u), subgroupBroadcast(stat.x, 2u), subgroupBroadcast(stat.x, 3u));
            let lse_high = vec4(subgroupBroadcast(stat.x, 4u), subgroupBroadcast(stat.x, 5u), subgroupBroadcast(stat.x, 6u), subgroupBroadcast(stat.x, 7u));
            let delta_low = vec4(subgroupBroadcast(stat.y, 0u), subgroupBroadcast(stat.y, 1u), subgroupBroadcast(stat.y, 2u), subgroupBroadcast(stat.y, 3u));
            let delta_high = vec4(subgroupBroadcast(stat.y, 4u), subgroupBroadcast(stat.y, 5u), subgroupBroadcast(stat.y, 6u), subgroupBroadcast(stat.y, 7u));
            let low = vec4(block) + vec4(0u, 1u, 2u, 3u);
            let high = low + 4u;
            let sees_low = (low < vec4(p.queries)) & visible_to4(row, low, j);
            let sees_high = (high < vec4(p.queries)) & visible_to4(row, high, j);
            let w_low = select(vec4<f32>(), exp(dots_low(k, query) - lse_low), sees_low);
            let w_high = select(vec4<f32>(), exp(dots_high(k, query) - lse_high), sees_high);
            let ds_low = w_low * (dots_low(v, above) - delta_low) * p.scale;
            let ds_high = w_high * (dots_high(v, above) - delta_high) * p.scale;
            sum_v = plus_all(sum_v, w_low, w_high, above);
            sum_k = plus_all(sum_k, ds_low, ds_high, query);
        }
    }
    if own.real {
        dk[at] = sum_k.a;
        dk[at + 1u] = sum_k.b;
        dk[at + 2u] = sum_k.c;
        dk[at + 3u] = sum_k.d;
        dv[at] = sum_v.a;
        dv[at + 1u] = sum_v.b;
        dv[at + 2u] = sum_v.c;
        dv[at + 3u] = sum_v.d;
    }
}
