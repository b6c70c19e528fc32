// bias/partial_sums: first half of the gradient of bias/add: column sums over parts of the rows.
//
//   partial[q, s, c] = sum of dy[r, c] over the rows r = s + P * i, i in part q      (s < P)
//
// No atomics: the second half, bias/total, adds the parts in fixed order.
//
// | @ | name    | access  | type       | shape |
// |---|---------|---------|------------|----------------|
// | 0 | p       | uniform | Params     | |
// | 1 | dy      | read    | array<f32> | (R, C) |
// | 2 | partial | write   | array<f32> | (chunks, P, C) |
//
// grid: one invocation per element of partial, folded.   overrides: WG
#import params
#import grid

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    let width = p.period * p.cols;
    if i < p.chunks * width {
        let chunk = i / width;
        let at = i % width;
        let end = min((chunk + 1u) * p.per_chunk, p.rows / p.period);
        var sum = 0.0;
        for (var r = chunk * p.per_chunk; r < end; r++) {
            sum += dy[r * width + at];
        }
        partial[i] = sum;
    }
}
