// rms_norm/backward_params: first half of the gradient of the gain; bias/total adds the parts.
//
//   partial[q, c] = sum over the rows of part q of dy * x * rstd
//
// | @ | name    | access  | type       | shape |
// |---|---------|---------|------------|-------------|
// | 0 | p       | uniform | Params     | |
// | 1 | dy      | read    | array<f32> | (R, C) |
// | 2 | x       | read    | array<f32> | (R, C) |
// | 3 | stats   | read    | array<f32> | (R) |
// | 4 | partial | write   | array<f32> | (chunks, C) |
//
// grid: one invocation per element of partial, folded.   overrides: WG
#import params
#import grid

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> stats: array<f32>;
@group(0) @binding(4) var<storage, read_write> partial: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    if i < p.chunks * p.cols {
        let chunk = i / p.cols;
        let c = i % p.cols;
        let end = min((chunk + 1u) * p.per_chunk, p.rows);
        var dw = 0.0;
        for (var r = chunk * p.per_chunk; r < end; r++) {
            dw = fma(dy[r * p.cols + c], x[r * p.cols + c] * stats[r], dw);
        }
        partial[i] = dw;
    }
}
