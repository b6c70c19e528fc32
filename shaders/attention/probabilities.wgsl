// attention/probabilities: the rows of the softmax, for those who want to look.
//
//   probabilities[b, h, t, j] = exp(score - lse), zero where masked
//
// | @ | name          | access  | type             | shape |
// |---|---------------|---------|------------------|-------------------------------|
// | 0 | p             | uniform | Params           | |
// | 1 | rows          | read    | array<u32>       | (B, 3): length, offset, start |
// | 2 | q             | read    | array<vec4<f32>> | (B, Tq, H, D) |
// | 3 | key           | read    | array<vec4<f32>> | (B, T + N, G, D) |
// | 4 | lse           | read    | array<f32>       | (B, H, Tq) |
// | 5 | probabilities | write   | array<f32>       | (B, H, Tq, T + N) |
//
// grid: one invocation per element, folded.   overrides: WG, D4 (D / 4)
#import params
#import grid
#import place
#import visible

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> key: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> lse: array<f32>;
@group(0) @binding(5) var<storage, read_write> probabilities: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    let keys = p.text + p.image;
    if i < p.batch * p.heads * p.queries * keys {
        let j = i % keys;
        let line = i / keys;
        let t = line % p.queries;
        let head = line / p.queries % p.heads;
        let b = line / (p.queries * p.heads);
        let from_q = query_at(b, t, head);
        let from_k = key_at(b, j, group_of(head));
        var sum = 0.0;
        for (var d = 0u; d < D4; d++) {
            sum += dot(q[from_q + d], key[from_k + d]);
        }
        let row = row_of(b);
        probabilities[i] = select(0.0, exp(sum * p.scale - lse[line]), visible(row, row.start + t, j));
    }
}
